"""Stops at which a person is asked: before the first plan, before a plan, before unseen inputs, before more dollars.

A run without an answer ends by `Waiting`, wherever it is: its trace is all that it needs to go on. That is why these
are no interrupts of the graph library, whose checkpoints would be a second record beside the trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.crew.budget import BudgetSpent, Meter
from agents.crew.memory import verdict
from agents.crew.shared import Crew
from agents.trace.approval import dialogue, pending
from agents.trace.events import Answered, AnyEvent, Asked, Executed, Gate, ModelCalled, RunFinished, RunStarted
from agents.trace.store import Store
from agents.trace.where import Where
from tasks.plan import Plan
from tasks.score import Score
from tasks.submission import Submission

Remark = dict[str, Any]  # what the operator said: the gate, the iteration, the words


class Waiting(RuntimeError):  # noqa: N818 - the run waits, nothing went wrong
    """A question has no answer yet."""

    def __init__(self, asked: Asked, wrong: str = "") -> None:
        """`wrong`: why the answer that was given is none."""
        super().__init__(f"waits for an answer: {asked.text}{f' ({wrong})' if wrong else ''}")
        self.asked = asked


class Declined(RuntimeError):  # noqa: N818 - a person has ended the run
    """A person answered no."""

    def __init__(self, asked: Asked, said: Answered) -> None:
        super().__init__(f"{said.who} said no to: {asked.text}{f' ({said.words})' if said.words else ''}")


def approve_start(crew: Crew) -> list[Remark]:
    """Ask whether to begin, and return what the operator said."""
    if not crew.approve.card:
        return []
    limits = crew.meter.budget.model_dump(exclude_none=True)
    shown = {"request": crew.request, "task": crew.task.name, "options": crew.task.options(), "budget": limits}
    return _remarks(crew, "card", 0, f"carry out the task {crew.task.name}", shown)


def approve_plan(crew: Crew, plan: Plan, iteration: int) -> list[Remark]:
    """Ask whether to carry out a plan, and return what the operator said instead."""
    if crew.approve.plan == "never" or (crew.approve.plan == "first" and iteration):
        return []
    names = [step.id for step in plan.steps]
    steps = f"{len(names)} step{'s' if len(names) > 1 else ''} ({', '.join(names)})" if names else "end the run"
    cost = plan_cost(crew.meter, plan, crew.store.events())
    text = f"plan of iteration {iteration}: {steps}; spent so far ${cost['spent_dollars']:.4f}"
    if "expected_dollars" in cost:
        text += f", expected for this plan ${cost['expected_dollars']:.4f}, {cost['expected_seconds']:.0f} s"
    return _remarks(crew, "plan", iteration, text, {"plan": plan.model_dump(mode="json"), "cost": cost})


def approve_unblinding(crew: Crew, last: int, best: int, submission: Submission, score: Score) -> list[Remark]:
    """Ask whether to open the held-out inputs for the best submission; return what the operator said instead.

    Until the answer is yes, the harness computes nothing from them. `last`: the last iteration that was graded.
    """
    if not crew.approve.unblind:
        return []
    shown = {"submission": submission.model_dump(mode="json"), "score": verdict(score)}
    text = f"open the held-out inputs for the submission of iteration {best}, once and for all"
    return _remarks(crew, "unblind", last, text, shown)


def plan_cost(meter: Meter, plan: Plan, events: Sequence[AnyEvent]) -> dict[str, float]:
    """Return what has been spent, what is left, and what a plan may cost: its steps at the mean of all earlier ones."""
    done = {event.where for event in events if isinstance(event, Executed) and event.where.role == "worker"}
    cost = {"spent_dollars": meter.spent.dollars, "spent_seconds": round(meter.seconds, 1)} | meter.left()
    if done and plan.steps:
        share = len(plan.steps) / len(done)
        calls = [event for event in events if isinstance(event, ModelCalled) and event.where.role == "worker"]
        commands = [event for event in events if isinstance(event, Executed) and event.where in done]
        seconds = sum(event.seconds for event in calls) + sum(event.seconds for event in commands)
        dollars = sum(event.usage.dollars for event in calls)
        cost |= {"expected_dollars": share * dollars, "expected_seconds": round(share * seconds, 1)}
    return cost


def _remarks(crew: Crew, gate: Gate, iteration: int, text: str, shown: dict[str, Any]) -> list[Remark]:
    """Return what the operator said, none if it was yes. Raises Waiting and Declined."""
    where = Where("operator", iteration, gate)
    asked = crew.record.take(Asked, "", where, {})
    asked = asked or crew.store.append(Asked(where=where, gate=gate, text=text, shown=shown))
    said = crew.record.take(Answered, "", where, {})
    if said is None:
        raise Waiting(asked)
    if said.answer == "no":
        raise Declined(asked, said)
    return [{"gate": gate, "iteration": iteration, "words": said.words}] if said.answer == "say" else []


def limit_spending(meter: Meter, step: float, store: Store) -> None:
    """Make the meter ask before a call of the model when another `step` dollars are spent.

    The meter then raises Waiting; BudgetSpent once the answer was no.
    """

    def check(where: str) -> None:
        events = store.events()
        if meter.spent.dollars < (allowed := allowance(events, step)):
            return
        asked = pending(events)
        if asked is None:
            if _declined(events):
                raise BudgetSpent(f"{meter.spent.dollars:.4g} dollars spent, and no more were approved")
            text = f"spend another ${step:g}; ${meter.spent.dollars:.4f} of ${allowed:g} approved are spent"
            shown = {"spent_dollars": meter.spent.dollars, "next_dollars": step} | meter.left()
            place = Where("operator", Where(where).iteration or 0, "spend")
            asked = store.append(Asked(where=place, gate="spend", text=text, shown=shown))
        raise Waiting(asked)

    meter.ask_with(check)


def allowance(events: Sequence[AnyEvent], step: float) -> float:
    """Return the dollars approved so far: the past of a fork and the first step need no answer.

    What is approved comes on top of what was spent when it was asked for, since calls in progress overshoot.
    """
    begun = events[0] if events else None
    past = begun.parent.past if isinstance(begun, RunStarted) and begun.parent else 0
    allowed = step + sum(event.usage.dollars for event in events[: past + 1] if isinstance(event, ModelCalled))
    for asked, said in dialogue(events):
        if asked.gate == "spend" and said and said.answer != "no":
            more = float(said.words) if said.answer == "say" else step
            allowed = max(allowed, asked.shown["spent_dollars"]) + more
    return allowed


def _declined(events: Sequence[AnyEvent]) -> bool:
    """Return True if the last answer about dollars was no, and the run has not ended since."""
    for event in reversed(events):
        if isinstance(event, RunFinished):
            return False
        if isinstance(event, Answered) and event.gate == "spend":
            return event.answer == "no"
    return False
