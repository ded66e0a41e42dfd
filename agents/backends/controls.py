"""Controls of a study: backends without any intelligence, so that what a model adds is told from what the tools do.

Both speak the protocol of a model and report as the analyst does. `script` runs the analyst's survey once, whatever
comes of it; `random` looks in as many windows as the survey has, but at random places with random choices, and goes on
for as long as the convergence rule lets it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from agents.backends.analyst.planner import (
    QUICK_FLOW,
    against_reference,
    chain,
    choose,
    survey,
    survey_centres,
    window_at,
)
from agents.backends.analyst.reporter import claim
from agents.backends.analyst.worker import act
from agents.backends.base import Message, Reply, Request, ToolCall
from agents.context import read_context
from agents.state import Plan, PlannedCall, Step
from sandbox.driver import WORKSPACE

AGAIN = "again"
ENSEMBLES = range(1, 7)  # models per fold that random search chooses from, as many as the analyst's first idea has
FEATURES = 2  # that it takes at least


class Control:
    """Works and reports as the analyst does; plans are the subclass's."""

    name: str
    is_llm = False

    def complete(self, request: Request) -> Reply:
        context = read_context(request.messages[1])
        if request.role == "planner":
            message = _json(self.plan(context, request.seed))
        elif request.role == "worker":
            message = self.work(context, request.messages[2:])
        else:
            message = _json(claim(context))
        return Reply(message=message, model=self.name)

    def plan(self, context: dict[str, Any], seed: int) -> Plan:
        raise NotImplementedError

    def work(self, context: dict[str, Any], conversation: Sequence[Message]) -> Message:
        return act(context, conversation)


class Script(Control):
    """Always the same: a survey, or one classification against the reference. Asked again, it hands in the same."""

    name = "script"

    def plan(self, context: dict[str, Any], seed: int) -> Plan:
        facts = context["facts"]
        handed_in = [o["submission"] for o in context["observations"] if o["submission"]]
        if not handed_in:
            return survey(facts, seed) if facts["sidebands"] else against_reference(facts, 0, seed)
        goal = json.dumps(handed_in[-1] | {name: _path(handed_in[-1][name]) for name in ("scores", "reference_scores")})
        return Plan(reasoning="The script is at its end.", steps=[Step(id=AGAIN, goal=goal, submits=True)])

    def work(self, context: dict[str, Any], conversation: Sequence[Message]) -> Message:
        step = context["step"]
        if step["id"] != AGAIN:
            return act(context, conversation)
        if not conversation:
            return _call("submit", json.loads(step["goal"]))
        return _call("finish", {"summary": "the same scores again"})


class RandomSearch(Control):
    """Random windows, features and ensembles; the most significant of an iteration is handed in."""

    name = "random"

    def plan(self, context: dict[str, Any], seed: int) -> Plan:
        facts, iteration = context["facts"], context["iteration"]
        rng = random.Random(f"{seed}/{iteration}")
        if not facts["sidebands"]:
            return self._against_reference(facts, iteration, rng)
        low, high = facts["search_range_tev"]
        steps = []
        for number in range(len(survey_centres(facts))):
            window = window_at(rng.uniform(low, high), facts)
            classifier = {"ensemble": rng.choice(ENSEMBLES), "folds": 3}
            features, drawn = self._features(facts, rng), rng.randrange(2**31)
            steps.append(
                Step(
                    id=f"try_{number}",
                    goal=f"CATHODE at random: window {window} TeV, features {', '.join(features)}.",
                    calls=chain(facts, window, features, QUICK_FLOW, classifier, drawn, oversample=2.0),
                )
            )
        return Plan(reasoning=f"{len(steps)} searches at random.", steps=[*steps, choose(steps)])

    def _against_reference(self, facts: dict[str, Any], iteration: int, rng: random.Random) -> Plan:
        made = against_reference(facts, iteration, rng.randrange(2**31))
        step = made.steps[0]
        drawn = {"features": self._features(facts, rng), "ensemble": rng.choice(ENSEMBLES)}
        call = PlannedCall(tool=step.calls[0].tool, arguments=step.calls[0].arguments | drawn)
        step = step.model_copy(update={"calls": [call], "goal": f"Classify against the reference at random: {drawn}."})
        return Plan(reasoning="One classification at random.", steps=[step])

    def _features(self, facts: dict[str, Any], rng: random.Random) -> list[str]:
        chosen = rng.sample(facts["features"], rng.randint(FEATURES, len(facts["features"])))
        return [name for name in facts["features"] if name in chosen]


def _path(in_workspace: str | None) -> str | None:
    return in_workspace and f"{WORKSPACE}/{in_workspace}"


def _json(answer: Any) -> Message:
    return Message(role="assistant", content=answer.model_dump_json())


def _call(name: str, arguments: dict[str, Any]) -> Message:
    call = ToolCall(id="call_0", name=name, arguments=json.dumps(arguments, sort_keys=True))
    return Message(role="assistant", tool_calls=(call,))
