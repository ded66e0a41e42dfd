"""Best of N: chosen without truth, paid in full."""

from __future__ import annotations

import pytest
from study_rows import lost, outcomes_of, study_of

from agents.studies.best_of import best_of, derived
from agents.studies.outcome import Outcome
from tasks.study import Value

RATES = {"good": 0.8, "analyst": 0.6, "random": 0.3}


def group(count: int = 4) -> list[Outcome]:
    rows = [
        o
        for o in outcomes_of(study_of(), RATES, fails=0)
        if (o.backend, o.wording, o.dataset) == ("good", "plain", "strong")
    ]
    rows = sorted(rows, key=lambda o: o.repeat)[:count]
    return [
        row.model_copy(update={"steering": Value(value=v)})
        for row, v in zip(rows, (2.0, 9.0, 9.0, 1.0) * 2, strict=False)
    ]


def test_the_best_by_steering_and_the_bill_of_all() -> None:
    rows = group()
    rows[1] = rows[1].model_copy(update={"primary": 0.5, "success": False})  # the truth is bad: the choice cannot know
    (best,) = best_of(rows, "good", 4)
    assert (best.backend, best.repeat, best.cell, best.success) == ("good, best of 4", 0, rows[1].cell, False)
    assert best.cost.dollars == pytest.approx(sum(row.cost.dollars for row in rows))
    assert best.cost.prompt_tokens == sum(row.cost.prompt_tokens for row in rows)
    assert best.seconds == pytest.approx(sum(row.seconds for row in rows))


def test_an_answer_beats_none() -> None:
    rows = group()
    rows[1] = rows[1].model_copy(update={"answer": None, "status": "failed"})
    rows[2] = rows[2].model_copy(update={"answer": None, "status": "failed"})
    (best,) = best_of(rows, "good", 4)
    assert best.cell == rows[0].cell


def test_groups_and_what_does_not_make_one() -> None:
    rows = group(8)
    assert [best.repeat for best in best_of(rows, "good", 4)] == [0, 1]
    assert [best.repeat for best in best_of(rows[:7], "good", 4)] == [0]
    assert [best.cell for best in best_of(rows[::-1], "good", 4)] == [best.cell for best in best_of(rows, "good", 4)]
    assert best_of(rows, "analyst", 4) == []
    with pytest.raises(ValueError, match="at least 2"):
        best_of(rows, "good", 1)


def test_a_lost_run_loses_its_group() -> None:
    rows = group()
    rows[0] = lost(rows[0])
    (best,) = best_of(rows, "good", 4)
    assert (best.missing, best.success) == (True, False)


def test_of_events_that_differ_there_is_no_best() -> None:
    study = study_of(best_of=[{"arm": "good", "n": 4}])
    made = derived(outcomes_of(study, RATES), study)
    assert {row.dataset for row in made["good, best of 4"]} == {"none-fixed"}
    assert len(made["good, best of 4"]) == 4  # two wordings, two groups of four
