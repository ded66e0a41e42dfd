"""The claim on unseen events, and its audit: what was chosen is run once more, by the harness, elsewhere.

No agent takes part. What a crew has converged on is a recipe, the commands that made its best scores; the unseen
events lie in a sandbox of their own, which is opened only now, and nothing comes back from it but the verdict. A claim
that would stand is audited where the task can: the recipe runs a third time, on inputs that hold nothing to find.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import Protocol

from agents.state import Plan
from agents.trace.events import AnyEvent, Executed, Planned
from agents.trace.recorders import RecordedWorkbench
from agents.trace.store import Store
from tasks.score import Score, Submission

CLAIM, AUDIT = "claim", "audit"  # who runs the commands again


class Confirm(Protocol):
    """The claim's score of the submission of an iteration, whose score among the seen events was `chosen`."""

    def __call__(self, iteration: int, submission: Submission, chosen: Score) -> Score: ...


class Audit(Protocol):
    """What an audit leaves of a score that `Confirm` gave; None where there is nothing to audit."""

    def __call__(self, iteration: int, submission: Submission, chosen: Score, confirmed: Score) -> Score | None: ...


def recipe(events: Sequence[AnyEvent], iteration: int, submission: Submission) -> list[Executed]:
    """The commands that the scores follow from, in the order in which they ran, without those that failed.

    Those of the step in whose folder the scores lie and of the steps that it depends on; when the scores lie in no
    step's folder, all commands up to then.
    """
    plan = next((e.plan for e in reversed(events) if isinstance(e, Planned) and e.iteration == iteration), None)
    parts = PurePosixPath(submission.scores).parts
    steps = None
    if plan and len(parts) > 2 and parts[0] == f"i{iteration}" and parts[1] in {step.id for step in plan.steps}:
        steps = {f"worker/{iteration}/{step}" for step in _closure(plan, parts[1])}
    found = []
    for event in events:
        if isinstance(event, Executed) and event.exit_code == 0 and event.ended == "exit":
            who, number, _ = (*event.where.split("/"), "", "")[:3]
            if who == "worker" and (event.where in steps if steps else int(number) <= iteration):
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


def carry_out(
    bench: RecordedWorkbench, store: Store, commands: Sequence[Executed], who: str, before: Callable[[str], None]
) -> str:
    """Run the commands again, in the name of `who`; '' when all of them ended well, else what went wrong with the
    first that did not.

    `before` each one the budget is asked. Raises SandboxLost, and BudgetSpent.
    """
    for event in commands:
        before(f"{who}/{event.where}")
        files = {name: store.get(sha) for name, sha in event.given.items()}
        result = bench.run(f"{who}/{event.where}", event.argv, cwd=event.cwd, files=files)
        if not result.ok:
            last = (result.stderr or result.stdout).strip().splitlines()[-1:]
            how = f"ended by {result.ended}, exit code {result.exit_code}"
            return f"{' '.join(event.argv)[:100]} in {event.cwd}: {how}. {' '.join(last)[:300]}"
    return ""


def on_unseen_events(
    store: Store,
    opened: Callable[[], AbstractContextManager[RecordedWorkbench]],
    judge: Callable[[Submission, Score, Path], Score],
    before: Callable[[str], None],
) -> Confirm:
    """How a run makes its claim: `opened` gives a bench whose inputs are all events, `judge` looks at the scores.

    `before` each command it is asked whether there is time left.
    """

    def confirm(iteration: int, submission: Submission, chosen: Score) -> Score:
        with opened() as bench:
            commands = recipe(store.events(), iteration, submission)
            if trouble := carry_out(bench, store, commands, CLAIM, before):
                reason = f"the commands that made the scores do not run again on all events: {trouble}"
                return Score(metric=chosen.metric, value=None, reason=reason)
            return judge(submission, chosen, bench.workspace)

    return confirm


def on_a_decoy(
    store: Store,
    prepare: Callable[[Submission, Score, Score], bool],
    opened: Callable[[], AbstractContextManager[RecordedWorkbench]],
    judge: Callable[[Submission, Score, Score, Path, str], Score],
    before: Callable[[str], None],
) -> Audit:
    """How a run audits its claim: `prepare` writes the decoy, unless there is nothing to audit; `opened` gives a bench
    whose inputs it is; `judge` looks at what the recipe left there, and hears why where it did not run to its end;
    `before` is that of `on_unseen_events`.
    """

    def audit(iteration: int, submission: Submission, chosen: Score, confirmed: Score) -> Score | None:
        if not prepare(submission, chosen, confirmed):
            return None
        with opened() as bench:
            trouble = carry_out(bench, store, recipe(store.events(), iteration, submission), AUDIT, before)
            return judge(submission, chosen, confirmed, bench.workspace, trouble)

    return audit
