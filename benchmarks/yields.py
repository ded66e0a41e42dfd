"""Total yields of resonances for which they were not tuned: `python -m benchmarks.yields [--processes 2]`.

16 resonances A -> BC (m_A from 2.9 to 5 TeV, m_B and m_C from 0.08 to 0.8 TeV, points of a Sobol sequence) are
simulated, 600 events each, and mixed in two strengths into QCD events drawn from the shipped ones, 80,000 in all. A
small CATHODE, that of `benchmarks.calibration`, searches the window around each, and `tools/bumphunt/yields.py`
measures the yield. Its priors do not cover jets that do not contain their resonance: if B opens by more than 0.8 of the
jet radius, 2 m_B / pt with pt = m_A / 2, the peak loses events that nothing recovers. Simulated events and rows are
kept in `runs/yields`; with them it takes seconds. The last line is one JSON object; keys with `contained_` exclude
those resonances:

    sets, pull_width, coverage            claimed minus true over claimed error; share within one and two errors
    pull_mean, pull_mean_error            the error is from the means of resonances, whose two strengths are correlated
    bias_median                           claimed over true - 1
    code                                  hash of the sources, as in `benchmarks.calibration`
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import qmc

from benchmarks.calibration import SEARCHED, scores
from benchmarks.rows import Row, Rows, complete
from tasks.lhco.mix import mix
from tools.bumphunt.measure import measure, most_significant
from tools.bumphunt.scan import EFFICIENCIES
from tools.bumphunt.windows import HALF_WIDTH
from tools.bumphunt.yields import binormal_total, total_yield
from tools.events.parquet import read_columns
from tools.events.pythia import Process
from tools.events.simulate import Simulation, simulate

EVENTS, STRENGTHS = 80_000, (300, 500)
LOWEST, HIGHEST = (2.9, 0.08, 0.08), (5.0, 0.8, 0.8)  # TeV: m_A, m_B, m_C
SIMULATED, SEED = 600, 31
OPENING = 0.8  # of the jet radius


def resonances(n: int) -> list[list[float]]:
    """Return the masses of `n` resonances, each A, the heavier and the lighter daughter, in TeV."""
    points = qmc.scale(qmc.Sobol(3, seed=SEED).random(n), LOWEST, HIGHEST).tolist()
    return [[round(a, 2), round(max(b, c), 2), round(min(b, c), 2)] for a, b, c in points]


def events_of(folder: Path, masses: list[float]) -> Path:
    """Return the file of a resonance's simulated events."""
    return folder / ("_".join(f"{m:.2f}" for m in masses) + ".parquet")


def simulated(folder: Path, masses: list[float], seed: int, workers: int) -> None:
    """Simulate the events of a resonance unless they are there."""
    events = events_of(folder, masses)
    if events.exists():
        return
    print(f"simulating {masses} TeV", file=sys.stderr, flush=True)
    a, b, c = masses
    process = Process(masses=(a, b, c))
    simulate(Simulation(process=process, events=SIMULATED, seed=seed, shard_events=SIMULATED // 2), events, workers)


def one(masses: list[float], n_signal: int, seed: int, folder: Path) -> Row:
    """Return the content of the score slices of one resonance at one strength."""
    signal = read_columns(events_of(folder, masses))
    qcd = mix(EVENTS - n_signal, "3500_500_100", 0, seed).columns
    rng = np.random.default_rng([seed, n_signal])
    drawn, order = rng.permutation(len(signal["mjj"]))[:n_signal], rng.permutation(EVENTS)
    columns = {name: np.concatenate([values, signal[name][drawn]])[order] for name, values in qcd.items()}
    window = (masses[0] * (1 - HALF_WIDTH), masses[0] * (1 + HALF_WIDTH))
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        try:
            mjj, score, _ = scores(columns, window, seed)
        finally:
            os.chdir(here)
    cuts = [measure(mjj, score, window, efficiency) for efficiency in EFFICIENCIES]
    best = cuts[most_significant(cuts)]
    found = total_yield(mjj, score, window, best.fit.mass, best.fit.width, best.spectrum)
    return {
        "z": best.fit.z,
        "mass": best.fit.mass,
        "slices": found.slices.tolist(),
        "slice_errors": found.slice_errors.tolist(),
    }


def yield_of(row: Row) -> dict[str, float]:
    """Return the yield from the slices: computed anew, so that other priors can be tried on the same rows."""
    total, error, _ = binormal_total(np.array(row["slices"]), np.array(row["slice_errors"]))
    return {"total": total, "total_error": error}


def say(row: Row) -> str:
    found = yield_of(row)
    note = "" if contained(row["masses"]) else ", not contained"
    yields = f"{found['total']:.0f} +- {found['total_error']:.0f}"
    return f"{row['masses']} x {row['n_signal']}: z = {row['z']:.1f}, {yields}{note}"


def summarise(rows: list[Row], name: str = "") -> dict[str, Any]:
    pulls = np.array([(row["total"] - row["n_signal"]) / row["total_error"] for row in rows])
    masses = [tuple(row["masses"]) for row in rows]
    means = [np.mean([p for p, m in zip(pulls, masses, strict=True) if m == kind]) for kind in sorted(set(masses))]
    return {
        f"{name}sets": len(rows),
        f"{name}pull_mean": round(float(pulls.mean()), 3),
        f"{name}pull_mean_error": round(float(np.std(means, ddof=1) / len(means) ** 0.5), 3),
        f"{name}pull_width": round(float(pulls.std(ddof=1)), 3),
        f"{name}coverage": [round(float((np.abs(pulls) < k).mean()), 3) for k in (1, 2)],
        f"{name}bias_median": round(float(np.median([row["total"] / row["n_signal"] - 1 for row in rows])), 3),
    }


def contained(masses: list[float]) -> bool:
    """Return whether the jet of the heavier daughter contains its decay: 2 m_B / pt below 0.8 (R = 1)."""
    return 4 * masses[1] / masses[0] < OPENING


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--resonances", type=int, default=16, help="number of resonances, a power of two")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("runs/yields"))
    given = parser.parse_args()
    found, folder = Rows(given.keep / "rows.jsonl", *SEARCHED), given.keep.resolve()
    chosen = resonances(given.resonances)
    for number, masses in enumerate(chosen):
        simulated(folder, masses, SEED + number, given.processes)
    jobs = [
        {"masses": masses, "n_signal": n, "seed": 7000 + number}
        for number, masses in enumerate(chosen)
        for n in STRENGTHS
    ]
    rows = complete(found, partial(one, folder=folder), jobs, given.processes, say, code=found.code)
    rows = [row | yield_of(row) for row in rows]
    held = [row for row in rows if contained(row["masses"])]
    print(json.dumps(summarise(rows) | summarise(held, "contained_") | {"code": sorted({r["code"] for r in rows})}))


if __name__ == "__main__":
    main()
