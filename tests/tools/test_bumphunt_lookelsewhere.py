"""Global p-values: pseudo-experiments that are what they claim, uniform on background, sharper than a bound, valid."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, kstest, norm

from tools.bumphunt.counting import sidak
from tools.bumphunt.lookelsewhere import Hunt, global_p, global_p_value, pseudo_experiments, rough
from tools.bumphunt.profile import make_basis, scan, scan_maximum
from tools.bumphunt.spectrum import RANGE, Hypotheses, Spectrum, hypotheses, make_edges, one, signal_shape
from tools.trials import ENOUGH

EDGES = make_edges(*RANGE)
CENTRES = np.sqrt(EDGES[1:] * EDGES[:-1])
FALLING = np.diff(EDGES) * CENTRES**-7
FALLING /= FALLING.sum()
CUTS = (1e-2, 3e-3)
WIDTH = 0.009
MASSES = hypotheses(3.35, 3.65, WIDTH)
BASIS = make_basis(EDGES, 2)


def nested(seed: int, events: float = 30_000, signal: float = 0, cuts: tuple[float, ...] = CUTS) -> list[Spectrum]:
    """Spectra behind nested cuts of these background efficiencies; signal at 3.5 TeV passes all of them."""
    rng = np.random.default_rng(seed)
    total, bump = rng.poisson(events * FALLING), rng.poisson(signal * signal_shape(EDGES, 3.5, WIDTH))
    spectra, kept, before = [], total, 1.0
    for cut in cuts:
        kept, before = rng.binomial(kept, cut / before), cut
        spectra.append(Spectrum(EDGES, (kept + bump).astype(float), (total - kept).astype(float)))
    return spectra


def test_pseudo_experiments_are_nested_and_have_the_fitted_background() -> None:
    spectra = nested(1, events=200_000)
    for order in (spectra, spectra[::-1]):
        drawn = pseudo_experiments(order, 400, np.random.default_rng(1), MASSES.widths)
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
    shapes = hypotheses(3.0, 4.0).shapes(EDGES)
    full = scan(passed.astype(float), failed.astype(float), BASIS, shapes, 0.1)[0].max(axis=1)
    quick = scan_maximum(passed.astype(float), failed.astype(float), BASIS, shapes, 0.1)
    assert np.all(quick <= full + 1e-3)
    assert (full - quick).mean() < (0.05 if passing < 50 else 0.02)
    assert np.mean(full - quick > 1e-3) < (0.25 if passing < 50 else 0.1)


@pytest.mark.slow
def test_on_background_it_is_uniform_and_the_sidak_bound_is_not() -> None:
    found = [global_p([Hunt(nested(100 + seed), MASSES)], n_toys=80, seed=seed) for seed in range(40)]
    p = np.array([f.p_global for f in found])
    bound = np.array([sidak(f.p_local, len(CUTS) * len(MASSES)) for f in found])
    assert kstest(p, "uniform").pvalue > 1e-3
    assert binomtest(int((p < 0.1).sum()), len(p), 0.1).pvalue > 1e-3
    assert p.mean() < bound.mean() - 0.05
    assert p.mean() == pytest.approx(0.5, abs=4 / np.sqrt(12 * len(p)))


@pytest.mark.slow
def test_beyond_the_toys_the_upcrossings_go_on() -> None:
    """A bump of about three standard deviations, by many toys and by extrapolation from few."""
    hunts = [Hunt(nested(20, signal=6), MASSES)]
    many, few = global_p(hunts, n_toys=4000), global_p(hunts, n_toys=150)
    assert 2.5 < many.z < 3.3
    assert (many.method, few.method) == ("toys", "upcrossings")
    assert many.n_above >= ENOUGH > few.n_above
    assert few.p_global == pytest.approx(many.p_global, rel=1.5)  # conservative by up to the overlap of the cuts
    assert few.p_global > many.p_global - 3 * np.hypot(many.error, few.error)
    assert many.p_local < many.p_global < sidak(many.p_local, 2 * len(MASSES)) + 3 * many.error


def test_a_resonance_is_found_where_it_is_at_no_more_than_the_bound() -> None:
    quiet = Hunt(nested(8), hypotheses(4.0, 4.2, WIDTH))
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
    once, often = global_p(hunts, n_toys=100), global_p(hunts, tries=5, n_toys=100)
    assert often.p_global == pytest.approx(1 - (1 - once.p_global) ** 5)


def test_at_one_mass_and_cut_it_is_the_local_p_value() -> None:
    found = global_p([Hunt(nested(12, events=300_000)[:1], one(3.5, WIDTH))], n_toys=2000)
    assert found.p_global == pytest.approx(found.p_local, abs=4 * found.error)


def test_what_cannot_be_drawn_is_refused() -> None:
    two, other = nested(13), nested(14)
    with pytest.raises(ValueError, match="nested"):
        global_p([Hunt([two[0], other[1]], MASSES)], n_toys=10)
    for hunts in ([], [Hunt([], MASSES)], [Hunt(two, Hypotheses(np.empty(0), np.empty(0)))]):
        with pytest.raises(ValueError, match="at least one"):
            global_p(hunts)


def test_the_roughness_of_toys_has_unit_variance_and_the_widths_asked_for() -> None:
    fields = [rough(EDGES, 4000, np.random.default_rng(3), np.array([width])) for width in (0.01, 0.04)]
    step = np.log(EDGES[1] / EDGES[0])
    for field, width in zip(fields, (0.01, 0.04), strict=True):
        np.testing.assert_allclose(field.var(axis=0), np.sqrt(2), rtol=6 * np.sqrt(2 / 4000))
        bump = np.exp(-(((np.arange(len(CENTRES)) - 60) * step / width) ** 2) / 2)
        assert (field @ bump / bump.sum()).var() == pytest.approx(1, rel=6 * np.sqrt(2 / 4000))
        # White noise under a Gaussian of width w has the correlation exp(-d**2 / (4 w**2)).
        apart = round(2 * width / step)
        middle = field[:, 60], field[:, 60 + apart]
        expected = np.exp(-((apart * step / width) ** 2) / 4)
        assert np.corrcoef(*middle)[0, 1] == pytest.approx(expected, abs=5 / np.sqrt(4000) + 0.03)


def test_a_rough_background_is_in_the_toys_too() -> None:
    """The same z is less rare where the background is known to 20% only; on such data p is valid."""
    rng = np.random.default_rng(4)
    smooth = Spectrum(EDGES, 3000 * FALLING, 3e5 * FALLING)
    tested = hypotheses(3.0, 4.0, 0.02)
    p_values = []
    for seed in range(40):
        field = rough(EDGES, 1, rng, tested.widths)[0]
        passed = rng.poisson(smooth.passed * np.maximum(1 + 0.2 * field, 0)).astype(float)
        spectrum = Spectrum(EDGES, passed, rng.poisson(smooth.failed).astype(float), 2, 0.2)
        p_values.append(global_p([Hunt([spectrum], tested)], n_toys=80, seed=seed).p_global)
    assert kstest(p_values, "uniform", alternative="greater").pvalue > 1e-3
    sure, unsure = (Spectrum(EDGES, smooth.passed, smooth.failed, 2, delta) for delta in (0.0, 0.2))
    assert (
        global_p_value([Hunt([unsure], tested)], 2.0, n_toys=400).p_global
        > 0.5 * global_p_value([Hunt([sure], tested)], 2.0, n_toys=400).p_global
    )  # toys are as rough as the test allows for
