"""The controls: valid plans that do not react (script) or follow nothing but the seed (random), and runs to the end."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from agents.backends.base import Message, Request
from agents.backends.built_in import BuiltIn
from agents.backends.opening import opening
from tasks.plan import Plan
from tools.catalogue import CATALOGUE

FACTS: dict[str, Any] = {
    "task": "lhco-demo",
    "events": "/inputs/events.parquet",
    "mass": "column mjj",
    "unit": "TeV",
    "features": ["mj1", "mj2", "delta_mj", "tau21_j1", "tau21_j2", "tau32_j1", "tau32_j2"],
    "sidebands": True,
    "search_range": [2.7, 5.0],
    "discovery_below_p_global": 2.87e-7,
}
REFERENCE = FACTS | {"sidebands": False, "window": [3.3, 3.7], "reference": "/inputs/reference.parquet"}
HANDED_IN = {"scores": "i0/window_3491/scores.parquet", "window": [3.2, 3.6], "reference_scores": None, "method": "m"}
GRADED = {"metric": "z", "value": 5.0, "error": 1.0, "reason": "", "details": {"mass": 3.5}}


def ask(backend: Any, context: dict[str, Any], *conversation: Message, role: Any = "planner", seed: int = 1) -> Message:
    request = Request(role=role, messages=(*opening(role, "brief", context), *conversation), seed=seed)
    reply = backend.complete(request)
    assert backend.complete(request) == reply, "same request, same reply"
    return reply.message


def plan(backend: Any, iteration: int = 0, facts: dict[str, Any] = FACTS, seed: int = 1) -> Plan:
    observations = [{"step": "choose", "submission": HANDED_IN}] if iteration else []
    context = {"facts": facts, "history": [GRADED] * iteration, "iteration": iteration, "observations": observations}
    return Plan.model_validate_json(ask(backend, context, seed=seed).content)


@pytest.mark.parametrize("facts", [FACTS, REFERENCE])
@pytest.mark.parametrize("seed", [1, 2**31 - 1])
@pytest.mark.parametrize("backend", [BuiltIn("script"), BuiltIn("random")])
def test_every_planned_call_is_one_that_the_tool_takes(backend: Any, seed: int, facts: dict[str, Any]) -> None:
    for iteration in range(3):
        made = plan(backend, iteration, facts, seed)
        assert sum(step.submits for step in made.steps) == 1
        for call in itertools.chain.from_iterable(step.calls for step in made.steps):
            CATALOGUE[call.tool].parse(call.arguments)


def test_the_script_surveys_as_the_analyst_does_and_then_hands_in_the_same_again() -> None:
    assert plan(BuiltIn("script")) == plan(BuiltIn("analyst"))
    (again,) = plan(BuiltIn("script"), 1).steps
    context = {"facts": FACTS, "step": again.model_dump(mode="json"), "done": {}, "folder": "/workspace/i1/again"}
    (call,) = ask(BuiltIn("script"), context, role="worker").tool_calls
    assert call.name == "submit"
    assert json.loads(call.arguments) == HANDED_IN | {"scores": "/workspace/i0/window_3491/scores.parquet"}
    answered = Message(role="tool", tool_call_id="call_0", content=json.dumps({"submitted": HANDED_IN}))
    (call,) = ask(BuiltIn("script"), context, Message(role="assistant"), answered, role="worker").tool_calls
    assert call.name == "finish"


def test_random_search_follows_its_seed_and_its_iteration_and_nothing_else() -> None:
    assert plan(BuiltIn("random"), 1) == plan(BuiltIn("random"), 1)
    made = [plan(BuiltIn("random"), iteration, seed=seed) for iteration in range(4) for seed in range(1, 20)]
    windows = [tuple(step.calls[0].arguments["window"]) for one in made for step in one.steps if step.calls]
    assert len(set(windows)) > 0.7 * len(windows)  # to a GeV, some coincide
    centres = [(low + high) / 2 for low, high in windows]
    # Uniform in the range; a window that would leave it is shifted inside.
    assert min(centres) < 2.9
    assert max(centres) > 4.7
    assert sum(centre < 3.85 for centre in centres) == pytest.approx(len(centres) / 2, abs=3 * len(centres) ** 0.5 / 2)
    classifiers = [step.calls[1].arguments for one in made for step in one.steps if step.calls]
    assert {c["ensemble"] for c in classifiers} == set(range(1, 7))
    assert {len(c["features"]) for c in classifiers} == set(range(2, 8))
    assert all(set(c["features"]) <= set(FACTS["features"]) for c in classifiers)


def test_random_search_tries_as_often_as_the_survey_has_windows() -> None:
    for low, high in ((2.7, 5.0), (2.8, 3.69), (3.0, 3.4)):
        facts = FACTS | {"search_range": [low, high]}
        jets = facts | {"jets": "/inputs/jets.h5"}  # a step for each window
        assert len(plan(BuiltIn("random"), 0, facts).steps) == len(plan(BuiltIn("analyst"), 0, jets).steps)
        for step in plan(BuiltIn("random"), 0, facts).steps[:-1]:
            a, b = step.calls[0].arguments["window"]
            assert low <= a < b <= high


def test_the_analyst_trains_with_the_seed_of_the_request() -> None:
    for iteration in (0, 1):
        one, other = (plan(BuiltIn("analyst"), iteration, seed=seed) for seed in (1, 5))
        seeds = [[c.arguments["seed"] for c in made.steps[0].calls[:2]] for made in (one, other)]
        assert seeds == ([[1, 2], [5, 6]] if iteration else [[1], [5]])
