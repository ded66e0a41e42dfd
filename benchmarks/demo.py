"""The demo from request to report, over seeds, with and without signal: `python -m benchmarks.demo [--quick]`.

For every seed the built-in analyst carries out `lhco-demo`. Its sealed max SIC is compared with that of the idealised
classifier: the same trees with the same budget, trained against true background that is not in the data. The last line
is one JSON object:

    wall_s, peak_mib          median wall time of a run with signal; largest process of all runs
    sic25_ratio_median        crew's over idealised max SIC (at least 25 background events kept)
    mass_bias_median, mass_pull_rms, yield_bias_median, yield_pull_rms    claims against truth
    found, n_signal_runs      discoveries claimed with signal
    false_claims, n_null_runs discoveries claimed without
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from agents.backends.built_in import BuiltIn
from agents.runs.run import Settings, start
from agents.trace.result import RunResult
from tasks.lhco.mix import unused_background
from tasks.lhco.presets import LhcoDemo
from tools.anomaly import classify
from tools.anomaly.data import FEATURES
from tools.bumphunt.windows import SEARCH
from tools.events.parquet import read_columns, write_events
from tools.events.table import derive
from tools.metrics import max_sic
from tools.types import Floats


def carry_out(seed: int, n_signal: int, runs: Path, choices: argparse.Namespace) -> RunResult:
    options = {"seed": seed, "n_signal": n_signal, "max_iterations": choices.iterations, "search": choices.search}
    settings = Settings(request=LhcoDemo.request, task="lhco-demo", options=options, salt="")
    return start(settings, BuiltIn("analyst"), runs / f"seed-{seed}-signal-{n_signal}")


def idealised_sic25(
    columns: dict[str, Floats],
    is_signal: NDArray[np.bool_],
    window: tuple[float, float],
    reference: dict[str, Floats],
    folder: Path,
) -> float:
    """Return max SIC (25 background events) of data against true background, out of fold, inside the true window."""
    inside = (reference["mjj"] >= window[0]) & (reference["mjj"] < window[1])
    template = {name: values[inside] for name, values in derive(reference, FEATURES).items()}
    here = Path.cwd()
    os.chdir(folder)  # tools write below the working directory
    try:
        write_events(folder / "events.parquet", columns)
        write_events(folder / "background.parquet", template)
        classify(events="events.parquet", window=window, template="background.parquet", ensemble=6)
        score = read_columns(folder / "scores.parquet")["score"]
    finally:
        os.chdir(here)
    within = (columns["mjj"] >= window[0]) & (columns["mjj"] < window[1])
    return max_sic(score[within & is_signal], score[within & ~is_signal], 25)


def idealised(seed: int, folder: Path) -> float:
    """Return the idealised classifier's max SIC on the events of a run with this seed."""
    task = LhcoDemo(seed=seed)
    columns, is_signal, truth, _ = task.load()
    reference = unused_background(task.events - task.n_signal, seed)
    return idealised_sic25(columns, is_signal, truth.window, reference, folder)


def summarise(signal: list[dict[str, Any]], null: list[RunResult]) -> dict[str, Any]:
    def pulls(name: str) -> list[float]:
        return [row[f"{name}_pull"] for row in signal if row[f"{name}_pull"] is not None]

    def rms(values: list[float]) -> float | None:
        return round(float(np.sqrt(np.mean(np.square(values)))), 3) if values else None

    def middle(name: str, digits: int = 4) -> float | None:
        values = [row[name] for row in signal if row[name] is not None]
        return round(median(values), digits) if values else None

    return {
        "wall_s": middle("wall_s", 1),
        "peak_mib": round(max([row["peak_mib"] for row in signal] + [r.peak_memory_mib or 0.0 for r in null])),
        "sic25_ratio_median": middle("ratio", 3),
        "mass_bias_median": middle("mass_bias"),
        "mass_pull_rms": rms(pulls("mass")),
        "yield_bias_median": middle("n_signal_bias", 3),
        "yield_pull_rms": rms(pulls("n_signal")),
        "found": sum(row["found"] for row in signal),
        "n_signal_runs": len(signal),
        "false_claims": sum(bool(claimed(r, "discovery").claimed) for r in null),
        "n_null_runs": len(null),
    }


def claimed(result: RunResult, name: str) -> Any:
    return next(check for check in result.claims if check.name == name)


def sealed(result: RunResult, name: str) -> float | None:
    return next((metric.value for metric in result.sealed if metric.name == name), None)


def row_of(result: RunResult, ideal: float) -> dict[str, Any]:
    sic = sealed(result, "max_sic_25")
    row: dict[str, Any] = {
        "wall_s": result.seconds,
        "peak_mib": result.peak_memory_mib or 0.0,
        "status": result.status,
        "sic25": sic,
        "ideal": ideal,
        "ratio": sic / ideal if sic else None,
        "found": bool(claimed(result, "discovery").claimed),
        "p_value": claimed(result, "p_value").claimed,
    }
    for name in ("mass", "n_signal"):
        check = claimed(result, name)
        known = check.claimed is not None and check.claimed_error
        row[name], row[f"{name}_error"] = check.claimed, check.claimed_error
        row[f"{name}_bias"] = check.claimed / check.truth - 1 if known else None
        row[f"{name}_pull"] = (check.claimed - check.truth) / check.claimed_error if known else None
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one seed with and one without signal")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=LhcoDemo().max_iterations, help="maximum per run")
    parser.add_argument("--search", type=float, nargs=2, default=SEARCH, help="mass range, TeV; a narrow one is faster")
    parser.add_argument("--runs", type=Path, help="keep the runs here")
    arguments = parser.parse_args()
    seeds = range(1, 2 if arguments.quick else arguments.seeds + 1)
    console = Console(width=120)
    columns = ("seed", "wall s", "SIC25", "ideal", "mass TeV", "signal", "p global", "max sigma")
    table = Table(*columns, title=f"lhco-demo, {LhcoDemo().n_signal} signal events, then none")
    with tempfile.TemporaryDirectory() as scratch:
        runs = arguments.runs or Path(scratch, "runs")
        signal, null = [], []
        for seed in seeds:
            row = row_of(carry_out(seed, LhcoDemo().n_signal, runs, arguments), idealised(seed, Path(scratch)))
            signal.append(row)
            fitted = [f"{row[n]:.3f} ± {row[n + '_error']:.3f}" if row[n] else "-" for n in ("mass", "n_signal")]
            numbers = [f"{row['wall_s']:.0f}", f"{row['sic25'] or 0:.1f}", f"{row['ideal']:.1f}", *fitted]
            table.add_row(str(seed), *numbers, f"{row['p_value']:.1e}", "")
            console.print(f"seed {seed}: {' | '.join(numbers)}")
        for seed in seeds:
            result = carry_out(seed, 0, runs, arguments)
            null.append(result)
            value = result.steering.value if result.steering else float("nan")
            p_global = claimed(result, "p_value").claimed
            table.add_row(str(seed), f"{result.seconds:.0f}", "", "", "", "none", f"{p_global:.2g}", f"{value:.2f}")
            console.print(f"seed {seed}, no signal: {value:.2f} sigma local, p global {p_global:.2g}")
    console.print(table)
    print(json.dumps(summarise(signal, null)))


if __name__ == "__main__":
    main()
