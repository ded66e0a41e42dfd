"""The recipe of a submission: the recorded commands that have to run again to make its files from other inputs.

The trace says what each command wrote, and its text what it may have read. From the submitted files backwards, a
command is left out only if nothing that is kept can depend on it: where the record does not tell, everything earlier of
the step and of the steps that it depends on is kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from agents.crew.names import INPUTS, Names, fits, names_of
from agents.trace.bench import place
from agents.trace.events import AnyEvent, Executed, Graded, Planned
from agents.trace.where import Where
from sandbox.driver import WORKSPACE
from tasks.plan import Plan
from tasks.submission import Submission

Read = Callable[[str], bytes]  # returns a blob


class Recipe(NamedTuple):
    """The commands to be repeated, in order, and those of the same steps that are not."""

    commands: list[Executed]
    left_out: list[Executed]
    why_all: str = ""  # why all are repeated; '' if files could be followed


class Unclear(ValueError):  # noqa: N818 - nothing is wrong with the run
    """The record does not tell from which commands a file comes."""


def recipe(events: Sequence[AnyEvent], iteration: int, submission: Submission, read: Read) -> Recipe:
    """Return the successful commands that made a submission's files, and those that its steps ran besides."""
    trail = _Trail(events, iteration, read)
    try:
        needed = trail.back(trail.roots(submission))
    except Unclear as why:
        return whole(events, iteration, submission, read, str(why))
    rest = set(trail.of_steps(submission)) - set(needed)
    return Recipe([trail.commands[at] for at in needed], [trail.commands[at] for at in sorted(rest)])


def whole(events: Sequence[AnyEvent], iteration: int, submission: Submission, read: Read, why: str) -> Recipe:
    """Return all successful commands of the step in whose folder the result is and of the steps that it depends on.

    To these come what made the files that they name in other folders. If the result is in no step's folder, these are
    all commands up to this iteration. `why`: why less would not do.
    """
    trail = _Trail(events, iteration, read)
    needed = trail.of_steps(submission)
    with contextlib.suppress(Unclear):  # what a failed command had left behind cannot be made again
        needed = trail.back(needed)
    return Recipe([trail.commands[at] for at in needed], [], why)


class _Trail:
    """The commands of workers up to an iteration, by number, with what they wrote and may have read."""

    def __init__(self, events: Sequence[AnyEvent], iteration: int, read: Read) -> None:
        self._iteration, self._read = iteration, read
        self._plans = {e.iteration: e.plan for e in events if isinstance(e, Planned)}
        self._graded = next((e.files for e in events if isinstance(e, Graded) and e.iteration == iteration), {})
        self.commands = [
            e for e in events if isinstance(e, Executed) and e.where.role == "worker" and _number(e) <= iteration
        ]
        self._names = [names_of(event, read) if _ok(event) else Names() for event in self.commands]
        self._writers: dict[str, list[int]] = {}  # workspace path -> who wrote it, or tried and failed
        for at, event in enumerate(self.commands):
            for path in self._wrote(event, self._names[at]):
                self._writers.setdefault(path, []).append(at)

    def _wrote(self, event: Executed, names: Names) -> set[str]:
        """Return the workspace paths that a command wrote, removed or may have changed."""
        folder = place(event.cwd)
        given = {str(PurePosixPath(folder, name)) for name in event.given}
        touched = {path for path in event.touched if _inside(path, folder) or names.match(path)}
        return {*event.files, *given, *event.gone, *map(_unsaved, event.unsaved), *touched}

    def of_steps(self, submission: Submission) -> list[int]:
        """Return all successful commands of the step in whose folder the result is and of what it depends on."""
        parts = PurePosixPath(next(iter(submission.files().values()), "")).parts
        plan = self._plans.get(self._iteration)
        steps: set[Where] | None = None
        if plan and len(parts) > 2 and parts[0] == f"i{self._iteration}" and parts[1] in {s.id for s in plan.steps}:
            steps = self._scope(Where("worker", self._iteration, parts[1]))
        return [at for at, e in enumerate(self.commands) if _ok(e) and (steps is None or e.where in steps)]

    def roots(self, submission: Submission) -> list[int]:
        """Return who wrote the submitted files. Raises Unclear if the graded files are not what was last recorded."""
        for at in self.of_steps(submission):
            if place(self.commands[at].cwd) in map(_unsaved, self.commands[at].unsaved):
                raise Unclear(f"the files of {self.commands[at].where} could not be listed")
        found = []
        for path in submission.files().values():
            writers = self._of(path, len(self.commands))
            if not writers:
                raise Unclear(f"no command is known to have written {path}")
            recorded = [blob for at in writers if (blob := self._blob(at, path))]
            graded = self._graded.get(path)
            if graded and recorded and recorded[-1] != graded:
                raise Unclear(f"{path} was changed after the last command that is known to have written it")
            found += writers
        return found

    def back(self, roots: Iterable[int]) -> list[int]:
        """Return the given commands and all that they can depend on, in order. Raises Unclear."""
        needed, waiting = set[int](), list(roots)
        while waiting:
            at = waiting.pop()
            if at not in needed:
                needed.add(at)
                waiting += self._before(at)
        return sorted(needed)

    def _before(self, at: int) -> list[int]:
        """Return the commands that one can depend on directly."""
        event, names = self.commands[at], self._names[at]
        scope = self._scope(event.where)
        found, known = list[int](), list[str]()
        for path, writers in self._writers.items():
            if writers[0] < at:
                known.append(path)
                if names.match(path, near=_step_of(path) in scope):
                    found += self._of(path, at)
        if self._anything(event, names, known, bool(found)):
            found += [k for k in range(at) if _ok(self.commands[k]) and self.commands[k].where in scope]
        return found

    def _anything(self, event: Executed, names: Names, known: Sequence[str], read: bool) -> bool:
        """Return whether a command may have read more than it names. `read`: it names some of the `known` files."""
        if names.anything:
            return True
        parts = {part for path in known for part in (*PurePosixPath(path).parts, PurePosixPath(path).stem)}
        if names.modules & parts:  # code of the crew, which may read what this script does not name
            return True
        own = [path for path, writers in self._writers.items() if any(self.commands[k] is event for k in writers)]
        if any(not _fits_any(pieces, [*known, *own]) for pieces in names.written):
            return True  # a file that some command wrote unseen
        script = event.kind == "executed"
        return script and not read and not any(text.startswith(INPUTS) for text in names.beginnings())

    def _of(self, path: str, before: int) -> list[int]:
        """Return who wrote a file, successfully, before a command. Raises Unclear if a failed one came last."""
        writers = [at for at in self._writers.get(path, ()) if at < before]
        if writers and not _ok(self.commands[writers[-1]]):
            raise Unclear(f"{path} was last written by a command that failed")
        return [at for at in writers if _ok(self.commands[at])]

    def _blob(self, at: int, path: str) -> str | None:
        event = self.commands[at]
        given = {str(PurePosixPath(place(event.cwd), name)): sha for name, sha in event.given.items()}
        return event.files.get(path) or given.get(path)

    def _scope(self, where: Where) -> set[Where]:
        """Return a step and all steps that it depends on."""
        plan = self._plans.get(where.iteration or 0)
        steps = _closure(plan, where.step) if plan and where.step else set()
        return {where, *(Where("worker", where.iteration, step) for step in steps)}


def _closure(plan: Plan, step: str) -> set[str]:
    """Return a step and all steps that it depends on."""
    depends_on = {s.id: s.depends_on for s in plan.steps}
    needed, waiting = set[str](), [step]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += depends_on.get(name, ())
    return needed


def _number(event: Executed) -> int:
    return -1 if event.where.iteration is None else event.where.iteration


def _ok(event: Executed) -> bool:
    return event.exit_code == 0 and event.ended == "exit"


def _inside(path: str, folder: str) -> bool:
    return PurePosixPath(path).is_relative_to(folder)


def _unsaved(reason: str) -> str:
    """Return the path in the reason why a file was not saved."""
    return reason.split(":")[0].strip("'")


def _step_of(path: str) -> Where | None:
    """Return the step in whose folder a workspace path is."""
    parts = PurePosixPath(path).parts
    if len(parts) < 2 or not parts[0].removeprefix("i").isdecimal():
        return None
    try:
        return Where("worker", int(parts[0].removeprefix("i")), parts[1])
    except ValueError:
        return None


def _fits_any(pieces: tuple[str, ...], paths: Sequence[str]) -> bool:
    """Return whether a pattern names one of the workspace paths or a folder around it."""
    full = [PurePosixPath(WORKSPACE, path) for path in paths]
    return any(fits(pieces, str(place)) for path in full for place in (path, *path.parents))
