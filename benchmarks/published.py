"""The R&D analysis at the published strength, run as a user runs it: `python -m benchmarks.published --sample FOLDER`.

Each data set has 1,000,000 events, as the R&D file of the LHC Olympics, with as many signal events at 3.5 TeV as give
S / sqrt(B) = 2.2 in the window, times `--share`. They are drawn from a reservoir made by `python -m
benchmarks.reservoir`, and written in the layout of the official feature file. The built-in analyst then carries out
`lhco-rnd`: survey, full recipe, claim on the held-out half, audit. It is not told of a window. Sets with other seeds
share two of five background events. Results are kept in `--keep`, one per line, and an interrupted benchmark continues
from there. The last line is one JSON object:

    n_signal, sets            injected events; data sets
    claims                    discoveries claimed, at five standard deviations
    false_windows             of these: mass outside the window around 3.5 TeV
    mass_within_1_percent, passing_within_2_errors    of these: correct mass, signal behind the cut
    mass_pull, passing_pull   mean and width over the claims
    z_median                  of the claims' tests, all sets (0 where there was no test)
    sic25_ratio_median        crew's over idealised max SIC (at least 25 background events kept), with `--idealised`
    wall_s_median, peak_mib   of a run
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tasks.lhco
from agents.backends.built_in import BuiltIn
from agents.runs.run import Settings, start
from agents.trace.events import Confirmed
from agents.trace.result import RunResult
from agents.trace.store import read_trace
from benchmarks.demo import claimed, idealised_sic25, sealed
from benchmarks.power import PUBLISHED, strength, true_passing
from benchmarks.rows import Rows, complete
from tasks.lhco.mix import mix, unused_background
from tasks.lhco.presets import RND_FILE, RND_MASS, LhcoRnd
from tasks.score import Score
from tools import anomaly, bumphunt, training
from tools.bumphunt.windows import window_at
from tools.events.frame import write_frame
from tools.events.lhco import FEATURES
from tools.types import Floats

SIGNAL = "3500_500_100"
IN_ALL = 1_000_000  # events in a data set
FIRST = 700  # seed of the first data set
GEV = 1000.0
TAU1 = 100.0  # GeV, of every jet: only ratios are features


def write_rnd(path: Path, columns: dict[str, Floats], is_signal: NDArray[np.bool_]) -> None:
    """Write events in the layout of the official feature file: two jets back to back that have these features.

    In the rest frame of the pair, p^2 = (M^2 - (m1 + m2)^2)(M^2 - (m1 - m2)^2) / 4M^2.
    """
    mass = GEV * columns["mjj"]
    lighter, heavier = GEV * columns["mj1"], GEV * (columns["mj1"] + columns["delta_mj"])
    squares = (mass**2 - (lighter + heavier) ** 2) * (mass**2 - (lighter - heavier) ** 2)
    momentum, zero = np.sqrt(squares) / (2 * mass), np.zeros_like(mass)
    table = {"pxj1": momentum, "pxj2": -momentum, "mj1": lighter, "mj2": heavier}
    for jet in ("j1", "j2"):
        ratios = [columns[f"tau21_{jet}"], columns[f"tau32_{jet}"]]
        for n, tau in enumerate(np.cumprod([zero + TAU1, *ratios], axis=0), 1):
            table[f"tau{n}{jet}"] = tau
    rows = np.column_stack([*(table.get(name, zero) for name in FEATURES), is_signal])
    write_frame(path, [rows.astype(np.float32)], (*FEATURES, "label"))


def one(seed: int, n_signal: int, sample: Path, runs: Path | None, idealised: bool) -> dict[str, Any]:
    """Carry out one run on a data set of its own, and compare what it says with the truth."""
    with tempfile.TemporaryDirectory() as scratch:
        # The task replaces background by signal: it is given every signal event of this set, and IN_ALL of background.
        data = mix(IN_ALL, SIGNAL, n_signal, seed, sample)
        write_rnd(Path(scratch, RND_FILE), data.columns, data.is_signal)
        options = {"data": scratch, "n_signal": n_signal, "seed": seed}
        run_dir = (runs or Path(scratch, "runs")).resolve() / f"seed-{seed}-signal-{n_signal}"
        settings = Settings(request=LhcoRnd.request, task=LhcoRnd.name, options=options, salt="")
        result = start(settings, BuiltIn("analyst"), run_dir)
        row = told(result) | test(run_dir)
        if idealised:
            task = LhcoRnd(data=Path(scratch), n_signal=n_signal, seed=seed)
            columns, is_signal, true, _ = task.load()
            reference = unused_background(IN_ALL, seed, sample)
            row["ideal"] = idealised_sic25(columns, is_signal, true.window, reference, Path(scratch))
        return row


def told(result: RunResult) -> dict[str, Any]:
    """Return what a run says of itself, and its sealed figure of merit."""
    return {
        "status": result.status,
        "claim": bool(claimed(result, "discovery").claimed),
        "headline": result.headline,
        "survey": [iteration.value for iteration in result.iterations],
        "sic25": sealed(result, "max_sic_25"),
        "wall_s": result.seconds,
        "peak_mib": result.peak_memory_mib or 0.0,
    }


def test(run_dir: Path) -> dict[str, Any]:
    """Return the test behind a claim: significance, mass and signal behind the cut with the truth, and the audit."""
    last = [event for event in read_trace(run_dir) if isinstance(event, Confirmed)]
    if not last:
        return {"z": 0.0, "reason": "nothing was tested"}
    score = Score.model_validate(last[-1].score.model_dump())
    if not score.ok:
        return {"z": float(last[0].score.value or 0.0), "reason": score.reason}
    scores = run_dir / "claim" / last[-1].submission["scores"]
    d = score.details
    return {
        "z": float(score.value or 0.0),
        "reason": score.reason,
        **{name: d[name] for name in ("mass", "mass_error", "passing", "passing_error", "efficiency", "window")},
        "passing_true": true_passing(run_dir, scores, d["window"], d["efficiency"]),
    }


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the number of claims, how many of them are correct, and pulls over them."""
    claims = [row for row in rows if row["claim"]]
    low, high = window_at(RND_MASS, (0.0, np.inf))
    mass = np.array([(row["mass"] - RND_MASS) / row["mass_error"] for row in claims])
    passing = np.array([(row["passing"] - row["passing_true"]) / row["passing_error"] for row in claims])
    ratios = [row["sic25"] / row["ideal"] for row in rows if row.get("ideal") and row["sic25"]]
    return {
        "n_signal": rows[0]["n_signal"],
        "sets": len(rows),
        "claims": len(claims),
        "false_windows": sum(not low < row["mass"] < high for row in claims),
        "mass_within_1_percent": sum(abs(row["mass"] / RND_MASS - 1) < 0.01 for row in claims),
        "passing_within_2_errors": int((np.abs(passing) < 2).sum()),
        "mass_pull": [float(mass.mean()), float(mass.std())] if claims else None,
        "passing_pull": [float(passing.mean()), float(passing.std())] if claims else None,
        "z_median": median(row["z"] for row in rows),
        "sic25_ratio_median": median(ratios) if ratios else None,
        "wall_s_median": median(row["wall_s"] for row in rows),
        "peak_mib": max(row["peak_mib"] for row in rows),
    }


def say(row: dict[str, Any]) -> str:
    found = f"{row['z']:.1f} sigma, claim: {row['claim']}"
    if "mass" in row:
        found += f", {row['mass']:.3f} ± {row['mass_error']:.3f} TeV"
        found += f", {row['passing']:.0f} ± {row['passing_error']:.0f} of {row['passing_true']}"
    return f"seed {row['seed']}: {found}, {row['wall_s']:.0f} s. {row['reason']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--sample", type=Path, required=True, help="folder made by `python -m benchmarks.reservoir`")
    parser.add_argument("--quick", action="store_true", help="one data set")
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--share", type=float, default=1.0, help="of the published strength; 0: no signal")
    parser.add_argument("--idealised", action="store_true", help="train the idealised classifier too")
    parser.add_argument("--runs", type=Path, help="keep the runs here")
    parser.add_argument("--keep", type=Path, default=Path("runs/published.jsonl"), help="results, one line per set")
    parser.add_argument("--processes", type=int, default=1)
    chosen = parser.parse_args()
    sample = chosen.sample.resolve()
    n_signal = round(chosen.share * strength(PUBLISHED, IN_ALL, sample))
    items = [{"seed": FIRST + k, "n_signal": n_signal} for k in range(1 if chosen.quick else chosen.sets)]
    work = partial(one, sample=sample, runs=chosen.runs, idealised=chosen.idealised)
    rows = Rows(chosen.keep, anomaly, bumphunt, training, tasks.lhco)
    found = complete(rows, work, items, chosen.processes, say, sample=str(sample), idealised=chosen.idealised)
    print(json.dumps(summarise(found)))


if __name__ == "__main__":
    main()
