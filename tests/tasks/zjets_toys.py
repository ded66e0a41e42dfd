"""Toy Z+jets tables: six correlated observables, a detector that smears, misses, fakes, and a known density ratio."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tools.events.parquet import write_events
from tools.events.zjets import COLUMNS, NOT_PASSED
from tools.events.zjets_jets import OBSERVABLES

SHIFT = np.array([0.35, -0.2, 0.25, 0.0, 0.15, 0.0])  # of nature against the simulation, in standard deviations
SCALE = np.array([5.0, 6.0, 0.02, 1.0, 0.1, 0.1])
CENTRE = np.array([20.0, 30.0, 0.06, -6.0, 0.6, 0.3])
COVARIANCE = 0.5 * np.eye(6) + 0.5
SMEAR = 0.5


def table(n: int, seed: int, shift: np.ndarray | float = 0.0, smear: float = SMEAR) -> dict[str, np.ndarray]:
    """Correlated normal observables moved by `shift`; some 3% are misses, as many fakes."""
    rng = np.random.default_rng(seed)
    # The eigenvectors of this covariance are not unique: those of the default method differ between BLAS kernels.
    gen = rng.multivariate_normal(np.zeros(6), COVARIANCE, n, method="cholesky") + shift
    reco = gen + smear * rng.normal(size=(n, 6))
    kind = rng.uniform(size=n)
    passed = {"gen": kind > 0.03, "reco": (kind < 0.03) | (kind > 0.06)}
    columns = {}
    for level, values in (("gen", gen), ("reco", reco)):
        for k, name in enumerate(OBSERVABLES):
            columns[f"{level}_{name}"] = np.where(passed[level], CENTRE[k] + SCALE[k] * values[:, k], NOT_PASSED)
        columns[f"pass_{level}"] = passed[level].astype(float)
    return {name: columns[name] for name in COLUMNS}


def log_ratio(columns: dict[str, np.ndarray], shift: np.ndarray = SHIFT, level: str = "gen") -> np.ndarray:
    """log p(x | shift) / p(x | 0) at a level, in closed form."""
    x = np.column_stack([(columns[f"{level}_{name}"] - CENTRE[k]) / SCALE[k] for k, name in enumerate(OBSERVABLES)])
    inverse = np.linalg.inv(COVARIANCE + (SMEAR**2 * np.eye(6) if level == "reco" else 0))
    return x @ inverse @ shift - 0.5 * shift @ inverse @ shift


def write_samples(folder: Path, n: int = 5000) -> None:
    """The three files that the task reads from a folder."""
    folder.mkdir(exist_ok=True)
    write_events(folder / "simulation.parquet", table(n, 1))
    write_events(folder / "alternative.parquet", table(n, 2, 0.5 * SHIFT))
    write_events(folder / "nature.parquet", table(n, 3, SHIFT))
