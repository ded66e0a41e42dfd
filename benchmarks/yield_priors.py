"""Where the priors of `tools/bumphunt/yields.py` come from: `python -m benchmarks.yield_priors [--processes 2]`.

16 resonances A -> BC (m_A from 2.9 to 5 TeV, m_B and m_C from 0.08 to 0.8 TeV, points of a Sobol sequence) are
simulated, 600 events each, and mixed in two strengths into QCD events drawn from the shipped ones, 80,000 in all. A
small CATHODE, that of `benchmarks.calibration`, searches the window around each. How well it learned the signal is read
off with its truth: probit(eff_S) = t + b (probit(eff_B) - probit(0.003)), eff_S being the share of the signal that lies
in the peak (within 2.5 sigma, over what the fitted shape has there) behind the cut, a binomial fit over the slices.
t is then fitted by a line in log(Z / 10), Z being what the slices show. Simulated events and rows are kept in
`runs/yield_priors`; with them it takes seconds. The last line is one JSON object:

    learned, learned_error     t at Z = 10 and its slope in log Z; errors, resonances being the independent units
    offset_width               spread of t about the line, less what the number of signal events brings
    slope_prior                mean and standard deviation of b
    sets, code
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
from numpy.typing import NDArray
from rich.console import Console
from scipy.optimize import minimize
from scipy.stats import norm, qmc

from benchmarks.calibration import CODE, HALF_WIDTH, scores
from tasks.lhco.mix import mix
from tools.bumphunt.measure import measure
from tools.bumphunt.scan import EFFICIENCIES
from tools.bumphunt.spectrum import SCALE, signal_shape
from tools.bumphunt.yields import PIVOT, PROBITS, SLICES, _strength, total_yield
from tools.events.parquet import read_columns
from tools.events.pythia import Process
from tools.events.simulate import Simulation, simulate

Floats = NDArray[np.float64]
EVENTS, STRENGTHS = 80_000, (300, 500)
LOWEST, HIGHEST = (2.9, 0.08, 0.08), (5.0, 0.8, 0.8)  # TeV: m_A, m_B, m_C
SIMULATED, SEED = 600, 31
CORE = 2.5  # sigma
console = Console(width=120)


def resonances(n: int) -> list[tuple[float, float, float]]:
    points = qmc.scale(qmc.Sobol(3, seed=SEED).random(n), LOWEST, HIGHEST).tolist()
    return [(round(a, 2), round(max(b, c), 2), round(min(b, c), 2)) for a, b, c in points]


def one(job: tuple[int, tuple[float, float, float], int, str]) -> dict[str, Any]:
    """A resonance of a strength: what the slices show, and the true ROC curve in the peak."""
    number, masses, n_signal, events = job
    seed = 7000 + number
    signal = read_columns(Path(events))
    qcd = mix(EVENTS - n_signal, "3500_500_100", 0, seed).columns
    rng = np.random.default_rng([seed, n_signal])
    drawn, order = rng.permutation(len(signal["mjj"]))[:n_signal], rng.permutation(EVENTS)
    columns = {name: np.concatenate([values, signal[name][drawn]])[order] for name, values in qcd.items()}
    is_signal = (np.arange(EVENTS) >= EVENTS - n_signal)[order]
    window = (masses[0] * (1 - HALF_WIDTH), masses[0] * (1 + HALF_WIDTH))
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            mjj, score, _ = scores(columns, window, seed)
        finally:
            os.chdir(here)
    cuts = [measure(mjj, score, window, efficiency) for efficiency in EFFICIENCIES]
    best = max(cuts, key=lambda cut: cut.fit.z)
    mass, sigma = best.fit.mass, best.fit.sigma
    found = total_yield(mjj, score, window, mass, sigma)
    side = np.sort(score[(mjj < window[0]) | (mjj >= window[1])])[::-1]
    bounds = side[np.round(SLICES * len(side)).astype(int) - 1]
    core = SCALE * mass * (1 - CORE * sigma), SCALE * mass * (1 + CORE * sigma)
    inside = is_signal & (mjj >= core[0]) & (mjj < core[1])
    share = float(signal_shape(np.array([*core]), mass, sigma)[0])
    return {
        "masses": masses,
        "n_signal": n_signal,
        "seed": seed,
        "z": best.fit.z,
        "slices": found.slices.tolist(),
        "slice_errors": found.slice_errors.tolist(),
        "in_peak": float(inside.sum() / share),
        "passed": [float((inside & (score >= bound)).sum() / share) for bound in bounds],
        "code": CODE,
    }


def roc(passed: Floats, n: int) -> tuple[float, float]:
    """(t, b) of the binormal curve of which `passed` of `n` events are behind each cut, the likeliest."""
    between = np.diff(passed, prepend=0.0, append=float(n))

    def loss(at: Floats) -> float:
        share = np.diff(norm.cdf(at[0] + at[1] * (PROBITS - PIVOT)), prepend=0.0, append=1.0)
        return -float((np.maximum(between, 0.0) * np.log(np.maximum(share, 1e-9))).sum())

    t, b = minimize(loss, [-0.7, 0.4], method="Nelder-Mead").x
    return float(t), float(b)


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    fitted = []
    for row in rows:
        slices, errors = np.array(row["slices"]), np.maximum(row["slice_errors"], 1.0)
        z = _strength(slices, np.maximum(errors**2 - np.maximum(slices, 0.0), 1.0))
        t, b = roc(np.array(row["passed"]), row["n_signal"])
        share = norm.cdf(t)
        count = np.sqrt(share * (1 - share) / row["n_signal"]) / norm.pdf(t)
        fitted.append((np.log(np.clip(z, 3.0, 20.0) / 10), t, b, count))
        console.print(f"{row['masses']} x {row['n_signal']}: Z = {z:.1f}, t = {t:.2f} +- {count:.2f}, b = {b:.2f}")
    x, t, b, count = np.array(fitted).T
    names = [tuple(row["masses"]) for row in rows]
    slope, offset = np.polyfit(x, t, 1)
    kinds = sorted(set(names))
    rng, again = np.random.default_rng(1), []
    for _ in range(2000):  # a bootstrap over resonances: the strengths of one go together
        picked = [i for k in rng.integers(0, len(kinds), len(kinds)) for i in range(len(rows)) if names[i] == kinds[k]]
        again.append(np.polyfit(x[picked], t[picked], 1)[::-1])
    spread = np.std(t - offset - slope * x, ddof=2)
    return {
        "learned": [round(float(offset), 3), round(float(slope), 3)],
        "learned_error": np.std(again, axis=0).round(3).tolist(),
        "offset_width": round(float(np.sqrt(max(spread**2 - np.mean(count**2), 0.0))), 3),
        "slope_prior": [round(float(b.mean()), 3), round(float(b.std(ddof=1)), 3)],
        "sets": len(rows),
        "code": sorted({row["code"] for row in rows}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--resonances", type=int, default=16, help="a power of two")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("runs/yield_priors"))
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
    print(json.dumps(summarise(rows)))


if __name__ == "__main__":
    main()
