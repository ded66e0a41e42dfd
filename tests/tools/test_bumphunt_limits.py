"""CLs limits: against pseudo-experiments, against counting, with their coverage and the bands they promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from tools.bumphunt.fit import fit_amplitude
from tools.bumphunt.limits import limit_by_toys, tails_of_toys, upper_limit
from tools.bumphunt.spectrum import RANGE, SCALE, Spectrum, make_edges, one, signal_shape
from tools.cls import BANDS, asymptotic_cls

EDGES = make_edges(*RANGE)
CENTRES = np.sqrt(EDGES[1:] * EDGES[:-1])
FALLING = np.diff(EDGES) * CENTRES**-7
FALLING /= FALLING.sum()
WIDTH = 0.009
BUMP = signal_shape(EDGES, 3.5, WIDTH)


def toy(rng: np.random.Generator, passing: float, signal: float = 0) -> Spectrum:
    return Spectrum(
        EDGES, rng.poisson(passing * FALLING + signal * BUMP).astype(float), rng.poisson(1e5 * FALLING).astype(float)
    )


@pytest.mark.parametrize("passing", [2000, 150])  # 50 and 4 events under the bump
def test_at_the_limit_pseudo_experiments_find_the_stated_cls(passing: float) -> None:
    spectrum = toy(np.random.default_rng(3), passing)
    limit = upper_limit(spectrum, 3.5, WIDTH)
    with_signal, without = tails_of_toys(spectrum, 3.5, WIDTH, limit.observed, n_toys=1500)
    assert 0.035 < with_signal / without < 0.075  # 0.05, with 75 toys in the tail; asymptotic limits are a little low


def test_a_bump_in_one_bin_is_a_count_with_a_known_background() -> None:
    """Everything in the middle bin: q is that of Poisson(S + b), whose CLs can be solved by hand."""
    edges = make_edges(3.0, 4.0)
    failed = np.full(len(edges) - 1, 1e9)
    passed = np.full(len(edges) - 1, 100.0)
    middle = len(passed) // 2
    mass = float(np.sqrt(edges[middle] * edges[middle + 1])) / SCALE
    passed[middle] = 108
    limit = upper_limit(Spectrum(edges, passed, failed), mass, width=1e-5)

    def q(n: float, s: float) -> float:
        return 2 * (s + 100 - n + n * np.log(n / (s + 100)))

    def cls(s: float) -> float:
        return float(asymptotic_cls(np.array([q(108, s) if s > 8 else 0.0]), np.array([q(100, s)]))[0]) - 0.05

    # The neighbours measure the background to 3%: the limit is a little above that of a known one.
    known = brentq(cls, 9, 60)
    assert known < limit.observed < 1.1 * known


def test_on_the_background_expectation_the_limit_is_the_median_one() -> None:
    spectrum = Spectrum(EDGES, 500 * FALLING, 1e5 * FALLING)
    limit = upper_limit(spectrum, 3.5, WIDTH)
    assert limit.observed == pytest.approx(limit.expected[BANDS.index(0)], rel=0.01)
    assert list(limit.expected) == sorted(limit.expected)


def test_limits_cover_and_fall_into_their_bands() -> None:
    rng = np.random.default_rng(5)
    for passing, signal in ((1000, 12), (150, 6)):
        covered = sum(upper_limit(toy(rng, passing, signal), 3.5, WIDTH).observed >= signal for _ in range(60))
        assert binomtest(covered, 60, 0.95, alternative="less").pvalue > 0.01
    expected = upper_limit(Spectrum(EDGES, 1000 * FALLING, 1e5 * FALLING), 3.5, WIDTH).expected
    observed = np.array([upper_limit(toy(rng, 1000), 3.5, WIDTH).observed for _ in range(100)])
    for n in (-1, 0, 1):
        below = int((observed < expected[BANDS.index(n)]).sum())
        assert binomtest(below, 100, norm.cdf(n)).pvalue > 1e-3


def test_an_impossible_level_is_refused() -> None:
    with pytest.raises(ValueError, match=r"level=1\.0"):
        upper_limit(toy(np.random.default_rng(6), 100), 3.5, WIDTH, level=1.0)


@pytest.mark.slow
def test_where_hardly_an_event_is_expected_the_limit_by_toys_covers() -> None:
    """Three events under a bump: asymptotic limits are too low, those by toys leave out 5% of the truths or fewer."""
    rng = np.random.default_rng(7)
    width, signal = 0.035, 5
    bump = signal_shape(EDGES, 4.2, width)
    limits = []
    for seed in range(15):
        passed = rng.poisson(60 * FALLING + signal * bump).astype(float)
        spectrum = Spectrum(EDGES, passed, rng.poisson(6e4 * FALLING).astype(float), 2, 0.1)
        asymptotic, toys = upper_limit(spectrum, 4.2, width), limit_by_toys(spectrum, 4.2, width, n_toys=150, seed=seed)
        limits.append((asymptotic.observed, toys.observed))
    covered = (np.array(limits) >= signal).sum(axis=0)
    assert binomtest(int(covered[1]), len(limits), 0.95, alternative="less").pvalue > 0.01
    assert np.mean(np.diff(limits)) > 0


def test_a_rough_background_loosens_the_limit() -> None:
    passed, failed = 500 * FALLING, 1e5 * FALLING
    found = [upper_limit(Spectrum(EDGES, passed, failed, 2, delta), 3.5, 0.035).observed for delta in (0.0, 0.1, 0.3)]
    assert found[0] < found[1] < found[2]
    # The error of an absent signal grows in quadrature, and the limit with it.
    shape = one(3.5, 0.035).shapes(EDGES)[0]
    under, sigma = (
        (shape * passed).sum() / (shape**2).sum(),
        fit_amplitude(Spectrum(EDGES, passed, failed), 3.5, 0.035)[1],
    )
    assert found[2] / found[0] == pytest.approx(np.hypot(1, 0.3 * under / sigma), rel=0.2)


def test_a_deficit_that_no_toy_shows_has_the_asymptotic_limit() -> None:
    """A bump of 200 events elsewhere lifts the smooth background where nothing is: toys never look like that."""
    passed = np.random.default_rng(1).poisson(40 * FALLING).astype(float)
    passed += 200 * signal_shape(EDGES, 3.43, 0.01)
    spectrum = Spectrum(EDGES, passed.round() * (np.abs(CENTRES - 3.61) > 0.06), 1e5 * FALLING, 2, 0.1)
    limit = limit_by_toys(spectrum, 3.61, 0.0073, n_toys=200)
    assert limit == upper_limit(spectrum, 3.61, 0.0073)
    assert limit.observed < 12
