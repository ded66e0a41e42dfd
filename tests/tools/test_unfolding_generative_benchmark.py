"""What the benchmark of generative unfolding says of posteriors and pairs that are known to be right or wrong."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.unfolding_generative import summarise
from benchmarks.unfolding_generative_cases import _ranks, joint_auc, known


def test_the_curve_has_its_derived_values() -> None:
    np.testing.assert_allclose([known(g) for g in (0.0, 0.1, 0.3)], [1.0, 0.9487, 0.8585], atol=5e-4)


def test_right_draws_have_uniform_ranks_and_too_narrow_ones_do_not() -> None:
    rng = np.random.default_rng(1)
    true = rng.standard_normal((4000, 2))
    for width, expected in ((1.0, 0.68), (0.5, 0.38)):
        draws = width * rng.standard_normal((4000, 60, 2))
        assert np.mean(np.abs(_ranks(draws, true, 1) - 0.5) < 0.34) == pytest.approx(expected, abs=0.02)
    ties = _ranks(np.zeros((4000, 60, 1)), np.zeros((4000, 1)), 1)
    assert np.mean(ties < 0.5) == pytest.approx(0.5, abs=0.03)


def test_the_joint_classifier_sees_a_wrong_correlation_with_right_marginals() -> None:
    rng = np.random.default_rng(2)
    reco = rng.standard_normal((6000, 1))
    gen, same = (0.8 * reco + 0.6 * rng.standard_normal((6000, 1)) for _ in range(2))
    assert joint_auc(gen, same, reco, 1) == pytest.approx(0.5, abs=0.025)
    assert joint_auc(gen, reco, reco, 1) > 0.9


def test_errors_are_deviations_from_the_known_values() -> None:
    rows = {
        ("gaussian", "bridge 0.1"): {"correlation": known(0.1) - 0.004, "residual": 0.1, "train_seconds": 1.0},
        ("gaussian", "flow_matching"): {"correlation": 0.81, "residual": 0.34, "train_seconds": 1.0},
    }
    found = summarise(rows)
    assert found["corr_unconditional_error"] == pytest.approx(0.004)
    assert found["corr_conditional_error"] == pytest.approx(0.01)
    assert found["residual_variance_error"] == pytest.approx(0.02)
    assert found["joint_auc_best"] is None
