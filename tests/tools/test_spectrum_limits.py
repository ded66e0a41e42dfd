"""Limits, injected resonances, weights and blind windows of a mass spectrum: closed forms, coverage, nothing seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from tools.contract import ToolError
from tools.events.parquet import write_events
from tools.nuisances import Nuisance, stated
from tools.spectrum import count_window, hunt
from tools.spectrum.background import fit_all
from tools.spectrum.families import Function, functions
from tools.spectrum.filled import Counts, filled
from tools.spectrum.inject import inject
from tools.spectrum.inputs import Sample
from tools.spectrum.limit import limit
from tools.spectrum.limits import Limit, upper_limit
from tools.spectrum.peak import Peak
from tools.spectrum.shapes import bins_for, resonance
from tools.types import Floats

LOW, HIGH = 20.0, 120.0
WIDTH = 0.02
BINS = bins_for(LOW, HIGH, 0.04)
PEAK = Peak(60.0, WIDTH)


def falling(events: float) -> Floats:
    """Expected counts (n,) of an exponential spectrum with a slope of 25."""
    cdf = np.exp((LOW - BINS.edges) / 25.0)
    return np.asarray(events * (cdf[:-1] - cdf[1:]) / (cdf[0] - cdf[-1]))


def known(events: float) -> list[Function]:
    return [f for f in functions(BINS, events) if f.family == "polynomial" and f.degree <= 2]


def limited(counts: Floats, nuisances: Sequence[Nuisance] = (), choices: list[Function] | None = None) -> Limit:
    data = Counts(BINS, counts)
    fits = fit_all(counts, choices or known(counts.sum()))
    return upper_limit(data, data, fits, PEAK, nuisances, 0.95)


def test_the_expected_limit_is_that_of_a_gaussian_measurement() -> None:
    """With error e of the yield, the median CLs limit is 1.96 e, and its bands are e (Phi^-1(1 - 0.05 Phi(n)) + n)."""
    counts = falling(50_000)
    fits = fit_all(counts, known(50_000)[1:2])
    shape = resonance(BINS, *PEAK)
    whole = np.concatenate([fits[0].fit.jacobian, shape[:, None]], axis=1)
    error = np.sqrt(np.linalg.inv(whole.T @ (whole / counts[:, None]))[-1, -1])
    found = limited(counts, choices=known(50_000)[1:2])
    gaussian = [error * (norm.isf(0.05 * norm.cdf(n)) + n) for n in (-2, -1, 0, 1, 2)]
    assert np.allclose(found.expected, gaussian, rtol=0.05)
    assert found.observed == pytest.approx(found.expected[2], rel=0.02)  # these counts are the Asimov data set


def test_a_systematic_error_of_the_background_adds_in_quadrature() -> None:
    counts = falling(50_000)
    without, with_it = limited(counts), limited(counts, stated(background=0.05))
    added = 0.05 * without.background * norm.isf(0.025)
    assert with_it.expected[2] == pytest.approx(np.hypot(without.expected[2], added), rel=0.05)


def test_an_error_of_the_efficiency_raises_the_limit_as_for_gaussian_errors() -> None:
    """S^2 = 1.96^2 (e^2 + (0.2 S)^2), e the error without it."""
    counts = falling(20_000)
    plain, with_it = limited(counts), limited(counts, stated(efficiency=0.2))
    assert with_it.expected[2] / plain.expected[2] == pytest.approx(1 / np.sqrt(1 - (0.2 * 1.96) ** 2), rel=0.05)


def test_with_an_error_of_the_scale_a_peak_nearby_may_be_the_one_that_is_tested() -> None:
    beside = falling(20_000) + 150 * resonance(BINS, 61.8, WIDTH, "gaussian")
    plain, with_it = (limited(beside, each).observed or 0.0 for each in ([], stated(scale=0.02)))
    assert with_it > 1.1 * plain


def test_limits_cover_as_often_as_they_say() -> None:
    """The true yield is the expected limit: CLs then covers it in 95% of the toys or a little more."""
    expected, rng = falling(3000), np.random.default_rng(5)
    true = limited(expected).expected[2]
    toys = rng.poisson(expected + true * resonance(BINS, *PEAK), (120, len(expected))).astype(float)
    above = np.mean([(limited(toy).observed or 0.0) > true for toy in toys])
    assert 0.90 <= above <= 1.0


def test_background_alone_gives_limits_inside_the_bands() -> None:
    expected, rng = falling(3000), np.random.default_rng(6)
    bands = limited(expected).expected
    seen = np.array([limited(toy).observed for toy in rng.poisson(expected, (100, len(expected))).astype(float)])
    for level, band in zip((-1, 0, 1), bands[1:4], strict=True):
        assert np.mean(seen < band) == pytest.approx(norm.cdf(level), abs=0.15)


def masses(seed: int = 1, n: int = 4000, signal: int = 250) -> Floats:
    rng = np.random.default_rng(seed)
    smooth = LOW - 25 * np.log(1 - rng.random(n) * (1 - np.exp((LOW - HIGH) / 25)))
    return np.concatenate([smooth, rng.normal(60, 60 * WIDTH, signal)])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_equal_weights_scale_yields_and_keep_relative_errors(here: Path) -> None:
    """Weights of two: twice the yield, with the relative error and the significance of the events."""
    m = masses()
    write_events(here / "e.parquet", {"mass": m, "w": np.full(len(m), 2.0)})
    asked = {"events": "e.parquet", "unit": "GeV", "fit_range": (LOW, HIGH), "width": WIDTH}
    (plain,), (twice,) = hunt(**asked).resonances, hunt(**asked, weights="w").resonances
    assert twice.n_signal == pytest.approx(2 * plain.n_signal, rel=1e-3)
    assert twice.n_signal_error == pytest.approx(2 * plain.n_signal_error, rel=1e-3)
    assert twice.mass_error == pytest.approx(plain.mass_error, rel=1e-3)
    assert twice.z == pytest.approx(plain.z, rel=1e-3)
    window = {k: v for k, v in asked.items() if k != "width"} | {"window": (57, 63)}
    one, two = count_window(**window), count_window(**window, weights="w")
    assert one.z is not None
    assert two.observed == pytest.approx(2 * (one.observed or 0))
    assert two.z == pytest.approx(one.z, rel=1e-3)
    ones, twos = (limit(**asked, masses=[60.0], **more).limits[0].observed for more in ({}, {"weights": "w"}))
    assert twos == pytest.approx(2 * (ones or 0), rel=0.02)


def test_weights_that_differ_give_the_errors_of_effective_events() -> None:
    """The variance of a sum of weights is the sum of their squares."""
    rng = np.random.default_rng(3)
    m = masses(n=20_000, signal=0)
    w = rng.exponential(1.0, len(m))  # sum w^2 / sum w = 2
    bins, counts = filled(BINS, Sample(m, w))
    assert counts.sum() == pytest.approx(w.sum() ** 2 / (w**2).sum(), rel=0.01)
    sums = np.histogram(m, BINS.edges, weights=w)[0]
    assert np.allclose(counts / bins.per, sums)
    assert bins.per.mean() == pytest.approx(0.5, rel=0.05)


def test_what_lies_in_a_blind_window_changes_nothing(here: Path) -> None:
    """Results with the events in the window, without them and with many more are the same."""
    m = masses()
    inside = (m >= 55) & (m < 65)
    told = []
    for k, seen in enumerate((m, m[~inside], np.append(m, np.full(500, 60.0)))):
        write_events(here / f"e{k}.parquet", {"mass": seen})
        asked = {"events": f"e{k}.parquet", "unit": "GeV", "fit_range": (LOW, HIGH), "blind": (55, 65)}
        found = hunt(**asked, width=0.05)
        counted, limits = count_window(**asked, window=(55, 65)), limit(**asked, width=WIDTH, masses=[60.0])
        told.append([each.model_dump(exclude={"spectrum"}) for each in (found, counted, limits)])
    assert told[0] == told[1] == told[2]
    assert told[0][1]["observed"] is None
    assert told[0][2]["limits"][0]["observed"] is None
    true = np.sum((m[: len(m) - 250] >= 55) & (m[: len(m) - 250] < 65))
    assert told[0][1]["background"] == pytest.approx(true, abs=4 * np.sqrt(true))
    assert 0 < told[0][1]["for_3_sigma"] < told[0][1]["for_5_sigma"]
    with pytest.raises(ToolError, match="blind masses"):
        count_window(**asked, window=(60, 70))


def test_injected_resonances_are_found_if_they_are_strong(here: Path) -> None:
    write_events(here / "e.parquet", {"mass": masses(signal=0, n=3000)})
    asked = {"events": "e.parquet", "unit": "GeV", "fit_range": (LOW, HIGH), "width": 0.03, "search": (40, 90)}
    weak, strong = inject(**asked, masses=[60.0], yields=[10, 200], toys=8).injected
    assert weak.found <= 2
    assert strong.found == 8
    assert strong.yield_bias == pytest.approx(0, abs=40)  # an error of 24 each, 8 toys
    assert strong.mass_pull_width is not None
    assert 0.3 < strong.mass_pull_width < 2.2
    with pytest.raises(ToolError, match="searched"):
        inject(**asked, masses=[100.0], yields=[10])
