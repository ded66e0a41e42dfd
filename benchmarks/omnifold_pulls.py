"""Pseudo-experiments: are bootstrap errors those of the unfolded bins, and is there a bias?

Each has new data and a new simulation of the Gaussian case, with the tool's own settings; the data decide the number of
iterations. The pull of bins of equal true content is (unfolded - expected) / error. All experiments have the same true
error, so the error of a bin is their root mean square: a few bootstraps each are enough, and the pull has no noise from
the error.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from benchmarks.omnifold_cases import MEAN, WIDTH, gaussian
from tools.unfolding.iterate import OmniFold
from tools.unfolding.problem import Problem
from tools.unfolding.uncertainty import Plan, study

BINS = 10


def experiment(seed: int, events: int, bootstraps: int) -> dict[str, Any]:
    """Run one experiment; return residuals and errors of the bins."""
    start = time.perf_counter()
    case = gaussian(events, 10_000 + seed, n_truth=1)
    with tempfile.TemporaryDirectory() as folder:
        problem = Problem.of(case.data, case.gen, case.reco)
        done = study(problem, OmniFold(), Plan(bootstraps=bootstraps, seed=seed), Path(folder))
    counts = {name: np.histogram(case.gen[:, 0], edges(), weights=w)[0] for name, w in done.weights.items()}
    replicas = [values for name, values in counts.items() if name.startswith("bootstrap_")]
    return {
        "residuals": (counts["ensemble_0"] - events / BINS).tolist(),
        "errors": np.std(replicas, axis=0, ddof=1).tolist(),
        "iterations": done.nominal.iterations,
        "seconds": time.perf_counter() - start,
    }


def edges() -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(norm.ppf(np.linspace(0, 1, BINS + 1), MEAN, WIDTH))


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Summarise over experiments and bins; the bias also along the direction of too little unfolding."""
    residuals, errors = (np.array([row[name] for row in rows]) for name in ("residuals", "errors"))
    pulls = residuals / np.sqrt(np.mean(errors**2, axis=0))
    centres = pulls.mean(axis=0)
    simulation = np.sign(np.diff(norm.cdf(edges())) - 1 / BINS)
    towards = pulls @ simulation / BINS
    return {
        "pull_experiments": len(rows),
        "pull_mean": round(float(pulls.mean()), 3),
        "pull_width": round(float(np.sqrt(np.mean(pulls.var(axis=0, ddof=1)))), 3),
        "pull_mean_by_bin": [round(float(c), 2) for c in centres],
        "pull_mean_by_bin_error": round(len(rows) ** -0.5, 2),
        "pull_towards_simulation": round(float(towards.mean()), 3),
        "pull_towards_simulation_error": round(float(towards.std(ddof=1)) / len(rows) ** 0.5, 3),
        "pull_coverage": [round(float((np.abs(pulls) < k).mean()), 3) for k in (1, 2)],
        "pull_iterations": sorted(row["iterations"] for row in rows),
    }
