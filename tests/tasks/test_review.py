"""The gates: each finds what it is for, and is silent about a result that is as it should be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tasks.convergence import Rule
from tasks.open.task import OpenTask
from tasks.page import Graded, Result
from tasks.plan import Plan, Step
from tasks.review import Work, gates, plan_gates
from tasks.score import Score
from tasks.submission import Submission

KNOWN = np.array([0.81, 3.52, 120.0, 0.02])
SCORE = Score(metric="share", value=0.81, error=0.02, reason="", artefact="a" * 64)
DRAWN = list(np.random.default_rng(1).normal(0.81, 0.02, 50))


def work(score: Score = SCORE, said: str = "0.81 of it, at 3.52", ok: bool = True, **result: Any) -> Work:
    wrote = Result(0, "tool", {"scores": {"sha256": "a" * 64}} | result, "make")
    other = Result(0, "other", {"warning": "of another file", "closure": {"p_closure": 1e-9}}, "look")
    return Work(Graded(0, Submission(), score), [wrote, other], said, ok, KNOWN)


def found(made: Work) -> list[str]:
    return [finding.gate for finding in gates(made)]


def test_a_good_result_passes() -> None:
    """Also with small whole numbers, which count, and a warning of a file that was not submitted."""
    good = work(
        SCORE.model_copy(update={"resampled": DRAWN}), "2 steps: 0.81 at 3.5, of 120", closure={"p_closure": 0.3}
    )
    assert found(good) == []


@pytest.mark.parametrize(
    ("made", "gate"),
    [
        (work(warning="the score does not close"), "warning"),
        (work(SCORE.model_copy(update={"details": {"warning": "few events"}})), "warning"),
        (work(closure={"p_closure": 0.01}), "closure"),
        (work(SCORE.model_copy(update={"resampled": DRAWN, "error": 0.002})), "errors"),
        (work(SCORE.model_copy(update={"resampled": DRAWN, "error": 0.2})), "errors"),
        (work(said="the excess is 4.7 standard deviations"), "quoted"),
        (work(SCORE.model_copy(update={"value": None, "reason": "no such file"})), "conclusion"),
    ],
)
def test_each_gate_finds_what_it_is_for(made: Work, gate: str) -> None:
    assert found(made) == [gate]


def test_a_step_that_admits_its_failure_contradicts_nothing() -> None:
    assert found(work(SCORE.model_copy(update={"value": None}), ok=False)) == []


@pytest.mark.parametrize(("gain", "expected"), [(0.3, ["conclusion"]), (0.01, []), (-0.2, [])])
def test_a_plan_that_stops_after_a_gain_contradicts_it(gain: float, expected: list[str]) -> None:
    scores = [SCORE, SCORE.model_copy(update={"value": 0.81 + gain})]
    stop = Plan(reasoning="Nothing more to gain.", stop=True)
    assert [f.gate for f in plan_gates(stop, scores, Rule(), KNOWN)] == expected
    more = Plan(reasoning="More.", steps=[Step(id="a", goal="g", submits=True)])
    assert plan_gates(more, scores, Rule(), KNOWN) == []


def test_a_plan_that_quotes_what_nothing_computed_is_found() -> None:
    made = Plan(reasoning="The first try had 0.9731.", steps=[Step(id="a", goal="g", submits=True)])
    assert [f.text for f in plan_gates(made, [], Rule(), KNOWN)] == ["Numbers that are in no result: 0.9731."]


def test_the_open_task_adds_the_checks_that_do_not_hold() -> None:
    failed = {"of": "ratio", "what": "error is the spread", "holds": False, "said": "It varies by 4 errors."}
    checks = [failed, failed | {"what": "has a unit", "holds": True}]
    score = SCORE.model_copy(update={"details": {"checks": checks}})
    findings = OpenTask.gates(OpenTask.model_construct(), work(score))
    assert [(f.gate, f.text.startswith("Of ratio, 'error is the spread'")) for f in findings] == [("errors", True)]
