"""Overhead of a study and gain from a second worker: `python -m benchmarks.stability [--quick]`.

Runs with the built-in analyst on few events, each in its own process as in any study. The overhead of a run is the wall
time of a study with one worker, minus the time that its runs report: starting the process and its imports, the data
set, the lock, reports and outcomes. The speed-up is that of the same cells with two workers on this machine, each run
pinned to one core. The last line is one JSON object:

    overhead_s_per_run     (wall time with one worker - sum of the runs' seconds) / runs
    speedup_2_workers      wall time with one worker / with two
    run_s                  median time that a run reports, with one worker
    runs, cores            runs of each measurement; cores of this machine
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import get_args

from rich.console import Console
from rich.table import Table

from agents.studies.board import outcome_in
from agents.studies.carry_out import Machine, locally, open_folder
from agents.studies.cells import cells_of
from agents.studies.study import Study
from sandbox.driver import Kind

# A narrow range has few windows: a run of a few seconds shows the overhead better than a long one.
OPTIONS = {"events": 30_000, "n_signal": 300, "search": [3.3, 3.97], "max_iterations": 1}


def study(runs: int) -> Study:
    return Study.model_validate(
        {
            "name": "benchmark",
            "task": "lhco-demo",
            "options": OPTIONS,
            "wordings": ["plain"],
            "backends": [{"name": "analyst", "kind": "analyst"}],
            "datasets": [{"name": "events", "fresh": True}],
            "repeats": runs,
        }
    )


def measure(chosen: Study, workers: int, top: Path, sandbox: str) -> tuple[float, list[float]]:
    """Return the wall time of the study, and the times that its runs report."""
    folder = open_folder(chosen, top / f"{workers}-workers")
    names = [cell.name for cell in cells_of(chosen)]
    start = time.perf_counter()
    locally(folder, names, workers, Machine.model_validate({"sandbox": sandbox}), lambda name, what: None)
    wall = time.perf_counter() - start
    outcomes = [found for name in names if (found := outcome_in(folder / name)) is not None]
    assert len(outcomes) == len(names)
    assert not any(outcome.missing for outcome in outcomes), "a run was lost: these times mean nothing"
    return wall, [outcome.seconds for outcome in outcomes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="two runs with each number of workers")
    parser.add_argument("--runs", type=int, default=8, help="runs with each number of workers")
    parser.add_argument("--sandbox", default="bubblewrap", choices=get_args(Kind))
    given = parser.parse_args()
    chosen = study(2 if given.quick else given.runs)
    with tempfile.TemporaryDirectory(prefix="beamcrew-bench-") as top:
        alone, seconds = measure(chosen, 1, Path(top), given.sandbox)
        together, shared = measure(chosen, 2, Path(top), given.sandbox)
    table = Table("workers", "wall s", "runs' own s", "median run s", title=f"{chosen.repeats} runs of the analyst")
    for workers, wall, own in ((1, alone, seconds), (2, together, shared)):
        table.add_row(str(workers), f"{wall:.1f}", f"{sum(own):.1f}", f"{median(own):.1f}")
    Console(width=100).print(table)
    print(
        json.dumps(
            {
                "overhead_s_per_run": round((alone - sum(seconds)) / chosen.repeats, 3),
                "speedup_2_workers": round(alone / together, 3),
                "run_s": round(median(seconds), 2),
                "runs": chosen.repeats,
                "cores": len(os.sched_getaffinity(0)),
            }
        )
    )


if __name__ == "__main__":
    main()
