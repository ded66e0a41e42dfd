"""Confirmation and audit of a result: the harness repeats the chosen analysis in a separate sandbox.

No agent takes part. A crew converges on a recipe: the commands that made its best scores (`recipe.py`). The unseen
events are in a sandbox of their own, opened only now, and only the verdict comes back from it. If the task has an
audit, a claim that would stand is audited: the recipe runs a third time, on inputs that this audit writes, without a
signal or of another simulation.

Only what the submitted files were made from is repeated. If one of these commands fails, it may lack what was left out:
then all commands of the steps are repeated, from an empty workspace.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Protocol

from agents.crew.recipe import Recipe, recipe, whole
from agents.trace.events import AnyEvent, Executed, Part, Repeated, ToolCalled
from agents.trace.record import Record, note
from agents.trace.recorders import RecordedWorkbench
from agents.trace.store import Store
from agents.trace.where import Where
from tasks.score import Score
from tasks.submission import Submission


class Again(Protocol):
    """The harness's part of a confirmation and of an audit: live, or played from a record."""

    @property
    def store(self) -> Store: ...

    @property
    def record(self) -> Record: ...

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
        """Write the inputs of the audit; return False if there is nothing to audit."""
        ...

    def audit_bench(self) -> AbstractContextManager[RecordedWorkbench]:
        """Open a bench with the inputs written by `decoy`."""
        ...

    def audited(self, submission: Submission, chosen: Score, confirmed: Score, workspace: Path, trouble: str) -> Score:
        """Return `confirmed` after the audit; `trouble` says why the commands failed, '' if they did not."""
        ...


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


def repeat(again: Again, bench: RecordedWorkbench, who: str, iteration: int, submission: Submission) -> str:
    """Run the recipe of a submission in the role `who`; return '' on success, else how the first command failed."""
    events, read = again.store.events(), again.store.get
    all_needed = _needed_all(events, iteration) if who == "audit" else ""
    choose = partial(whole, why=all_needed) if all_needed else recipe
    chosen = choose(events, iteration, submission, read)
    note(again.store, again.record, _told(chosen, who, iteration))
    trouble = carry_out(bench, chosen.commands, who, again.before)
    if trouble and chosen.left_out:
        chosen = whole(events, iteration, submission, read, f"a command failed without the others: {trouble}")
        note(again.store, again.record, _told(chosen, who, iteration))
        bench.empty()
        trouble = carry_out(bench, chosen.commands, who, again.before)
    return trouble


def _needed_all(events: Sequence[AnyEvent], iteration: int) -> str:
    """Return why the claim repeated all commands, if it did: then the audit does the same."""
    claimed = [e for e in events if isinstance(e, Repeated) and e.where == Where("claim", iteration)]
    return claimed[-1].why_all if claimed else ""


def _told(chosen: Recipe, who: str, iteration: int) -> Repeated:
    return Repeated(
        where=Where(who, iteration),
        parts=[_part(event) for event in chosen.commands],
        left_out=[_part(event) for event in chosen.left_out],
        why_all=chosen.why_all,
        seconds=sum(event.seconds for event in chosen.commands),
    )


def _part(event: Executed) -> Part:
    what = event.tool if isinstance(event, ToolCalled) else " ".join(event.argv)[:100]
    return Part(where=event.where, what=what, key=event.key)


def confirm(again: Again, iteration: int, submission: Submission, chosen: Score) -> Score:
    """Return the verdict on an iteration's submission; `chosen` is its score on the data that agents saw."""
    with again.claim_bench() as bench:
        if trouble := repeat(again, bench, "claim", iteration, submission):
            reason = f"the commands that made the result fail when rerun on all inputs: {trouble}"
            return Score(metric=chosen.metric, value=None, reason=reason)
        return again.judge(submission, chosen, bench.workspace)


def audit(again: Again, iteration: int, submission: Submission, chosen: Score, confirmed: Score) -> Score | None:
    """Return the score from `confirm` after an audit; None if there is nothing to audit."""
    if not again.decoy(submission, chosen, confirmed):
        return None
    with again.audit_bench() as bench:
        trouble = repeat(again, bench, "audit", iteration, submission)
        return again.audited(submission, chosen, confirmed, bench.workspace, trouble)
