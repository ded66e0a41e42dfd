"""The confirmation of a result, and its audit: what was chosen is run once more, by the harness, elsewhere.

No agent takes part. What a crew has converged on is a recipe, the commands that made its best scores; the unseen
events lie in a sandbox of their own, which is opened only now, and nothing comes back from it but the verdict. A claim
that would stand is audited where the task can: the recipe runs a third time, on inputs that hold nothing to find.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import Protocol

from agents.trace.events import AnyEvent, Executed, Planned
from agents.trace.recorders import RecordedWorkbench
from agents.trace.store import Store
from agents.trace.where import Where
from tasks.plan import Plan
from tasks.score import Score
from tasks.submission import Submission


class Again(Protocol):
    """The harness's part of a confirmation and of an audit: live, or played from a record."""

    @property
    def store(self) -> Store: ...

    def before(self, where: Where) -> None:
        """Called before each command. Raises BudgetSpent."""
        ...

    def claim_bench(self) -> AbstractContextManager[RecordedWorkbench]:
        """A bench whose inputs are those that were held out."""
        ...

    def judge(self, submission: Submission, chosen: Score, workspace: Path) -> Score:
        """The verdict on what the commands left there."""
        ...

    def decoy(self, submission: Submission, chosen: Score, confirmed: Score) -> bool:
        """Write inputs that hold nothing to find, unless there is nothing to audit."""
        ...

    def audit_bench(self) -> AbstractContextManager[RecordedWorkbench]:
        """A bench whose inputs these are."""
        ...

    def audited(self, submission: Submission, chosen: Score, confirmed: Score, workspace: Path, trouble: str) -> Score:
        """What is left of `confirmed`; `trouble` says why the commands did not run to their end, or nothing."""
        ...


def recipe(events: Sequence[AnyEvent], iteration: int, submission: Submission) -> list[Executed]:
    """The commands that a submission follows from, in the order in which they ran, without those that failed.

    Those of the step in whose folder the result lies and of the steps that it depends on; when it lies in no step's
    folder, all commands up to then.
    """
    plan = next((e.plan for e in reversed(events) if isinstance(e, Planned) and e.iteration == iteration), None)
    path = next(iter(submission.files().values()), "")
    parts = PurePosixPath(path).parts
    steps = None
    if plan and len(parts) > 2 and parts[0] == f"i{iteration}" and parts[1] in {step.id for step in plan.steps}:
        steps = {Where("worker", iteration, step) for step in _closure(plan, parts[1])}
    found = []
    for event in events:
        if isinstance(event, Executed) and event.exit_code == 0 and event.ended == "exit":
            number = -1 if event.where.iteration is None else event.where.iteration
            if event.where.role == "worker" and (event.where in steps if steps else number <= iteration):
                found.append(event)
    return found


def _closure(plan: Plan, step: str) -> set[str]:
    """A step and all that it depends on."""
    depends_on = {s.id: s.depends_on for s in plan.steps}
    needed, waiting = set(), [step]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += depends_on[name]
    return needed


def carry_out(bench: RecordedWorkbench, commands: Sequence[Executed], who: str, before: Callable[[Where], None]) -> str:
    """Run the commands again, in the name of `who`; '' when all of them ended well, else what went wrong with the
    first that did not.

    `before` each one the budget is asked. Raises SandboxLost, and BudgetSpent.
    """
    for event in commands:
        before(event.where.by(who))
        result = bench.again(event, event.where.by(who))
        if not result.ok:
            last = (result.stderr or result.stdout).strip().splitlines()[-1:]
            how = f"ended by {result.ended}, exit code {result.exit_code}"
            return f"{' '.join(event.argv)[:100]} in {event.cwd}: {how}. {' '.join(last)[:300]}"
    return ""


def confirm(again: Again, iteration: int, submission: Submission, chosen: Score) -> Score:
    """The verdict on the submission of an iteration, whose score on what agents saw was `chosen`."""
    with again.claim_bench() as bench:
        commands = recipe(again.store.events(), iteration, submission)
        if trouble := carry_out(bench, commands, "claim", again.before):
            reason = f"the commands that made the result do not run again on all inputs: {trouble}"
            return Score(metric=chosen.metric, value=None, reason=reason)
        return again.judge(submission, chosen, bench.workspace)


def audit(again: Again, iteration: int, submission: Submission, chosen: Score, confirmed: Score) -> Score | None:
    """What an audit leaves of a score that `confirm` gave; None where there is nothing to audit."""
    if not again.decoy(submission, chosen, confirmed):
        return None
    with again.audit_bench() as bench:
        trouble = carry_out(bench, recipe(again.store.events(), iteration, submission), "audit", again.before)
        return again.audited(submission, chosen, confirmed, bench.workspace, trouble)
