"""The built-in analyst: its plans and calls are valid, follow the data, and say no more than the history does."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from asked import ask

from tasks.lhco.claims import SearchClaim
from tasks.lhco.constituents import LhcoJets
from tasks.lhco.grader import WIDTH
from tasks.lhco.plans import IDEAS
from tasks.lhco.policy import SearchPolicy
from tasks.plan import MAX_STEPS, Plan
from tools.anomaly.survey import covering
from tools.bumphunt.spectrum import RANGE
from tools.bumphunt.windows import HALF_WIDTH, SEARCH
from tools.catalogue import CATALOGUE

ALPHA = 2.87e-7
FACTS: dict[str, Any] = {
    "task": "lhco-demo",
    "events": "/inputs/events.parquet",
    "mass": "column mjj",
    "unit": "TeV",
    "features": ["mj1", "mj2", "delta_mj", "tau21_j1", "tau21_j2", "tau32_j1", "tau32_j2"],
    "sidebands": True,
    "search_range": list(SEARCH),
    "discovery_below_p_global": ALPHA,
}
REFERENCE = {
    "task": "lhco-demo",
    "events": "/inputs/events.parquet",
    "mass": "column mjj",
    "unit": "TeV",
    "features": ["mj1", "delta_mj", "tau21_j1", "tau21_j2"],
    "sidebands": False,
    "window": [3.3, 3.7],
    "reference": "/inputs/reference.parquet",
    "discovery_below_p_global": ALPHA,
}

JETS = FACTS | {"jets": "/inputs/jets.h5"}


def entry(value: float | None, mass: float = 3.5, p_global: float = 1e-9, **more: float) -> dict[str, Any]:
    details = {
        "mass": mass,
        "mass_error": 0.021,
        "width": 0.031,
        "width_error": 0.004,
        "passing": 143.0,
        "passing_error": 17.0,
        "n_signal": 612.4,
        "n_signal_error": 48.7,
        "p_local": 1.3e-11,
        "p_global": p_global,
        "trials": 137,
    } | more
    reason = "no scores" if value is None else "fine"
    return {"metric": "z", "value": value, "error": 0.3, "reason": reason, "details": {} if value is None else details}


def plan(history: list[dict[str, Any]], facts: dict[str, Any] = FACTS) -> Plan:
    content = ask("planner", {"facts": facts, "history": history, "iteration": len(history)}).content
    return Plan.model_validate_json(content)


def windows(made: Plan) -> list[list[float]]:
    """Window of each step that calls tools, the same in all its calls; those that a survey covers."""
    found = []
    for step in made.steps:
        if step.calls and step.calls[0].tool == "anomaly.survey":
            survey = CATALOGUE["anomaly.survey"].parse(step.calls[0].arguments)
            found += [list(window) for window in covering(survey)]
        elif step.calls:
            first, *others = [call.arguments["window"] for call in step.calls]
            assert all(other == first for other in others)
            found.append(first)
    return found


PLANS = {
    "survey": lambda: plan([]),
    "survey again": lambda: plan([entry(None)]),
    "few features in a survey": lambda: plan([], FACTS | {"features": ["mj1", "delta_mj"], "width": 0.03}),
    "narrow survey": lambda: plan([], FACTS | {"search_range": [3.0, 3.5]}),
    **{f"sharpen {n}": lambda n=n: plan([entry(4.0 - k / 10) for k in range(n)]) for n in (1, 2, 3, 4, 5, 9)},
    "few features": lambda: plan([entry(4.0)] * 4, FACTS | {"features": ["mj1", "delta_mj"]}),
    **{f"reference {n}": lambda n=n: plan([entry(2.0)] * n, REFERENCE) for n in (0, 1, 2, 5)},
    **{f"jets {n}": lambda n=n: plan([entry(4.0)] * n, JETS) for n in (0, 1, 2, 5)},
}


@pytest.mark.parametrize("name", PLANS)
def test_every_planned_call_is_one_that_the_tool_takes(name: str) -> None:
    made = PLANS[name]()
    assert sum(step.submits for step in made.steps) == 1
    assert len(made.steps) <= MAX_STEPS
    for step in made.steps:
        for call in step.calls:
            parsed = CATALOGUE[call.tool].parse(call.arguments)
            for feature in getattr(parsed, "features", []) if name.startswith("few") else []:
                assert feature in ("mj1", "delta_mj")


@pytest.mark.parametrize("n", [0, 2])
def test_where_there_are_jets_they_are_searched_and_features_are_not(n: int) -> None:
    made = plan([entry(4.0)] * n, JETS)
    called = {call.tool for step in made.steps for call in step.calls}
    assert called == {"anomaly.jet_template", "anomaly.jet_classify", "bumphunt.scan"} <= set(LhcoJets.tools)
    assert windows(made) == windows(plan([entry(4.0)] * n))
    assert "tau21" not in str([step.goal for step in made.steps])


@pytest.mark.parametrize("search", [list(SEARCH), [2.7, 5.0], [3.0, 3.5], [2.6, 6.0]])
def test_the_survey_covers_the_search_range_in_overlapping_windows(search: list[float]) -> None:
    found = windows(plan([], FACTS | {"search_range": search}))
    low, high = search
    assert found[0][0] == pytest.approx(low, abs=0.0021)
    assert found[-1][1] == pytest.approx(high, abs=0.0021)
    for (a, b), (c, d) in itertools.pairwise(found):
        assert a < c < b < d
        assert b - c > 0.2 * (b - a), "a resonance at an edge of one window lies well inside the next"
    for a, b in found:
        assert low <= a < b <= high
        assert WIDTH[0] <= 2 * (b - a) / (a + b) <= WIDTH[1]
        assert RANGE[0] < a < b < RANGE[1]


@pytest.mark.parametrize("mass", [2.5, 2.71, 3.0, 3.5, 4.9, 5.4, 5.49, 6.0])
def test_the_next_window_is_centred_on_the_best_mass_and_stays_in_range(mass: float) -> None:
    ((low, high),) = windows(plan([entry(3.0, 4.4), entry(6.0, mass), entry(None), entry(2.0, 3.2)]))
    assert SEARCH[0] <= low < high <= SEARCH[1]
    assert high - low == pytest.approx(2 * HALF_WIDTH * mass, abs=0.003)
    if SEARCH[0] <= mass <= SEARCH[1]:
        assert low <= mass <= high
    if SEARCH[0] / (1 - HALF_WIDTH) < mass < SEARCH[1] / (1 + HALF_WIDTH):
        assert (low + high) / 2 == pytest.approx(mass, abs=0.002)


def surveyed(*found: tuple[float, float]) -> list[dict[str, Any]]:
    windows = [{"z": z, "mass": mass} for z, mass in found]
    return [{"results": [{"tool": "anomaly.survey", "result": {"windows": windows, "best": 0}}]}]


@pytest.mark.parametrize(
    ("found", "masses"),
    [
        ([(2.5, 3.38), (2.4, 3.5), (2.2, 5.1), (1.9, 4.2), (1.8, 3.0)], [3.38, 5.1, 4.2]),  # 3.5 lies in the window
        ([(2.5, 3.38), (0.9, 5.1)], [3.38]),  # far less significant
        ([(5.5, 3.5), (4.5, 5.1)], [3.5]),  # clear
    ],
)
def test_a_survey_that_singles_out_no_mass_has_its_best_few_searched_carefully(
    found: list[tuple[float, float]], masses: list[float]
) -> None:
    context = {"facts": FACTS, "history": [entry(*found[0])], "iteration": 1, "observations": surveyed(*found)}
    made = Plan.model_validate_json(ask("planner", context).content)
    centres = [(low + high) / 2 for low, high in windows(made)]
    assert centres == pytest.approx(masses, abs=0.002)
    calls = [call.arguments for step in made.steps for call in step.calls if call.tool == "anomaly.classify"]
    assert {(tuple(call["features"]), call["ensemble"]) for call in calls} == {(tuple(IDEAS[0][0]), IDEAS[0][1])}


def test_each_round_tries_another_idea_until_they_run_out() -> None:
    tried = []
    for n in range(1, len(IDEAS) + 3):
        classify = plan([entry(4.0)] * n).steps[0].calls[1].arguments
        tried.append((classify["features"], classify["ensemble"]))
    assert tried == [*IDEAS, IDEAS[-1], IDEAS[-1]]


def claim(*history: dict[str, Any], confirmed: dict[str, Any] | None = None) -> SearchClaim:
    context = {"facts": FACTS, "history": list(history), "confirmed": confirmed}
    return SearchClaim.model_validate_json(ask("reporter", context).content)


@pytest.mark.parametrize(("p_global", "found"), [(ALPHA * 0.99, True), (ALPHA, False), (1e-3, False), (1.0, False)])
def test_a_discovery_is_claimed_below_alpha_and_nowhere_else(p_global: float, found: bool) -> None:
    said = claim(entry(3.0, 4.4), entry(6.0, 3.5, p_global))
    assert said.discovery is found
    assert said.p_value == p_global
    assert (said.mass, said.n_signal) == ((3.5, 612.4) if found else (None, None))


@pytest.mark.parametrize("history", [[], [entry(None)], [entry(3.0, 4.4, 0.4)]])
@pytest.mark.parametrize("refused", [None, {"value": None, "reason": "the audit failed", "details": {}}])
def test_a_claim_of_nothing_has_the_unit_of_the_search(
    history: list[dict[str, Any]], refused: dict[str, Any] | None
) -> None:
    said = SearchPolicy().claim({"facts": FACTS | {"unit": "GeV"}, "history": history, "confirmed": refused})
    assert (said.discovery, said.unit) == (False, "GeV")


@pytest.mark.parametrize("p_global", [1e-6, 0.3])
def test_the_report_quotes_only_numbers_of_the_history(p_global: float) -> None:
    history = [entry(3.0, 4.4), entry(6.0, 3.512, p_global), entry(None)]
    numbers = {float(text) for text in re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?", claim(*history).text)}
    percent = [3.1, 0.4]  # of the width
    known = [*history[1]["details"].values(), *percent, 2.0]  # the number of graded submissions
    assert numbers
    for number in numbers:
        assert any(number == pytest.approx(value, rel=0.05) for value in known), number


@pytest.mark.parametrize(("p_unseen", "found"), [(ALPHA * 0.99, True), (0.4, False)])
def test_what_the_unseen_events_say_counts_whatever_the_others_said(p_unseen: float, found: bool) -> None:
    confirmed = entry(2.0, 3.52, p_unseen)
    confirmed["details"] |= {"window": [3.3, 3.7], "limit_mass": 3.51, "upper_limit": 77.0}
    for p_searched in (1e-12, 0.9):
        said = claim(entry(9.0, 3.5, p_searched), confirmed=confirmed)
        assert (said.discovery, said.p_value) == (found, p_unseen)
        assert "3.3 to 3.7 TeV" in said.text
        assert ("At most 77 signal events" in said.text) is not found


def test_beyond_five_standard_deviations_nothing_more_is_said() -> None:
    said = claim(entry(9.0, 3.5, 1e-30))
    assert said.p_value == 1e-30
    assert "p-value below 2.87e-07 (more than five standard deviations)" in said.text


def test_what_the_unseen_events_do_not_confirm_is_not_claimed() -> None:
    said = claim(entry(9.0, 3.5, 1e-12), confirmed=entry(None))
    assert not said.discovery
    assert "no scores" in said.text


def test_nothing_handed_in_is_no_discovery_and_says_why() -> None:
    said = claim(entry(None), entry(None))
    assert not said.discovery
    assert (said.mass, said.p_value) == (None, None)
    assert "no scores" in said.text
