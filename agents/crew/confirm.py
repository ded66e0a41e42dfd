"""Confirmation and audit of a result: the harness repeats the chosen analysis in a separate sandbox.

No agent takes part. A crew converges on a recipe: the commands that made its best scores. The unseen events are in a
sandbox of their own, opened only now, and only the verdict comes back from it. If the task has an audit, a claim that
would stand is audited: the recipe runs a third time, on inputs without a signal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import Protocol

from agents.trace.bench import step_folder
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
        """Check the budget before each command. Raises BudgetSpent."""
        ...

    def claim_bench(self) -> AbstractContextManager[RecordedWorkbench]:
        """Open a bench with the held-out inputs."""
        ...

    def judge(self, submission: Submission, chosen: Score, workspace: Path) -> Score:
        """Return the verdict on the files that the commands left in `workspace`."""
        ...

    def decoy(self, submission: Submission, chosen: Score, confirmed: Score) -> bool:
        """Write inputs without a signal; return False if there is nothing to audit."""
        ...

    def audit_bench(self) -> AbstractContextManager[RecordedWorkbench]:
        """Open a bench with the inputs written by `decoy`."""
        ...

    def audited(self, submission: Submission, chosen: Score, confirmed: Score, workspace: Path, trouble: str) -> Score:
        """Return `confirmed` after the audit; `trouble` says why the commands failed, '' if they did not."""
        ...


def recipe(events: Sequence[AnyEvent], iteration: int, submission: Submission) -> list[Executed]:
    """Return the successful commands that led to a submission, in the order in which they ran.

    These are the commands of the step in whose folder the result is and of the steps that it depends on; if the result
    is in no step's folder, all commands up to this iteration.
    """
    plan = next((e.plan for e in reversed(events) if isinstance(e, Planned) and e.iteration == iteration), None)
    path = next(iter(submission.files().values()), "")
    above = {str(folder) for folder in PurePosixPath(path).parents}
    made_by = next((s.id for s in plan.steps if step_folder(iteration, s.id) in above), None) if plan else None
    steps = {Where("worker", iteration, s) for s in _closure(plan, made_by)} if plan and made_by else None
    found = []
    for event in events:
        if isinstance(event, Executed) and event.exit_code == 0 and event.ended == "exit":
            number = -1 if event.where.iteration is None else event.where.iteration
            if event.where.role == "worker" and (event.where in steps if steps else number <= iteration):
                found.append(event)
    return found


def _closure(plan: Plan, step: str) -> set[str]:
    """Return a step and all steps that it depends on."""
    depends_on = {s.id: s.depends_on for s in plan.steps}
    needed, waiting = set(), [step]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += depends_on[name]
    return needed


def carry_out(bench: RecordedWorkbench, commands: Sequence[Executed], who: str, before: Callable[[Where], None]) -> str:
    """Run the commands again in the role `who`; return '' on success, else how the first failing one ended.

    `before` is called before each command, to check the budget. Raises SandboxLost and BudgetSpent.
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
    """Return the verdict on an iteration's submission; `chosen` is its score on the data that agents saw."""
    with again.claim_bench() as bench:
        commands = recipe(again.store.events(), iteration, submission)
        if trouble := carry_out(bench, commands, "claim", again.before):
            reason = f"the commands that made the result fail when rerun on all inputs: {trouble}"
            return Score(metric=chosen.metric, value=None, reason=reason)
        return again.judge(submission, chosen, bench.workspace)


def audit(again: Again, iteration: int, submission: Submission, chosen: Score, confirmed: Score) -> Score | None:
    """Return the score from `confirm` after an audit; None if there is nothing to audit."""
    if not again.decoy(submission, chosen, confirmed):
        return None
    with again.audit_bench() as bench:
        trouble = carry_out(bench, recipe(again.store.events(), iteration, submission), "audit", again.before)
        return again.audited(submission, chosen, confirmed, bench.workspace, trouble)
