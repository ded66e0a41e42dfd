"""Resonances on a smooth background: closed forms, injections, the rate of false ones, and real muon pairs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import kstest, norm

from tools.contract import ToolError
from tools.events.parquet import write_events
from tools.nuisances import Effects
from tools.spectrum import count_window, hunt
from tools.spectrum.background import fit, on_top, start
from tools.spectrum.count import Count, count, predict
from tools.spectrum.families import functions
from tools.spectrum.field import Field
from tools.spectrum.filled import Counts
from tools.spectrum.likelihood import deviance, maximise
from tools.spectrum.peak import Moved, Peak
from tools.spectrum.search import Spectrum, search
from tools.spectrum.shapes import Bins, bins_for, resonance
from tools.spectrum.stack import fit_stack
from tools.spectrum.trials import LEVEL, Trials
from tools.types import Floats

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "dimuons"
DIMUONS = Path(os.environ.get("DIMUONS", REAL))
LOW, HIGH = 20.0, 120.0


def falling(bins: Bins, events: float) -> Floats:
    """Expected counts (n,) of an exponential spectrum with a slope of 25."""
    cdf = np.exp((LOW - bins.edges) / 25.0)
    return np.asarray(events * (cdf[:-1] - cdf[1:]) / (cdf[0] - cdf[-1]))


def table(folder: Path, masses: Floats) -> str:
    write_events(folder / "events.parquet", {"mass": masses})
    return str(folder / "events.parquet")


def test_fisher_scoring_finds_the_maximum_that_a_general_minimiser_finds() -> None:
    bins = Bins.between(np.linspace(LOW, HIGH, 41))
    function = next(f for f in functions(bins, 10_000) if f.degree == 3)
    counts = np.random.default_rng(1).poisson(falling(bins, 3000)).astype(float)
    shape = resonance(bins, 60.0, 0.03, "gaussian")[None]
    model = on_top(function, shape)
    ours = maximise(counts, model, start(counts, function, 1))
    theirs = minimize(lambda x: deviance(counts, np.maximum(model(x)[0], 1e-9)), ours.parameters * 1.01, method="BFGS")
    assert ours.deviance <= theirs.fun + 1e-3
    assert np.allclose(ours.parameters, theirs.x, atol=0.05 * np.sqrt(np.diag(ours.covariance)).max())


def test_many_fits_at_once_are_those_of_one_after_the_other() -> None:
    bins = bins_for(LOW, HIGH, 0.02)
    function = next(f for f in functions(bins, 10_000) if f.degree == 3)
    counts = np.random.default_rng(1).poisson(falling(bins, 3000), (5, len(bins.low))).astype(float)
    masses = [30.0, 40.0, 60.0, 80.0, 100.0]
    shapes = resonance(bins, np.array(masses), 0.03, "gaussian")
    near = fit(falling(bins, 3000), function).parameters
    alone, together = fit_stack(counts, function, near), fit_stack(counts, function, np.append(near, 0.0), shapes)
    amounts, none = together.parameters[:, -1], Effects.of([])
    for k in range(5):
        one, two = fit(counts[k], function), fit(counts[k], function, shapes[k : k + 1])
        assert alone.penalised[k] - 4 == pytest.approx(one.deviance, abs=1e-5)
        assert together.penalised[k] - 4 == pytest.approx(two.deviance, abs=1e-5)
        assert together.parameters[k, -1] == pytest.approx(two.parameters[-1], abs=0.05)
        peak = Moved(bins, Peak(masses[k], 0.03), amounts[k : k + 1], none)
        fixed = fit_stack(counts[k : k + 1], function, near, peak=peak)
        assert fixed.penalised[0] == pytest.approx(together.penalised[k], abs=1e-5)


def test_a_dijet_function_is_described_exactly_by_its_family() -> None:
    bins = Bins.between(np.geomspace(1.5, 8.0, 60))
    x = bins.centres / 13.0
    counts = np.diff(bins.edges) * 50 * (1 - x) ** 9 / x ** (4 + 0.3 * np.log(x))
    dijet = next(f for f in functions(bins, 10**6, 13.0) if (f.family, f.degree) == ("dijet", 3))
    power = next(f for f in functions(bins, 10**6) if (f.family, f.degree) == ("power", 1))
    assert fit(counts, dijet).deviance < 1e-6 * counts.sum()
    assert fit(counts, power).deviance > 10


@pytest.mark.parametrize("shape", ["gaussian", "tailed"])
def test_a_shape_has_unit_area_and_its_width(shape: str) -> None:
    bins = Bins.between(np.linspace(40, 160, 4001))
    found = resonance(bins, 100.0, 0.01, shape)  # type: ignore[arg-type]
    assert found.sum() == pytest.approx(1.0, abs=1e-3)
    half = np.interp([0.25, 0.75], np.cumsum(found), bins.high)
    quartile = {"gaussian": 0.6745, "tailed": 0.7267}[shape]  # of the normal distribution, and of Student's t_5
    assert half[1] - half[0] == pytest.approx(2 * quartile, rel=0.01)


def test_a_field_has_unit_variance_and_sees_a_small_signal_as_expected() -> None:
    """Where the background cannot imitate a narrow peak, z is sum(s n) / sqrt(sum(s^2 b)), s the shape over b."""
    bins = bins_for(LOW, HIGH, 0.02)
    expected = falling(bins, 20_000)
    function = next(f for f in functions(bins, 20_000) if f.degree == 2)
    null = fit(expected, function)
    shapes = resonance(bins, np.array([50.0, 80.0])[:, None], np.array([[0.02]]), "gaussian")
    field = Field(null, shapes)
    toys = np.random.default_rng(2).poisson(null.expected, (4000, len(expected)))
    z = np.stack([field.z(toy)[:, 0] for toy in toys])
    assert np.allclose(z.mean(axis=0), 0, atol=0.07)
    assert np.allclose(z.std(axis=0), 1, atol=0.05)
    signal = 100 * shapes[0, 0]
    naive = np.sqrt(np.sum(signal**2 / null.expected))
    assert field.z(null.expected + signal)[0, 0] == pytest.approx(naive, rel=0.1)


def test_global_p_values_of_background_are_uniform() -> None:
    """Unknown widths: two widths and two shapes, searched in six ways that have much in common."""
    bins = bins_for(LOW, HIGH, 0.03)
    rng, p = np.random.default_rng(3), []
    known = [f for f in functions(bins, 2000) if f.degree <= 2]
    for seed in range(20):
        counts = rng.poisson(falling(bins, 2000)).astype(float)
        found = search(Spectrum(bins, counts, known, (25.0, 100.0), [0.03, 0.05]), alpha=1e-6, seed=seed)
        assert found.left is not None
        p.append(found.left.p_global)
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) > 0.98) < 0.2  # not one in most sets


def test_a_tail_beyond_the_toys_has_its_closed_form() -> None:
    """z = x cos + y sin of an angle, x and y Gaussian: its maximum exceeds u with p = exp(-u^2 / 2), rising once."""
    toys = np.hypot(*np.random.default_rng(9).standard_normal((2, 400)))
    known = Trials(np.sort(toys), float(np.exp(-(LEVEL**2) / 2)))
    for z in (0.0, 1.5, 2.5, 4.0, 6.0):
        assert known.p_value(z) == pytest.approx(np.exp(-(z**2) / 2), rel=0.35)
    assert (np.diff([known.p_value(z) for z in np.linspace(0, 8, 200)]) <= 1e-12).all()


@pytest.mark.slow
def test_masses_widths_and_yields_come_back_with_honest_errors() -> None:
    bins = bins_for(LOW, HIGH, 0.01)
    rng, pulls = np.random.default_rng(5), []
    true = [(45.0, 0.015, 600.0), (80.0, 0.03, 500.0)]
    expected = falling(bins, 20_000) + sum(n * resonance(bins, m, w, "gaussian") for m, w, n in true)
    known = [f for f in functions(bins, 20_000) if f.degree <= 3]
    for _ in range(8):
        counts = rng.poisson(expected).astype(float)
        found = search(Spectrum(bins, counts, known, (30.0, 110.0), [0.01, 0.02, 0.04]), alpha=1e-3)
        assert len(found.resonances) == 2
        for r, (m, _, n) in zip(sorted(found.resonances), true, strict=True):
            pulls.append([(r.mass - m) / r.mass_error, (r.n_signal - n) / r.n_signal_error])
    mean, width = np.mean(pulls, axis=0), np.std(pulls, axis=0)
    assert (abs(mean) < 0.75).all()  # 3 errors of the mean
    assert (width < 1.5).all()
    assert (width > 0.5).all()


def counted(bins: Bins, counts: Floats) -> Count:
    """The count between 60 and 62."""
    known = [f for f in functions(bins, 200_000) if f.degree <= 2]
    spectrum, inside = Counts(bins, counts), bins.inside((60.0, 62.0))
    return count(spectrum, inside, predict(spectrum, inside, known))


def test_a_count_in_a_window_has_the_significance_of_its_closed_form() -> None:
    """With a background that is known well, z^2 = 2 (n ln(n / b) - (n - b))."""
    bins = bins_for(LOW, HIGH, 0.005, (60.0, 62.0))
    expected = falling(bins, 200_000)
    inside = bins.inside((60.0, 62.0))
    b = expected[inside].sum()
    counts = expected.copy()
    counts[inside] *= 1.1
    found = counted(bins, counts)
    n = 1.1 * b
    assert found.predicted.background == pytest.approx(b, rel=0.01)
    assert found.z == pytest.approx(np.sqrt(2 * (n * np.log(n / b) - (n - b))), rel=0.05)
    assert counted(bins, expected).z == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"fit_range": (5.0, 2.0)}, "fit_range"),
        ({"fit_range": (20_000.0, 120_000.0)}, "fit_range"),  # MeV
        ({"column": "m"}, "column"),
        ({"events": "nothing.parquet"}, "events"),
        ({"search": (10.0, 50.0)}, "search"),
        ({"sqrt_s": 100.0}, "sqrt_s"),
        ({"unit": "eV"}, "unit"),
        ({"out": "/tmp/x.parquet"}, "out"),
    ],
)
def test_bad_input_is_named(change: dict[str, object], field: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    events = table(tmp_path, LOW + rng.exponential(25, 1000))
    with pytest.raises(ToolError) as error:
        hunt(**({"events": events, "unit": "GeV", "fit_range": (LOW, HIGH)} | change))
    assert error.value.field == field


def test_a_value_that_is_not_finite_is_refused_with_its_row(tmp_path: Path) -> None:
    masses = LOW + np.random.default_rng(7).exponential(25, 1000)
    masses[123] = np.nan
    with pytest.raises(ToolError, match="row 123"):
        count_window(events=table(tmp_path, masses), unit="GeV", fit_range=(LOW, HIGH), window=(60, 62))


needs_dimuons = pytest.mark.skipif(not DIMUONS.is_dir(), reason=f"no CMS dimuon events in {DIMUONS}")


def dimuons(folder: Path, charge: str, selection: str) -> str:
    import pandas as pd

    every = pd.read_parquet(DIMUONS / "masses_after_cuts.parquet")
    chosen = every[(every.charge == charge) & (every.selection == selection)]
    return table(folder, chosen.mass.to_numpy())


@needs_dimuons
@pytest.mark.parametrize("selection", ["1", "0.25", "0.1", "0.05", "0.01", "no_isolation_cut"])
def test_the_published_significances_of_the_upsilon_window(selection: str, tmp_path: Path) -> None:
    published = json.loads((DIMUONS / "published_significances.json").read_text())["OS"][selection]
    found = count_window(
        events=dimuons(tmp_path, "OS", selection), unit="GeV", fit_range=(5, 16), window=(9.0, 10.6), degree=5
    )
    assert found.z == pytest.approx(published, abs=0.5)


@needs_dimuons
@pytest.mark.parametrize("selection", ["1", "0.1", "0.01"])
def test_same_sign_pairs_have_no_excess(selection: str, tmp_path: Path) -> None:
    events = dimuons(tmp_path, "SS", selection)
    found = count_window(events=events, unit="GeV", fit_range=(5, 16), window=(9.0, 10.6), degree=5)
    assert abs(found.z) < 2
    assert norm.sf(found.z) == pytest.approx(found.p_value)


@needs_dimuons
def test_the_three_upsilons_are_found_without_any_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masses of the Particle Data Group; the muon momenta are not corrected, so 0.3% is what can be expected."""
    monkeypatch.chdir(tmp_path)
    found = hunt(events=dimuons(tmp_path, "OS", "no_isolation_cut"), unit="GeV", fit_range=(5, 16))
    masses = [r.mass for r in found.resonances]
    assert len(masses) == 3
    assert np.allclose(masses, [9.4604, 10.0234, 10.3551], rtol=3e-3)
    assert all(r.p_global < 1e-9 for r in found.resonances)
    assert found.fit_p is not None
    assert found.fit_p > 0.01
    yields = [r.n_signal for r in found.resonances]
    assert yields[0] > yields[1] > yields[2] > 300
