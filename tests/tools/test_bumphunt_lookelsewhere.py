"""Global p-values: pseudo-experiments that are what they claim, uniform on background, sharper than a bound, valid."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, kstest, norm

from tools.bumphunt.counting import sidak
from tools.bumphunt.lookelsewhere import ENOUGH, Hunt, global_p, pseudo_experiments
from tools.bumphunt.measure import mass_grid
from tools.bumphunt.profile import scan, scan_maximum
from tools.bumphunt.spectrum import RANGE, Spectrum, make_edges, signal_shape

EDGES = make_edges(*RANGE)
CENTRES = np.sqrt(EDGES[1:] * EDGES[:-1])
FALLING = np.diff(EDGES) * CENTRES**-7
FALLING /= FALLING.sum()
CUTS = (1e-2, 3e-3)
MASSES = mass_grid((3.35, 3.65))


def nested(seed: int, events: float = 30_000, signal: float = 0, cuts: tuple[float, ...] = CUTS) -> list[Spectrum]:
    """Spectra behind nested cuts of these background efficiencies; signal at 3.5 TeV passes all of them."""
    rng = np.random.default_rng(seed)
    total, bump = rng.poisson(events * FALLING), rng.poisson(signal * signal_shape(EDGES, 3.5))
    spectra, kept, before = [], total, 1.0
    for cut in cuts:
        kept, before = rng.binomial(kept, cut / before), cut
        spectra.append(Spectrum(EDGES, (kept + bump).astype(float), (total - kept).astype(float)))
    return spectra


def test_pseudo_experiments_are_nested_and_have_the_fitted_background() -> None:
    spectra = nested(1, events=200_000)
    for order in (spectra, spectra[::-1]):
        drawn = pseudo_experiments(order, 400, np.random.default_rng(1))
        passed = sorted((p for p, _ in drawn), key=lambda p: -p.sum())
        assert np.all(passed[1] <= passed[0])
        np.testing.assert_array_equal(drawn[0][0] + drawn[0][1], drawn[1][0] + drawn[1][1])
        for spectrum, (p, f) in zip(order, drawn, strict=True):
            mean = spectrum.passed.sum()  # a fit with a free norm reproduces the total
            assert p.sum(axis=1).mean() == pytest.approx(mean, abs=4 * np.sqrt(mean / 400))
            assert p.sum(axis=1).var() == pytest.approx(mean, rel=4 * np.sqrt(2 / 400))
            assert f.sum(axis=1).mean() == pytest.approx(spectrum.failed.sum(), rel=1e-3)


@pytest.mark.parametrize("passing", [2000, 100, 20])
def test_the_quick_search_for_the_largest_bump_finds_it(passing: float) -> None:
    rng = np.random.default_rng(2)
    passed, failed = rng.poisson(passing * FALLING, (60, len(FALLING))), rng.poisson(1e5 * FALLING, (60, len(FALLING)))
    masses = mass_grid((3.0, 4.0))
    full = scan(passed.astype(float), failed.astype(float), EDGES, masses)[0].max(axis=1)
    quick = scan_maximum(passed.astype(float), failed.astype(float), EDGES, masses)
    assert np.all(quick <= full + 1e-9)
    assert (full - quick).mean() < 0.01
    assert np.mean(full - quick > 1e-3) < 0.1


def test_on_background_it_is_uniform_and_the_sidak_bound_is_not() -> None:
    found = [global_p([Hunt(nested(100 + seed), MASSES)], n_toys=80, seed=seed) for seed in range(40)]
    p = np.array([f.p_global for f in found])
    bound = np.array([sidak(f.p_local, len(CUTS) * len(MASSES)) for f in found])
    assert kstest(p, "uniform").pvalue > 1e-3
    assert binomtest(int((p < 0.1).sum()), len(p), 0.1).pvalue > 1e-3
    assert p.mean() < bound.mean() - 0.05
    assert p.mean() == pytest.approx(0.5, abs=4 / np.sqrt(12 * len(p)))


def test_beyond_the_toys_the_upcrossings_go_on() -> None:
    """A bump of about three standard deviations, by many toys and by extrapolation from few."""
    hunts = [Hunt(nested(20, signal=6), MASSES)]
    many, few = global_p(hunts, n_toys=1500), global_p(hunts, n_toys=150)
    assert 2.5 < many.z < 3.3
    assert (many.method, few.method) == ("toys", "upcrossings")
    assert many.n_above >= ENOUGH > few.n_above
    assert few.p_global == pytest.approx(many.p_global, rel=1.0)  # conservative by up to the overlap of the cuts
    assert few.p_global > many.p_global - 3 * np.hypot(many.error, few.error)
    assert many.p_local < many.p_global < sidak(many.p_local, 2 * len(MASSES)) + 3 * many.error


def test_a_resonance_is_found_where_it_is_at_no_more_than_the_bound() -> None:
    quiet = Hunt(nested(8), mass_grid((4.0, 4.2)))
    found = global_p([quiet, Hunt(nested(9, signal=40, cuts=(0.1, 3e-3)), MASSES)], n_toys=200)
    assert (found.hunt, found.cut) == (1, 1)  # behind the tight cut
    assert found.mass == pytest.approx(3.5, rel=0.015)
    assert found.z > 5
    assert found.p_local == pytest.approx(norm.sf(found.z))
    assert found.p_local < found.p_global <= sidak(found.p_local, 4 * len(MASSES)) * 3  # few events: longer tails
    again = global_p([quiet, Hunt(nested(9, signal=40, cuts=(0.1, 3e-3)), MASSES)], n_toys=200)
    assert again == found


def test_tries_that_are_not_listed_are_paid_for() -> None:
    hunts = [Hunt(nested(11)[:1], MASSES)]
    one, five = global_p(hunts, n_toys=100), global_p(hunts, tries=5, n_toys=100)
    assert five.p_global == pytest.approx(1 - (1 - one.p_global) ** 5)


def test_at_one_mass_and_cut_it_is_the_local_p_value() -> None:
    found = global_p([Hunt(nested(12, events=300_000)[:1], np.array([3.5]))], n_toys=2000)
    assert found.p_global == pytest.approx(found.p_local, abs=4 * found.error)


def test_what_cannot_be_drawn_is_refused() -> None:
    one, other = nested(13), nested(14)
    with pytest.raises(ValueError, match="nested"):
        global_p([Hunt([one[0], other[1]], MASSES)], n_toys=10)
    for hunts in ([], [Hunt([], MASSES)], [Hunt(one, np.array([]))]):
        with pytest.raises(ValueError, match="at least one"):
            global_p(hunts)
