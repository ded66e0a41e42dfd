"""What is chosen without labels is what labels would choose; classifiers learn the likelihood ratio."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.injections import inject
from benchmarks.selection import rank_correlations
from tools.anomaly.data import EXTENDED
from tools.anomaly.mlp import Mlp
from tools.anomaly.selection import ARGOS_MIN_TEMPLATE, merit
from tools.anomaly.trees import Trees
from tools.metrics import auc, bootstrap_error, max_sic, sic_at

RNG = np.random.default_rng(3)


def test_merits_by_their_definitions() -> None:
    log_odds = np.round(RNG.normal(size=400), 1)
    is_data = RNG.uniform(size=400) < 0.3
    p = 1 / (1 + np.exp(-log_odds))
    loss = 0.5 * np.mean(-np.log(p[is_data])) + 0.5 * np.mean(-np.log(1 - p[~is_data]))
    assert merit("loss", log_odds, is_data) == pytest.approx(-loss)
    best = -np.inf
    for cut in np.linspace(-4, 4, 81):  # arXiv:2511.14832, cut by cut
        kept = log_odds >= cut - 1e-9
        data, template = kept[is_data].mean(), kept[~is_data].mean()
        if kept[~is_data].sum() >= ARGOS_MIN_TEMPLATE:
            best = max(best, data / np.sqrt(template) - np.sqrt(template))
    assert merit("argos", log_odds, is_data) == pytest.approx(best)
    assert merit("auc", log_odds, is_data) == auc(log_odds[is_data], log_odds[~is_data])


@pytest.mark.slow
def test_argos_ranks_models_as_the_true_sic_does_and_the_loss_does_not() -> None:
    for seed in (1, 3):
        injection = inject(3.0, seed, EXTENDED)
        found = rank_correlations(
            injection, injection.reference, seed, columns=([0, 1], [0, 1, 2, 3, 4, 5]), leaves=(4, 31), rates=(0.1,)
        )
        assert found["argos"] > 0.5
        assert found["argos"] > found["loss"] + 0.2
        assert found["argos"] > found["auc"]


def gaussians(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Half N(0, 1)^2, half N((1, 0), 1)^2: the log-likelihood ratio is x1 - 1/2."""
    rng = np.random.default_rng(seed)
    y = rng.uniform(size=n) < 0.5
    x = rng.standard_normal((n, 2))
    x[y, 0] += 1
    return x, y


@pytest.mark.parametrize(
    ("classifier", "tolerance"),
    [
        (Trees(), 0.3),
        (Trees(select="argos"), 0.6),
        (Mlp(epochs=15, best_epochs=5), 0.25),
        (Mlp(epochs=15, best_epochs=5, select="argos"), 0.35),
        (Mlp(epochs=15, best_epochs=5, select="auc"), 0.25),
    ],
    ids=lambda value: f"{value.kind}-{value.select}" if isinstance(value, Trees | Mlp) else "",
)
def test_a_classifier_recovers_a_known_likelihood_ratio(classifier: Trees | Mlp, tolerance: float) -> None:
    x, y = gaussians(12_000, 1)
    fresh = gaussians(4000, 2)[0]
    log_odds = classifier.log_odds(x, y, fresh, seed=1)
    np.testing.assert_array_equal(log_odds, classifier.log_odds(x, y, fresh, seed=1))
    central = np.all(np.abs(fresh) < 2, axis=1)
    difference = log_odds[central] - (fresh[central, 0] - 0.5)
    assert np.sqrt(np.mean(difference**2)) < tolerance
    # Unequal classes are weighted to equal sums: the ratio stays that of the densities.
    few = ~y | (RNG.uniform(size=len(y)) < 0.25)
    again = classifier.log_odds(x[few], y[few], fresh, seed=1)[central] - (fresh[central, 0] - 0.5)
    assert abs(np.mean(again)) < tolerance


def test_scores_that_know_nothing_have_auc_one_half_and_sic_one() -> None:
    x, _ = gaussians(8000, 4)
    y = RNG.uniform(size=8000) < 0.5
    score = Mlp(epochs=3, best_epochs=1).log_odds(x[:4000], y[:4000], x[4000:], seed=1)
    signal, background = score[y[4000:]], score[~y[4000:]]
    assert auc(signal, background) == pytest.approx(0.5, abs=4 * 0.009)
    for efficiency in (0.5, 0.1):
        error = bootstrap_error(lambda s, b, e=efficiency: sic_at(s, b, e), signal, background, 1)
        assert sic_at(signal, background, efficiency) == pytest.approx(np.sqrt(efficiency), abs=4 * error)
    assert max_sic(signal, background, 500) < 1.15
