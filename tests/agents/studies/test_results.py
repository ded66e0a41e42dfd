"""The result of a study against studies whose truth is known."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from study_rows import lost, outcomes_of, study_of, truth_of

from agents.studies.analysis import analyse
from agents.studies.outcome import Outcome
from agents.studies.results import ArmRow, PairRow, StudyResult
from agents.studies.verdict import pair_of, percent, points

RATES = {"good": 0.9, "analyst": 0.6, "random": 0.15}
FIXED = [
    {"name": "a", "options": {"n_signal": 400, "seed": 1}},
    {"name": "b", "options": {"n_signal": 300, "seed": 2}},
    {"name": "c", "options": {"n_signal": 0, "seed": 3}},
]


def arm(result: StudyResult, name: str) -> ArmRow:
    return next(row for row in result.arms if row.name == name)


def pair(result: StudyResult, a: str, b: str, quantity: str) -> PairRow:
    return next(p for p in result.pairs if {p.a, p.b} == {a, b} and p.quantity == quantity)


def changed(rows: Sequence[Outcome], of: Any, **update: Any) -> list[Outcome]:
    return [row.model_copy(update=update) if of(row) else row for row in rows]


def test_clear_differences_are_found_and_said() -> None:
    study = study_of()
    result = analyse(study, outcomes_of(study, RATES))
    assert [row.name for row in result.arms] == ["good", "analyst", "random"]
    assert (result.answer.best, result.answer.certainty) == (["good"], "clear")
    good = arm(result, "good")
    wins = sum(o.success for o in outcomes_of(study, RATES) if o.backend == "good")
    assert (good.success.successes, good.success.n, good.success.clusters) == (wins, 64, 25)
    assert result.answer.sentences[0] == f"good succeeds most often: in {wins} of 64 runs, {percent(wins / 64)}."
    assert sum(row.first or 0 for row in result.arms) == pytest.approx(1)
    assert (result.planned, result.done, result.missing, result.answer.warnings[:0]) == (192, 192, 0, [])


def test_equal_backends_are_hardly_ever_told_apart() -> None:
    """Eight studies without a difference: a claim for other events is made in one of twenty or so."""
    study = study_of(repeats=4)
    told = [analyse(study, outcomes_of(study, dict.fromkeys(RATES, 0.6), seed)).answer.certainty for seed in range(8)]
    assert told.count("clear") <= 1


def test_a_difference_that_three_data_sets_cannot_show_for_others() -> None:
    study = study_of(datasets=FIXED, repeats=16)
    result = analyse(study, outcomes_of(study, RATES, spread=0))
    assert result.answer.certainty == "these events"
    found = pair_of(result, "good", "random")
    assert (found.clusters, found.p_events, found.p_events_least) == (3, 0.25, 0.25)
    assert found.p_runs_holm is not None
    assert found.p_runs_holm < 0.01
    assert any("no test can show that a difference holds" in text for text in result.answer.warnings)


def test_failed_runs_stay_in_at_the_value_for_failures() -> None:
    study = study_of(primary={"failure": 1.0})
    rows = outcomes_of(study, RATES, fails=0)
    mine = [row for row in rows if row.backend == "good" and row.truth.signal]
    broken = {row.cell for row in mine[:10]}
    # As a run that handed in scores and then gave no valid claim: a sealed metric, and no answer.
    rows = changed(rows, lambda row: row.cell in broken, answer=None, status="failed", success=False)
    good = arm(analyse(study, rows), "good")
    values = [1.0 if row.cell in broken else row.primary for row in mine]
    assert (good.metric.n, good.metric.failures, good.no_answer) == (32, 10, 10)
    assert good.metric.mean == pytest.approx(np.mean(values))
    assert good.metric.median == pytest.approx(np.median(values))
    assert good.success.n == 64


def test_lost_runs_are_left_out_and_bounded() -> None:
    study = study_of()
    rows = outcomes_of(study, RATES)
    gone = {row.cell for row in [r for r in rows if r.backend == "analyst"][:6]}
    rows = [lost(row) if row.cell in gone else row for row in rows]
    result = analyse(study, rows)
    analyst = arm(result, "analyst")
    wins = sum(row.success for row in rows if row.backend == "analyst")
    assert (analyst.n, analyst.missing, analyst.success.n, analyst.success.successes) == (58, 6, 58, wins)
    assert (analyst.if_missing.low, analyst.if_missing.high) == pytest.approx((wins / 64, (wins + 6) / 64))
    assert pair_of(result, "good", "analyst").pairs == 58  # the partners of lost runs have none
    assert any(text.startswith("6 runs lost") for text in result.answer.warnings)


def test_signal_free_data_have_no_metric_and_make_the_null_table() -> None:
    study = study_of()
    rows = outcomes_of(study, RATES)
    result = analyse(study, rows)
    for row in result.arms:
        null = [o for o in rows if o.backend == row.name and not o.truth.signal]
        assert (row.metric.n, row.claims.n) == (32, len(null))
        assert row.claims.false == sum(bool(o.answer and o.answer.signal) for o in null)
        assert row.uniformity.n + row.uniformity.missing == len(null)
        assert row.uniformity.clusters <= 9
        assert row.coverage["mass"].one.n == sum(
            bool(o.answer and o.answer.numbers and o.truth.signal) for o in rows if o.backend == row.name
        )
        assert row.coverage["n_signal"].without == row.coverage["mass"].one.n  # yields are claimed without errors here
    assert result.datasets["strong"] == "400 signal events"
    assert set(result.datasets) == {"strong", "weak", "none", "none-fixed"}
    assert [quantity.title for quantity in result.quantities] == ["mass", "signal events"]


def test_a_metric_that_signal_free_data_have_counts_there_too() -> None:
    study = study_of(datasets=FIXED, repeats=2)
    rows = changed(outcomes_of(study, RATES), lambda row: row.dataset == "c" and row.answer, primary=2.0)
    assert arm(analyse(study, rows), "good").metric.n == 12


def test_pass_curves_and_groups_add_up() -> None:
    study = study_of()
    good = arm(analyse(study, outcomes_of(study, RATES)), "good")
    assert [row.k for row in good.passes] == list(range(1, 9))
    assert good.passes[0].at == good.passes[0].hat == pytest.approx(good.success.value)
    at, hat = ([getattr(row, name) for row in good.passes] for name in ("at", "hat"))
    assert at == sorted(at)
    assert hat == sorted(hat, reverse=True)
    for groups in (good.by_dataset, good.by_wording):
        assert sum(group.successes for group in groups) == good.success.successes
        assert sum(group.n for group in groups) == 64


def test_the_source_of_variation_is_found() -> None:
    """All of it from backends; then all of it from wordings."""
    study = study_of(datasets=FIXED, repeats=4)
    rows = outcomes_of(study, RATES, fails=0)
    for name, source in (("backend", "backend"), ("wording", "wording")):
        fixed = [row.model_copy(update={"success": getattr(row, name) in ("good", "plain")}) for row in rows]
        found = {row.source: row.share for row in analyse(study, fixed).components["success"]}
        assert found[source] == pytest.approx(1)


def test_a_deterministic_backend_has_an_icc_of_one() -> None:
    study = study_of(datasets=FIXED, repeats=6)
    rows = [row.model_copy(update={"success": row.dataset == "a"}) for row in outcomes_of(study, RATES)]
    result = analyse(study, rows)
    assert len(result.arms) == len(RATES)
    for row in result.arms:
        assert row.icc_success.value == 1.0
        assert row.success.wide.high - row.success.wide.low > 1.5 * (
            row.success.interval.high - row.success.interval.low
        )  # type: ignore[operator]


def test_more_draws_see_smaller_differences() -> None:
    small, large = (study_of(repeats=n) for n in (4, 16))
    seen = [analyse(study, outcomes_of(study, RATES)).power[0] for study in (small, large)]
    assert [table.quantity for table in seen] == ["success", "success"]
    assert [table.events for table in seen] == [13, 49]
    for name in ("detectable_these", "detectable_other"):
        assert getattr(seen[0], name) > 1.5 * getattr(seen[1], name)
    for row in seen[1].rows:
        assert row.events_other is not None
        assert row.repeats_these is not None
        assert (row.power_other >= 0.8) == (row.events_other <= 49)  # type: ignore[operator]
        assert (row.power_these >= 0.8) == (row.repeats_these <= 16)  # type: ignore[operator]


def test_one_data_set_gives_power_for_itself_alone() -> None:
    """As a paper's study of many repeats: s2 of pairs of independent runs with rates p and q is p(1-p) + q(1-q)."""
    study = study_of(datasets=FIXED[:1], wordings={"plain": "Is there a resonance?"}, repeats=400)
    table = analyse(study, outcomes_of(study, dict.fromkeys(RATES, 0.7), spread=0, fails=0)).power[0]
    assert table.variance == pytest.approx(0.42, rel=0.1)
    assert (table.pairs, table.events, table.tau2, table.detectable_other) == (400, 1, None, None)
    row = next(row for row in table.rows if row.difference == 0.2)
    # (z_0.975 + z_0.8)^2 s2 / 0.2^2
    assert row.repeats_these == pytest.approx(7.85 * 0.42 / 0.04, rel=0.12)
    assert (row.power_other, row.events_other, row.repeats_other) == (None, None, None)


def test_studies_that_have_hardly_begun() -> None:
    study = study_of()
    nothing = analyse(study, [])
    assert nothing.answer.sentences == ["No run has ended yet."]
    assert "Still to come: 192 of 192 runs" in nothing.answer.warnings[0]
    rows = outcomes_of(study, RATES)
    one = analyse(study, rows[:1])
    assert one.answer.best == [rows[0].backend]
    assert one.answer.certainty == "open"
    few = analyse(study, [row for row in rows if row.backend == "analyst" and row.repeat == 0])
    assert (few.done, few.planned, few.pairs[0].pairs) == (8, 192, 0)
    assert StudyResult.model_validate_json(few.model_dump_json()) == few
    all_lost = analyse(study, [lost(row) for row in rows])
    assert all_lost.answer.sentences == ["No run has ended yet."]


def test_without_any_success_a_success_has_no_price() -> None:
    study = study_of()
    rows = changed(outcomes_of(study, RATES), lambda row: row.backend == "random", success=False)
    row = arm(analyse(study, rows), "random")
    assert (row.seconds.per_success, row.success.value) == (None, 0.0)
    assert row.seconds.per_run > 0  # type: ignore[operator]


def test_best_of_n_is_an_arm_in_the_tables_and_not_in_the_verdict() -> None:
    study = study_of(datasets=FIXED, best_of=[{"arm": "random", "n": 4}])
    rows = outcomes_of(study, RATES)
    result = analyse(study, rows)
    made = arm(result, "random, best of 4")
    assert (made.derived, made.n, made.planned) == ("random", 12, 12)
    assert made.seconds.total == pytest.approx(arm(result, "random").seconds.total)
    assert pair(result, "random", "random, best of 4", "success").p_runs is None
    against = pair(result, "good", "random, best of 4", "success")
    assert (against.pairs, against.clusters) == (6, 3)
    assert result.answer.best == ["good"]


def test_few_draws_of_best_of_n_are_said_of_best_of_n_alone() -> None:
    fresh = {"name": "strong", "fresh": True, "options": {"n_signal": 400}}
    study = study_of(datasets=[fresh, *FIXED[1:]], best_of=[{"arm": "random", "n": 4}])  # two have the same events
    result = analyse(study, outcomes_of(study, RATES))
    assert (pair_of(result, "good", "random").p_events_least or 1) < 0.01
    assert pair(result, "good", "random, best of 4", "success").p_events_least == 0.5
    (said,) = [text for text in result.answer.warnings if "no test can show" in text]
    assert "between a best-of-N arm and another" in said
    assert "possible p-value is 0.5." in said


def test_the_order_of_outcomes_does_not_matter_and_json_has_no_nan() -> None:
    study = study_of()
    rows = outcomes_of(study, RATES)
    text = analyse(study, rows).model_dump_json()
    random.Random(3).shuffle(rows)
    assert analyse(study, rows).model_dump_json() == text

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(text, parse_constant=refuse)


def test_warnings_name_what_spoils_a_study() -> None:
    study = study_of(backends=[{"name": "analyst", "kind": "analyst"}, {"name": "random", "kind": "random"}])
    rows = changed(outcomes_of(study, RATES), lambda row: row.repeat == 0, canaries_held=False)
    text = " ".join(analyse(study, rows, ["analyst/plain/strong/7"], [{"a": "1"}, {"a": "2"}]).answer.warnings)
    for part in (
        "No LLM was involved",
        "found the sandbox open",
        "cannot be read",
        "Versions changed during the study: a;",
    ):
        assert part in text
    assert "reached for" in text


def test_truth_decides_what_is_signal_free_not_the_name() -> None:
    study = study_of(datasets=FIXED, repeats=2)
    rows = changed(outcomes_of(study, RATES), lambda row: row.dataset == "b", truth=truth_of(0), primary=None)
    assert arm(analyse(study, rows), "good").claims.n == 8


def test_ties_and_a_single_backend_are_said_as_what_they_are() -> None:
    study = study_of(repeats=2)
    rows = changed(outcomes_of(study, RATES), lambda row: True, success=True)
    answer = analyse(study, rows).answer
    assert answer.sentences[0] == "All backends succeed equally often: in 16 of 16 runs, 100%."
    assert (
        answer.sentences[1]
        == "95% interval: 81% to 100% for new runs on these events, 65% to 100% on other events like them."
    )
    two = changed(rows, lambda row: row.backend == "random", success=False)
    assert analyse(study, two).answer.sentences[0].startswith("analyst and good succeed equally often: in 16 of 16")
    alone = study_of(repeats=2, backends=[{"name": "analyst", "kind": "analyst"}])
    answer = analyse(alone, outcomes_of(alone, RATES)).answer
    assert answer.sentences[0].startswith("analyst succeeds in ")
    assert answer.certainty == "open"


def test_words() -> None:
    assert [percent(v) for v in (None, 0.0, 0.004, 0.5, 0.996, 1.0, 0.00001)] == [
        "–",
        "0%",
        "0.4%",
        "50%",
        "99.6%",
        "100%",
        "0%",
    ]
    assert [points(v) for v in (0.234, -0.01, 0.0, None)] == ["23 points", "−1 point", "0 points", "–"]
