"""What the benchmark of unfolding says of rows whose pulls, ratios and discriminators are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from benchmarks.omnifold import summarise
from benchmarks.omnifold_cases import MEAN, WIDTH, exact, gaussian
from benchmarks.omnifold_pulls import BINS, edges
from benchmarks.rows import Rows
from tools import unfolding


def experiments(bias: float, scale: float, n: int = 400) -> list[dict[str, Any]]:
    """Pulls of width 1/scale, `bias` errors towards the simulation."""
    rng = np.random.default_rng(1)
    error = np.linspace(20, 40, BINS)
    towards = np.sign(np.diff(norm.cdf(edges())) - 1 / BINS)
    return [
        {
            "code": "a",
            "iterations": 4,
            "residuals": (error * (rng.standard_normal(BINS) + bias * scale * towards)).tolist(),
            "errors": (scale * error * np.sqrt(rng.chisquare(4, BINS) / 4)).tolist(),
        }
        for _ in range(n)
    ]


@pytest.mark.parametrize(("bias", "scale"), [(0.0, 1.0), (0.3, 1.0), (0.0, 0.5)])
def test_pulls_show_bias_and_wrong_errors(bias: float, scale: float) -> None:
    found = summarise({}, experiments(bias, scale))
    assert found["pull_width"] == pytest.approx(1 / scale, rel=0.05)
    assert found["pull_towards_simulation"] == pytest.approx(bias, abs=4 * found["pull_towards_simulation_error"])
    assert found["pull_towards_simulation_error"] == pytest.approx(1 / scale / np.sqrt(400 * BINS), rel=0.15)
    assert np.abs(np.array(found["pull_mean_by_bin"])).max() == pytest.approx(bias, abs=0.25 / scale)


def row(ours: list[float], peer: list[float] | None) -> dict[str, Any]:
    one: dict[str, Any] = {"seconds": 2.0, "cpu_seconds": 1.0, "mib": 300.0, "delta": ours}
    other = peer and {"seconds": 50.0, "cpu_seconds": 30.0, "mib": 1200.0, "delta": peer}
    return {"code": "a", "names": ["x", "y"][: len(ours)], "ours": one, "peer": other}


def test_ratios_are_of_the_peer_over_ours_and_the_worst_counts() -> None:
    found = summarise({"peer1d": [row([0.2], None)], "peer6d": [row([0.5, 1.1], [1.0, 1.0])]}, [])
    assert (found["speedup_vs_peer_1d"], found["speedup_vs_peer_6d"], found["cpu_ratio_6d"]) == (None, 25.0, 30.0)
    assert (found["delta_ratio_worst"], found["delta_ratio_worst_error"], found["memory_ratio"]) == (1.1, None, 0.25)
    assert (found["deltas_1d"], found["deltas_6d"]) == ({"x": [0.2]}, {"x": [0.5, 1.0], "y": [1.1, 1.0]})
    assert found["pull_mean"] is None


def test_the_error_of_a_ratio_is_that_of_seeds_which_both_share() -> None:
    rng = np.random.default_rng(2)
    peer = rng.uniform(1, 2, 50)  # what the events have in common must not count: ours is 0.9 of it in every seed
    same = summarise({"peer1d": [row([0.9 * p], [p]) for p in peer]}, [])
    assert (same["delta_ratio_worst"], same["delta_ratio_worst_error"]) == (0.9, 0.0)
    mean, error = [], []
    for _ in range(300):
        peer, noise = rng.uniform(1, 2, 10), rng.normal(0, 0.2, 10)
        found = summarise({"peer1d": [row([0.9 * p + n], [p]) for p, n in zip(peer, noise, strict=True)]}, [])
        mean.append(found["delta_ratio_worst"])
        error.append(found["delta_ratio_worst_error"])
    assert np.mean(error) == pytest.approx(np.std(mean), rel=0.15)
    assert np.mean(mean) == pytest.approx(0.9, abs=4 * np.std(mean) / 300**0.5)


def test_rows_are_found_again_by_their_settings(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "deep" / "rows.jsonl", unfolding)
    rows.add({"seed": 1}, section="pulls", events=10)
    rows.add({"seed": 2}, section="pulls", events=20)
    assert [row["seed"] for row in Rows(rows.path, unfolding).find(section="pulls", events=20)] == [2]
    assert rows.find(section="peer1d") == []


def test_true_weights_of_the_gaussian_leave_its_fluctuations() -> None:
    case = gaussian(50_000, 1, n_truth=500_000)
    x = case.gen[:, 0]
    right = case.deltas(norm.pdf(x, MEAN, WIDTH) / norm.pdf(x))[0]
    # Each bin has sum w^2 / (sum w)^2 of the simulation and 1/n of the truth.
    assert right < 2 * 250 * 50 * (1.5 / 50_000 + 1 / 500_000) < case.deltas(np.ones(len(x)))[0] / 10


def test_known_densities_come_close_to_the_true_weights_and_no_iteration_leaves_the_simulation() -> None:
    case = gaussian(50_000, 1, n_truth=500_000)
    x = case.gen[:, 0]
    right = case.deltas(norm.pdf(x, MEAN, WIDTH) / norm.pdf(x))[0]
    assert right < case.deltas(exact(case, 5))[0] < 3 * right  # the data fluctuate too, and the prior is not forgotten
    assert exact(case, 0) == pytest.approx(1)
