"""Events of a search of one's own, and what the task makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.catalogue import make_task

SIGNAL = (350.0, 0.02)  # GeV, and relative width


def events(n: int, n_signal: int, seed: int, turn_on: float = 215.0) -> pd.DataFrame:
    """An exponential spectrum in GeV that turns on at some mass and ends at 800, two Gaussian features and one of whole
    numbers; a resonance that is 2.5 standard deviations away in both Gaussians."""
    rng = np.random.default_rng(seed)
    mass = 190 - 120 * np.log(rng.random(3 * n))
    mass = mass[(mass < 800) & (rng.random(3 * n) < 0.5 * (1 + np.tanh((mass - turn_on) / 12)))][:n]
    mass = np.append(mass, rng.normal(SIGNAL[0], SIGNAL[1] * SIGNAL[0], n_signal))
    shift, spread = np.where(np.arange(len(mass)) < n, 0.0, 2.5), np.where(np.arange(len(mass)) < n, 1.0, 0.3)
    drawn = {name: rng.normal(shift, spread) for name in ("lep_pt", "dphi")}
    table = pd.DataFrame({"m_tt": mass, **drawn, "btag": rng.integers(0, 3, len(mass)), "run": 1})
    return table.iloc[rng.permutation(len(mass))].reset_index(drop=True)


def prepared(tmp_path: Path, table: pd.DataFrame, **options: Any) -> Any:
    tmp_path.mkdir(exist_ok=True)
    table.to_parquet(tmp_path / "mine.parquet")
    given = {"data": str(tmp_path / "mine.parquet"), "column": "m_tt", "unit": "GeV", "features": ["lep_pt", "dphi"]}
    task = make_task("search", given | options)
    return task, task.prepare(tmp_path / "i", tmp_path / "h", tmp_path / "s")
