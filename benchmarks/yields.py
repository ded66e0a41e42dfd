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
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from scipy.stats import qmc

from benchmarks.calibration import HALF_WIDTH, SEARCHED, scores
from benchmarks.rows import code
from tasks.lhco.mix import mix
from tools.bumphunt.measure import measure, most_significant
from tools.bumphunt.scan import EFFICIENCIES
from tools.bumphunt.yields import binormal_total, total_yield
from tools.events.parquet import read_columns
from tools.events.pythia import Process
from tools.events.simulate import Simulation, simulate

EVENTS, STRENGTHS = 80_000, (300, 500)
LOWEST, HIGHEST = (2.9, 0.08, 0.08), (5.0, 0.8, 0.8)  # TeV: m_A, m_B, m_C
SIMULATED, SEED = 600, 31
OPENING = 0.8  # of the jet radius
CODE = code(*SEARCHED)  # as it was when the benchmark began
console = Console(width=120)


def resonances(n: int) -> list[tuple[float, float, float]]:
    points = qmc.scale(qmc.Sobol(3, seed=SEED).random(n), LOWEST, HIGHEST).tolist()
    return [(round(a, 2), round(max(b, c), 2), round(min(b, c), 2)) for a, b, c in points]


def one(job: tuple[int, tuple[float, float, float], int, str]) -> dict[str, Any]:
    """Return the content of the score slices of one resonance at one strength."""
    number, masses, n_signal, events = job
    seed = 7000 + number
    signal = read_columns(Path(events))
    qcd = mix(EVENTS - n_signal, "3500_500_100", 0, seed).columns
    rng = np.random.default_rng([seed, n_signal])
    drawn, order = rng.permutation(len(signal["mjj"]))[:n_signal], rng.permutation(EVENTS)
    columns = {name: np.concatenate([values, signal[name][drawn]])[order] for name, values in qcd.items()}
    window = (masses[0] * (1 - HALF_WIDTH), masses[0] * (1 + HALF_WIDTH))
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            mjj, score, _ = scores(columns, window, seed)
        finally:
            os.chdir(here)
    cuts = [measure(mjj, score, window, efficiency) for efficiency in EFFICIENCIES]
    best = cuts[most_significant(cuts)]
    found = total_yield(mjj, score, window, best.fit.mass, best.fit.width, best.spectrum)
    return {
        "masses": masses,
        "n_signal": n_signal,
        "seed": seed,
        "z": best.fit.z,
        "mass": best.fit.mass,
        "slices": found.slices.tolist(),
        "slice_errors": found.slice_errors.tolist(),
        "code": CODE,
    }


def summarise(rows: list[dict[str, Any]], name: str = "") -> dict[str, Any]:
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


def contained(masses: tuple[float, float, float]) -> bool:
    """Return whether the jet of the heavier daughter contains its decay: 2 m_B / pt below 0.8 (R = 1)."""
    return 4 * masses[1] / masses[0] < OPENING


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--resonances", type=int, default=16, help="number of resonances, a power of two")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("runs/yields"))
    given = parser.parse_args()
    given.keep.mkdir(parents=True, exist_ok=True)
    chosen, jobs = resonances(given.resonances), []
    for number, masses in enumerate(chosen):
        events = given.keep.resolve() / ("_".join(f"{m:.2f}" for m in masses) + ".parquet")
        if not events.exists():
            console.print(f"simulating {masses} TeV")
            simulate(
                Simulation(
                    process=Process(masses=masses), events=SIMULATED, seed=SEED + number, shard_events=SIMULATED // 2
                ),
                events,
                workers=given.processes,
            )
        jobs += [(number, masses, n, str(events)) for n in STRENGTHS]
    rows_file = given.keep / f"rows-{CODE}.jsonl"
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()] if rows_file.exists() else []
    known = {(tuple(row["masses"]), row["n_signal"]) for row in rows}
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(given.processes, mp_context=get_context("spawn")) as pool, rows_file.open("a") as file:
        for row in pool.map(one, [job for job in jobs if (job[1], job[2]) not in known]):
            rows.append(row | {"masses": tuple(row["masses"])})
            file.write(json.dumps(row) + "\n")
            file.flush()
    for row in rows:  # computed from the slices, so that other priors can be tried on the same rows
        total, error, _ = binormal_total(np.array(row["slices"]), np.array(row["slice_errors"]))
        row |= {"total": total, "total_error": error}
        note = "" if contained(row["masses"]) else ", not contained"
        console.print(f"{row['masses']} x {row['n_signal']}: z = {row['z']:.1f}, {total:.0f} +- {error:.0f}{note}")
    held = [row for row in rows if contained(row["masses"])]
    print(json.dumps(summarise(rows) | summarise(held, "contained_") | {"code": sorted({r["code"] for r in rows})}))


if __name__ == "__main__":
    main()
