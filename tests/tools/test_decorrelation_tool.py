"""The tool: what it writes and reports, what it refuses, and trainings that know nothing of the mass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tools.catalogue import find
from tools.contract import ToolError
from tools.decorrelation.penalties import distance_correlation, moments, planing, residual
from tools.events.parquet import read_columns, write_events

N = 8000
QUICK = {"kind": "cnots", "steps": 60, "hidden": 16, "batch": 512}
FLOW = "flow"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Events of which a fifth is signal at one mass; score and feature f grow with the mass, g does not."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    is_signal = rng.random(N) < 0.2
    mass = np.where(is_signal, rng.normal(3.5, 0.1, N), rng.uniform(2.5, 5.0, N))
    score = rng.normal(size=N) + (mass - 3.5) + 1.5 * is_signal
    g = rng.normal(size=N) + is_signal
    write_events(Path("events.parquet"), {"mass": mass, "f": score, "g": g, "other": mass**2})
    write_events(Path("scores.parquet"), {"a": score, "b": g})
    write_events(Path("labels.parquet"), {"label": is_signal.astype(float)})
    return {"events": "events.parquet", "scores": "scores.parquet", "labels": "labels.parquet"}


def run(**arguments: Any) -> Any:
    return find("decorrelation.decorrelate")(**arguments)


def test_scores_figure_and_report(files: dict[str, Any]) -> None:
    result = run(**files, method=FLOW, efficiencies=[0.5, 0.1])
    written = read_columns(Path(result.scores.path))
    assert list(written) == ["a", "b"]
    assert Path(result.figure).read_bytes()[:4] == b"\x89PNG"
    is_signal = read_columns(Path("labels.parquet"))["label"] > 0
    assert result.n_background == result.n_learned == (~is_signal).sum()
    cuts = {(cut.score, cut.efficiency): cut for cut in result.cuts}
    assert len(cuts) == len(result.cuts) == 4
    shaped, free = cuts["a", 0.5], cuts["b", 0.5]
    assert shaped.inverse_jsd_before < 0.05 * shaped.ceiling < 0.3 * shaped.inverse_jsd
    assert shaped.p_value > 1e-3
    assert free.inverse_jsd_before > 0.2 * free.ceiling  # there was nothing to remove
    background = np.sort(written["a"][~is_signal])
    at = background[-round(0.1 * len(background))]
    assert cuts["a", 0.1].signal_efficiency == pytest.approx((written["a"][is_signal] >= at).mean(), abs=1e-6)
    assert cuts["a", 0.1].signal_efficiency > cuts["a", 0.1].signal_efficiency_before  # in the middle of the masses


def test_a_window_or_a_simulation(files: dict[str, Any]) -> None:
    rng = np.random.default_rng(2)
    mass = rng.uniform(2.5, 5.0, 4000)
    write_events(Path("mc.parquet"), {"mass": mass})
    write_events(Path("mc_scores.parquet"), {"a": rng.normal(size=4000) + mass - 3.5})
    common = {"events": files["events"], "scores": files["scores"], "columns": ["a"], "efficiencies": [0.2]}
    beside = run(**common, leave_out=(3.2, 3.8), method=FLOW)
    outside = read_columns(Path("events.parquet"))["mass"]
    assert beside.n_learned == ((outside < 3.2) | (outside >= 3.8)).sum()
    made = run(**common, simulation="mc.parquet", simulation_scores="mc_scores.parquet", method=QUICK)
    assert made.n_learned == 4000
    assert made.cuts[0].signal_efficiency is None


def test_the_same_seed_gives_the_same_scores(files: dict[str, Any]) -> None:
    hashes = [run(**files, columns=["a"], method=QUICK | {"steps": 20}, seed=seed).scores.sha256 for seed in (3, 3, 4)]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"scores": None}, "decorrelation.decorrelate", "cnots needs scores"),
        ({"columns": ["z"]}, "scores", "no such column"),
        ({"protected": ["nowhere"]}, "protected", "columns of events"),
        ({"leave_out": (3.0, 2.0)}, "leave_out", "increasing"),
        ({"leave_out": (0.0, 9.0)}, "efficiencies", "of 0 background-like"),
        ({"efficiencies": [1e-4]}, "efficiencies", "at least 10"),
        ({"labels": "scores.parquet"}, "labels", "one column"),
        ({"simulation": "events.parquet"}, "decorrelation.decorrelate", "go together"),
        ({"method": {"kind": "disco", "features": ["g"]}, "labels": None}, "decorrelation.decorrelate", "needs labels"),
        ({"method": {"kind": "disco", "features": ["mass"]}}, "method.features", "other than the protected"),
        ({"method": {"kind": "mode", "features": ["g"]}, "protected": ["mass", "other"]}, "protected", "one column"),
        ({"out_figure": "map.pdf"}, "out_figure", "png"),
    ],
)
def test_refusals(files: dict[str, Any], change: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(ToolError, match=said) as caught:
        run(**files | change)
    assert caught.value.field == field


@pytest.mark.parametrize("kind", ["disco", "mode"])
def test_trainings_that_know_nothing_of_the_mass(files: dict[str, Any], kind: str) -> None:
    def train(**settings: Any) -> Any:
        method = {"features": ["f", "g"], "epochs": 10, "batch": 512} | settings
        result = run(**files | {"scores": None}, method=method, efficiencies=[0.3])
        (cut,) = result.cuts
        assert cut.inverse_jsd_before is None
        return cut

    plain, found = train(kind="mode", strength=0.0), train(kind=kind, strength=3.0 if kind == "disco" else 300.0)
    assert found.inverse_jsd > 3 * plain.inverse_jsd
    assert found.signal_efficiency > 0.4 > plain.inverse_jsd / plain.ceiling


def test_planing_hides_the_mass_from_a_classifier_that_sees_it(files: dict[str, Any]) -> None:
    """A feature that is the mass itself: without weights it finds the signal, with them it teaches nothing."""
    for kind in ("mode", "planing"):
        method = {"kind": kind, "features": ["other"], "epochs": 10} | ({"strength": 0.0} if kind == "mode" else {})
        found = run(**files | {"scores": None}, method=method, efficiencies=[0.1]).cuts[0].signal_efficiency
        assert found > 0.6 if kind == "mode" else found < 0.45


def test_distance_correlation_of_dependent_and_independent_samples() -> None:
    rng = np.random.default_rng(3)
    x = torch.as_tensor(rng.normal(size=(600, 1)))
    assert float(distance_correlation(x, -2 * x)) == pytest.approx(1.0, abs=1e-6)
    assert float(distance_correlation(x, torch.as_tensor(rng.normal(size=(600, 2))))) < 0.02
    a = np.abs(x.numpy() - x.numpy().T)
    y = x.numpy() ** 2
    b = np.abs(y - y.T)
    centred = [d - d.mean(0) - d.mean(1)[:, None] + d.mean() for d in (a, b)]
    expected = (centred[0] * centred[1]).mean() / np.sqrt((centred[0] ** 2).mean() * (centred[1] ** 2).mean())
    assert float(distance_correlation(x, torch.as_tensor(y))) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("degree", [0, 1])
def test_moments_are_the_integral_over_scores(degree: int) -> None:
    rng = np.random.default_rng(4)
    bins, n = 5, 4000
    place = rng.integers(0, bins, n)
    score = rng.uniform(size=n) ** (1 + 0.3 * place + 0.2 * (place == 2))
    grid = np.linspace(0, 1, 4001)
    cdf = np.array(
        [np.searchsorted(np.sort(score[place == k]), grid, "right") / (place == k).sum() for k in range(bins)]
    )
    left = residual(bins, degree).numpy() @ cdf
    expected = np.trapezoid((left**2).sum(axis=0), grid) / bins
    found = float(moments(torch.as_tensor(score), torch.as_tensor(place), bins, degree))
    assert found == pytest.approx(expected, abs=2e-4)  # without the events' pairs with themselves
    assert expected > 1e-3 / (1 + 9 * degree)
    assert abs(float(moments(torch.as_tensor(rng.random(n)), torch.as_tensor(place), bins, degree))) < 3e-4


def test_planing_makes_spectra_equal() -> None:
    rng = np.random.default_rng(5)
    mass = np.concatenate([rng.normal(0, 1, 3000), rng.normal(0.7, 1.2, 9000)])
    is_signal = np.arange(12_000) < 3000
    weight = planing(mass, is_signal, 40)
    assert weight[is_signal].mean() == pytest.approx(weight[~is_signal].mean()) == pytest.approx(1.0)
    bins = np.quantile(mass, np.linspace(0, 1, 11))
    signal, background = (
        np.histogram(mass[rows], bins, weights=weight[rows])[0] / rows.sum() for rows in (is_signal, ~is_signal)
    )
    np.testing.assert_allclose(signal, background, rtol=1e-6)
    with pytest.raises(ValueError, match="in common"):
        planing(np.where(is_signal, 0.0, 1.0) + 0.01 * mass, np.arange(12_000) < 3000, 4)
