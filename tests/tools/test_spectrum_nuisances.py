"""Nuisances of a peak: closed form of a count with a log-normal efficiency, coverage, impacts, and pyhf as a peer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from tools.contract import ToolError
from tools.events.parquet import write_events
from tools.nuisances import Effects, Nuisance, stated
from tools.spectrum.background import fit_all
from tools.spectrum.families import functions
from tools.spectrum.filled import Counts
from tools.spectrum.limit import limit
from tools.spectrum.limits import lambdas, upper_limit
from tools.spectrum.peak import Moved, Peak
from tools.spectrum.shapes import Bins, bins_for, resonance
from tools.spectrum.workspace import workspace
from tools.types import Floats

LOW, HIGH, PEAK = 20.0, 120.0, Peak(60.0, 0.03)
BINS = bins_for(LOW, HIGH, 0.04)
JES = Nuisance(name="jes", efficiency=(0.9, 1.15), mass=(0.985, 1.012), width=(0.95, 1.1))


def falling(events: float) -> Floats:
    cdf = np.exp((LOW - BINS.edges) / 25.0)
    return np.asarray(events * (cdf[:-1] - cdf[1:]) / (cdf[0] - cdf[-1]))


def limited(counts: Floats, nuisances: list[Nuisance]) -> tuple[float, float, float]:
    """Observed and median expected limit, and significance, with one background function."""
    data, known = Counts(BINS, counts), [f for f in functions(BINS, counts.sum()) if f.degree == 1][:1]
    found = upper_limit(data, data, fit_all(counts, known), PEAK, nuisances, 0.95)
    assert found.observed is not None
    assert found.z is not None
    return found.observed, found.expected[2], found.z


def test_factors_go_through_the_variations_and_their_slopes_are_right() -> None:
    effects = Effects.of([JES, *stated(efficiency=0.2)])
    for eta, factors in (
        ([1.0, 0.0], (1.15, 1.012, 1.1)),
        ([-1.0, 0.0], (0.9, 0.985, 0.95)),
        ([0.0, 2.0], (1.44, 1, 1)),
    ):
        assert np.allclose(np.exp(effects.logs(np.array([eta]))), factors)
    at, step = np.array([[0.4, -1.7], [-2.3, 0.9]]), 1e-6
    peak = Moved(BINS, PEAK, np.array([50.0, 80.0]), Effects.of([JES, *stated(background=0.1)]), under=200.0)
    for k in range(2):
        by_hand = (peak.counts(at + step * np.eye(2)[k]) - peak.counts(at - step * np.eye(2)[k])) / (2 * step)
        assert np.allclose(peak.slopes(at)[:, :, k], by_hand, atol=1e-3 * np.abs(by_hand).max())


def test_a_count_with_a_log_normal_efficiency_has_the_profile_of_its_closed_form() -> None:
    """One bin for the peak, and 10^9 events beside it that fix the background b:
    -2 log L(S) = min over eta of { 2 (mu - n + n log(n / mu)) + eta^2 }, mu = S kappa^eta + b."""
    edges, kappa, b, n = np.array([10.0, 20.0, 30.0, 40.0]), 1.3, 100.0, 160.0
    bins = Bins.between(edges)
    beside = 1e9
    counts = np.array([beside, n, beside])
    function = next(f for f in functions(bins, 2e9) if f.degree == 1)
    function = function._replace(widths=np.array([beside, b, beside]))
    fits = fit_all(np.array([beside, b, beside]), [function])
    amounts = np.linspace(5, 200, 8)
    peak = Moved(bins, Peak(25.0, 0.02), amounts, Effects.of(stated(efficiency=kappa - 1)))
    found = lambdas(counts, fits, peak) - 2.0  # two parameters of the background

    def closed(amount: float) -> float:
        def at(eta: float) -> float:
            mu = amount * kappa**eta + b
            return float(2 * (mu - n + n * np.log(n / mu)) + eta**2)

        return float(minimize_scalar(at, bounds=(-12, 12), method="bounded").fun)

    assert np.allclose(found, [closed(each) for each in amounts], atol=0.01)


def test_the_limit_covers_with_the_nuisance_and_too_rarely_without() -> None:
    """Each toy has its own efficiency, 30% off. Without the nuisance the limit is 1.6 statistical errors of 20 above
    the yield, which scatters by 20 and 38: P(z > -1.6 * 20 / 43) = 78%."""
    smooth, rng, errors = falling(4000), np.random.default_rng(7), stated(efficiency=0.3)
    true = 4.0 * limited(smooth, [])[1]
    yields = true * 1.3 ** rng.standard_normal(120)
    toys = rng.poisson(smooth + yields[:, None] * resonance(BINS, *PEAK)).astype(float)
    without, with_it = (np.mean([limited(toy, each)[0] > true for toy in toys]) for each in ([], errors))
    assert 0.90 <= with_it <= 0.995
    assert without < 0.87


def test_an_error_of_the_background_lowers_the_significance() -> None:
    """z^2 = S^2 / (error^2 + (0.05 B)^2) for Gaussian errors; an efficiency changes nothing at S = 0."""
    counts = falling(50_000) + 600 * resonance(BINS, *PEAK)
    z, lower, same = (limited(counts, each)[2] for each in ([], stated(background=0.05), stated(efficiency=0.3)))
    data = Counts(BINS, counts)
    under = upper_limit(data, data, fit_all(counts, list(functions(BINS, 5e4))[:1]), PEAK, [], 0.95).background
    assert lower == pytest.approx(600 / np.hypot(600 / z, 0.05 * under), rel=0.1)
    assert same == pytest.approx(z, rel=0.01)


def test_pyhf_finds_the_same_limit_with_all_kinds_of_nuisances() -> None:
    pyhf = pytest.importorskip("pyhf")
    rng = np.random.default_rng(3)
    counts = rng.poisson(falling(4000) + 40 * resonance(BINS, *PEAK)).astype(float)
    symmetric = Nuisance(name="jes", efficiency=(1 / 1.15, 1.15), mass=(1 / 1.01, 1.01), width=(1 / 1.1, 1.1))
    nuisances = [symmetric, *stated(efficiency=0.1, background=0.05)]
    data, known = Counts(BINS, counts), [f for f in functions(BINS, 4000) if f.degree == 1][:1]
    fits = fit_all(counts, known)
    found = upper_limit(data, data, fits, PEAK, nuisances, 0.95)
    assert found.observed is not None
    made = pyhf.Workspace(workspace(data, fits[0], PEAK, nuisances, found.observed, found.background))
    model = made.model()
    assert {"jes", "efficiency", "background"} < set(model.config.par_names)
    assert pyhf.infer.hypotest(1.0, made.data(model), model) == pytest.approx(0.05, abs=0.01)


def test_each_impact_is_the_limit_without_its_nuisance(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    write_events(tmp_path / "e.parquet", {"mass": LOW + rng.exponential(25, 3000)})
    asked = {"events": str(tmp_path / "e.parquet"), "unit": "GeV", "fit_range": (LOW, HIGH), "width": 0.03}
    asked |= {"masses": [60.0], "background_uncertainty": 0.1}
    both = limit(**asked, nuisances=[JES])
    alone = limit(**asked).limits[0]
    assert [each.name for each in both.impacts] == ["background", "jes"]
    assert both.impacts[1].expected == pytest.approx(alone.expected[2], rel=1e-6)
    assert both.impacts[1].observed == pytest.approx(alone.observed, rel=1e-6)
    assert both.limits[0].expected[2] > 1.005 * both.impacts[1].expected
    assert both.limits[0].expected[2] > 1.05 * both.impacts[0].expected
    with pytest.raises(ToolError, match="each name once"):
        limit(**asked, nuisances=[JES, JES])
