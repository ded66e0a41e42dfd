"""What the record says about one subject: sentences that cite the events they come from."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise

from agents.ask.chosen import reasons, score
from agents.ask.material import LONGEST, MOST, Material, content
from agents.backends.digest import compact, ends
from agents.trace.approval import dialogue
from agents.trace.differences import differences
from agents.trace.events import (
    BudgetNear,
    Claimed,
    Confirmed,
    Decided,
    Executed,
    Graded,
    ModelCalled,
    OutsideCalled,
    Planned,
    RunFinished,
    Sealed,
    StepFinished,
    ToolCalled,
    Trouble,
)
from agents.trace.record import where_of
from agents.trace.shown import graded_of
from agents.trace.words import agreement, duration, outside
from agents.trace.words import answer as said
from agents.trace.words import near as nearly
from tasks.writing import measured

EVENT = re.compile(r"#(\d+)|\bevent (\d+)", re.IGNORECASE)


def events_named(material: Material, question: str) -> list[str]:
    """Say what the events are that a question names by their numbers."""
    known = {event.index: event for event in material.events}
    numbers = [int(a or b) for a, b in EVENT.findall(question)]
    last = len(known) - 1
    return [
        f"{where_of(known[n])}: {ends(content(known[n]), LONGEST)} [#{n}]"
        if n in known
        else f"There is no event {n}: the trace has the events 0 to {last}."
        for n in numbers
    ]


def cost(material: Material, question: str) -> list[str]:
    """Say what the run cost, by role, and what was left of its limits."""
    spent, by_role = material.result.cost, defaultdict[str, list[ModelCalled]](list)
    for event in material.events:
        if isinstance(event, ModelCalled):
            by_role[event.role].append(event)
    tokens = spent.prompt_tokens + spent.completion_tokens
    found = [f"{spent.model_calls} model calls, {tokens:,} tokens, ${spent.dollars:.4f}."]
    for role, calls in by_role.items():
        dollars = sum(call.usage.dollars for call in calls)
        dearest = max(calls, key=lambda call: (call.usage.dollars, call.usage.prompt_tokens))
        most = f"; the dearest was that of {dearest.where} [#{dearest.index}]" if dollars else ""
        found.append(f"{role}: {len(calls)} calls, ${dollars:.4f}{most}.")
    limits = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in material.started.budget.items())
    near = [f"{nearly(e)} [#{e.index}]" for e in material.events if isinstance(e, BudgetNear)]
    return [*found, f"Limits: {limits} [#0].", *near]


def time(material: Material, question: str) -> list[str]:
    """Say how long the run and its slowest commands took."""
    commands = [event for event in material.events if isinstance(event, Executed)]
    slowest = sorted(commands, key=lambda event: -event.seconds)[:MOST]
    total = [f"All of it took {duration(material.result.seconds)}; the longest commands:"]
    return total + [
        f"{event.where}: {event.tool if isinstance(event, ToolCalled) else ' '.join(event.argv)}, "
        f"{duration(event.seconds)} [#{event.index}]"
        for event in slowest
    ]


def troubles(material: Material, question: str) -> list[str]:
    """Say what went wrong: troubles, failed commands, refused submissions."""
    found = []
    for event in material.events:
        if isinstance(event, Trouble):
            found.append(f"For the {event.who}, {event.where}: {ends(event.text, 300)} [#{event.index}]")
        elif isinstance(event, ToolCalled) and event.error is not None:
            found.append(f"{event.where}: {event.tool} refused: {ends(compact(event.error), 300)} [#{event.index}]")
        elif isinstance(event, OutsideCalled) and event.ended != "answered":
            found.append(f"{event.where}: {event.tool}, an outside tool: {outside(event)} [#{event.index}]")
        elif isinstance(event, Executed) and not (event.exit_code == 0 and event.ended == "exit"):
            found.append(f"{event.where}: a command ended by {event.ended}, status {event.exit_code} [#{event.index}]")
        elif isinstance(event, Graded) and not event.score.ok:
            found.append(f"Submission of iteration {event.iteration} refused: {event.score.reason} [#{event.index}]")
    more = [f"... and {len(found) - 2 * MOST} more."] if len(found) > 2 * MOST else []
    return [*found[: 2 * MOST], *more] or ["Nothing went wrong that the trace tells of."]


def changes(material: Material, question: str) -> list[str]:
    """Say what each iteration handed in differently from the one before, and what became of the score."""
    graded = list(graded_of(material.events).values())
    found = [f"Iteration {event.iteration}: {score(event)}." for event in graded]
    for before, after in pairwise(graded):
        changed = list(differences(before.submission or {}, after.submission or {}))[:MOST]
        what = "; ".join(f"{each.path}: {each.recorded} -> {each.now}" for each in changed) or "nothing"
        found.append(
            f"From iteration {before.iteration} to {after.iteration} the submission changed: {what} [#{after.index}]."
        )
    for event in material.events:
        if isinstance(event, Planned) and event.iteration:
            found.append(f"Plan of iteration {event.iteration}: {ends(event.plan.reasoning, 300)} [#{event.index}]")
    return found


def options(material: Material, question: str) -> list[str]:
    """Say with which options, inputs and versions the run began."""
    begun = material.started
    chosen = ", ".join(f"{name}={compact(value)}" for name, value in begun.options.items() if value is not None)
    versions = ", ".join(f"{name} {version}" for name, version in begun.versions.items())
    return [
        f"Task {begun.task} with {chosen} [#0].",
        f"Seed of requests {begun.seed}, temperature {begun.temperature:g}, sandbox {begun.sandbox.driver} [#0].",
        f"Inputs: {', '.join(begun.inputs)} [#0]. Versions: {versions} [#0].",
    ]


def approvals(material: Material, question: str) -> list[str]:
    """Say what a person was asked, and who answered what."""
    found = []
    for asked, answered in dialogue(material.events):
        reply = f"{said(answered)} [#{answered.index}]" if answered else "not answered yet"
        found.append(f"Asked: {asked.text} [#{asked.index}]; {reply}.")
    return found or ["Nobody was asked anything: the run had no gate at which to ask [#0]."]


def decisions(material: Material, question: str) -> list[str]:
    """Say why the run went on after each iteration, and why it ended."""
    found = [
        f"After iteration {e.iteration}: {e.decision.action}, {e.decision.reason} [#{e.index}]"
        for e in material.events
        if isinstance(e, Decided)
    ]
    ends_ = [event for event in material.events if isinstance(event, RunFinished)]
    return found + [f"It ended as {event.status}: {event.reason} [#{event.index}]" for event in ends_[-1:]]


def claim(material: Material, question: str) -> list[str]:
    """Say what was claimed, what the harness found, and on what the claim rests."""
    found = []
    for event in material.events:
        if isinstance(event, Confirmed):
            found.append(
                f"{event.kind.capitalize()}: {measured(event.score.value, event.score.error)}, {event.score.reason} "
                f"[#{event.index}]"
            )
        elif isinstance(event, Claimed):
            found.append(
                f"The answer: {event.headline}. {ends(str(event.claim.get('text', '')), LONGEST)} [#{event.index}]"
            )
            found += [
                f"{c.title}: claimed {c.written(c.claimed, c.claimed_error)}, the harness has "
                f"{c.written(c.harness, c.harness_error)}: {agreement(c)} [#{event.index}]"
                for c in event.checks
            ]
        elif isinstance(event, Sealed):
            found += [
                f"{m.title} (with the truth, after the end): {m.text} [#{event.index}]" for m in event.metrics[:MOST]
            ]
    best = material.result.best_iteration
    if best is not None:
        found.append(f"The best iteration is {best}: {score(graded_of(material.events)[best])}.")
        found += reasons(material, best)
    return found or [f"Nothing was claimed: {material.result.status}, {material.result.reason}."]


def plans(material: Material, question: str) -> list[str]:
    """Say what was planned, and what each step reported."""
    found = []
    for event in material.events:
        if isinstance(event, Planned):
            steps = ", ".join(step.id for step in event.plan.steps) or "none"
            found.append(
                f"Iteration {event.iteration}, steps {steps}: {ends(event.plan.reasoning, LONGEST)} [#{event.index}]"
            )
        elif isinstance(event, StepFinished):
            done = event.observation
            found.append(f"{done.step}: {ends(done.summary, 300)} [#{event.index}]")
    return found or ["There was no plan."]
