"""The rule that ends a run, case by case."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.convergence import Rule, change, changes, decide
from tasks.score import Score


def history(*values: float | None, error: float | None = 0.5) -> list[Score]:
    return [Score(metric="significance", value=v, error=error, reason="test") for v in values]


@pytest.mark.parametrize(
    ("values", "patience", "action", "best"),
    [
        ((), 1, "continue", None),
        ((3.0,), 1, "continue", 0),
        ((3.0, 4.0), 1, "continue", 1),  # gain of two errors
        ((3.0, 3.4), 1, "converged", 1),  # a gain within the error: better, but no reason to go on
        ((3.0, 2.0), 1, "converged", 0),
        ((3.0, None), 1, "converged", 0),  # a refused submission is no gain
        ((None, 3.0), 1, "continue", 1),  # nothing to compare with before
        ((None, None), 1, "continue", None),  # no score yet: nothing has converged
        ((3.0, 2.0), 2, "continue", 0),
        ((3.0, 2.0, 1.0), 2, "converged", 0),
        ((3.0, 2.0, 5.0), 2, "continue", 2),  # a gain resets the patience
        ((3.0, 2.0, 5.0, 4.0), 2, "continue", 2),
        ((3.0, 2.0, 5.0, 4.0, None), 2, "converged", 2),
        ((3.0, 3.3, 3.6), 2, "converged", 2),  # creeping: no single step is significant
        ((1.0, 2.0, 3.0, 4.0, 5.0), 1, "exhausted", 4),
        ((None,) * 5, 1, "exhausted", None),
        ((1.0, 2.0, 3.0, 4.0, 3.0), 1, "converged", 3),  # what converges in the last iteration has converged
        ((-1.0, -2.0), 1, "converged", 0),
        ((3.0, 3.0), 1, "converged", 0),  # a tie keeps the first
    ],
)
def test_decisions(values: tuple[float | None, ...], patience: int, action: str, best: int | None) -> None:
    decision = decide(history(*values), Rule(patience=patience, max_iterations=5))
    assert (decision.action, decision.best) == (action, best)


def test_a_gain_counts_in_errors_of_the_best_score_so_far() -> None:
    rule = Rule(patience=1, max_iterations=9, min_gain_sigma=3)
    assert decide(history(1.0, 2.4, error=0.5), rule).action == "converged"
    assert decide(history(1.0, 2.6, error=0.5), rule).action == "continue"
    assert decide(history(1.0, 1.0001, error=None), rule).action == "continue"  # without an error any gain counts
    assert decide(history(1.0, 1.0, error=None), rule).action == "converged"


def test_the_reason_counts() -> None:
    rule = Rule(patience=2, max_iterations=4)
    assert "last 2 iteration" in decide(history(3.0, 1.0, 1.0), rule).reason
    assert decide(history(1.0, 2.0), rule).reason == "2 of 4 iterations used"


def paired(value: float, common: np.ndarray, own: float, seed: int) -> Score:
    """A score whose resampled values fluctuate mostly in common with all others."""
    rng = np.random.default_rng(seed)
    resampled = value + common + own * rng.normal(size=len(common))
    error = float(np.std(resampled, ddof=1))
    return Score(metric="rejection", value=value, error=error, resampled=resampled.tolist(), reason="test")


def test_what_two_scores_have_in_common_cancels_in_their_difference() -> None:
    common = 30 * np.random.default_rng(1).normal(size=400)
    first, better, same = paired(80, common, 1, 2), paired(92, common, 1, 3), paired(81, common, 1, 4)
    made = change(better, first, 0)
    assert (made.value, made.paired) == (12, True)
    assert made.error == pytest.approx(np.sqrt(2), rel=0.15)  # of both own fluctuations
    rule = Rule(patience=1, max_iterations=9, min_gain_sigma=3)
    assert decide([first, better], rule).action == "continue"  # by its own error of 30 it would be no gain
    ended = decide([first, same], rule)
    assert (ended.action, ended.best) == ("converged", 1)
    assert "changed by 1 +- 1" in ended.reason
    alone = better.model_copy(update={"resampled": []})
    assert decide([first, alone], rule).action == "converged"
    assert change(alone, first, 0).error == first.error


def test_changes_are_from_the_best_score_before() -> None:
    found = changes(history(3.0, None, 2.0, 5.0, 4.0))
    assert [made and (made.against_iteration, made.value) for made in found] == [None, None, (0, -1), (0, 2), (3, -1)]
