"""OmniFold against the PyPI package `omnifold`, and its pulls: `python -m benchmarks.omnifold [--quick]`.

The peer needs TensorFlow and lives in an environment of its own; BEAMCREW_OMNIFOLD_PYTHON names its interpreter:

    python -m venv peer && peer/bin/pip install tensorflow-cpu PyYAML matplotlib
    peer/bin/pip install --no-deps omnifold==0.1.36
    BEAMCREW_OMNIFOLD_PYTHON=peer/bin/python python -m benchmarks.omnifold

Without it the peer's figures are null. Both are processes of their own on the same arrays, ours before and after the
peer's, 5 iterations each: the peer with its own settings, 20 epochs and, of the large case, batches of 512 instead of
128 (quicker by as much), ours with the tool's defaults. Seconds are those of the unfolding without imports, memory is
the peak of the process. The cases are in `omnifold_cases.py`, the pulls in `omnifold_pulls.py`. Finished rows are kept
in `--keep`, and a benchmark that was interrupted, or run by sections, goes on there: the figures are those of all rows
of these settings. The last line is one JSON object:

    code                                      of the sources the rows were made with
    speedup_vs_peer_1d, speedup_vs_peer_6d    wall seconds of the peer over ours; cpu_ratio_...: the same of CPU seconds
    deltas_1d, deltas_6d                      discriminators x 1000 by observable: ours, the peer's
    delta_ratio_worst                         largest ratio of ours over the peer's discriminator, all observables
    memory_ratio                              our peak memory over the peer's, the larger of the two cases; both hold
                                              their libraries: torch has some 250 MiB, TensorFlow 600
    pull_...                                  see `omnifold_pulls.summarise`
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import omnifold_pulls
from benchmarks.omnifold_cases import Case, gaussian, zjets
from benchmarks.rows import Row, Rows
from tools import omnifold

SECTIONS = ("peer1d", "peer6d", "pulls")
OURS = [sys.executable, "-m", "benchmarks.omnifold_ours"]
BATCHES = {"peer1d": 512, "peer6d": 128}
console = Console(stderr=True)


def compare(section: str, case: Case, settings: Row) -> Row:
    """Ours, the peer, ours again; without the peer's interpreter its part is None."""
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "arrays.npz"
        np.savez(
            arrays,
            data=case.data,
            gen=case.gen,
            reco=case.reco,
            batch=BATCHES[section],
            iterations=settings["iterations"],
            epochs=settings["epochs"],
            seed=settings["seed"],
        )
        peer = os.environ.get("BEAMCREW_OMNIFOLD_PYTHON")
        before = _run(OURS, arrays)
        theirs = _run([peer, str(Path(__file__).with_name("omnifold_peer.py"))], arrays) if peer else None
        after = _run(OURS, arrays)
    # Same seed, same result; time is shared with whatever else the machine does.
    ours = {name: (before[name] + after[name]) / 2 for name in ("push", "seconds", "cpu_seconds")}
    ours["mib"] = max(before["mib"], after["mib"])
    row: Row = {"names": case.names, "before": case.deltas(np.ones(len(case.gen)))}
    for name, found in (("ours", ours), ("peer", theirs)):
        row[name] = found and {
            "delta": case.deltas(found["push"]),
            **{key: float(found[key]) for key in ("seconds", "cpu_seconds", "mib")},
        }
    return row


def _run(command: list[str], arrays: Path) -> dict[str, Any]:
    out = arrays.with_name("out.npz")
    done = subprocess.run([*command, str(arrays), str(out)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    with np.load(out) as file:
        return dict(file)


def show(row: Row) -> None:
    for i, name in enumerate(row["names"]):
        peer = f", peer {row['peer']['delta'][i]:.3f}" if row["peer"] else ""
        console.print(f"{name}: discriminator {row['before'][i]:.2f} to {row['ours']['delta'][i]:.3f}{peer}")
    for who in ("ours", "peer"):
        if found := row[who]:
            console.print(
                f"{who}: {found['seconds']:.1f} s, {found['cpu_seconds']:.1f} s of CPU, {found['mib']:.0f} MiB"
            )


def pulls(rows: Rows, choices: argparse.Namespace, settings: Row) -> None:
    """What is missing of the experiments, in processes side by side."""
    have = {row["seed"] for row in rows.find(**settings)}
    seeds = [seed for seed in range(1, choices.experiments + 1) if seed not in have]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(choices.processes, mp_context=get_context("spawn")) as pool:
        one, size = omnifold_pulls.experiment, (settings["events"], settings["bootstraps"])
        futures = {pool.submit(one, seed, *size): seed for seed in seeds}
        for i, future in enumerate(as_completed(futures)):
            row = rows.add({"seed": futures[future]} | future.result(), **settings)
            console.print(
                f"experiment {i + 1}/{len(seeds)}, seed {row['seed']}: {row['iterations']} iterations, residuals "
                f"{np.round(row['residuals'])}, {row['seconds']:.0f} s"
            )


def summarise(compared: dict[str, Row | None], experiments: list[Row]) -> Row:
    result: Row = {"code": sorted({row["code"] for row in [*compared.values(), *experiments] if row})}
    beside = []
    for section, row in compared.items():
        dimension = section.removeprefix("peer")
        if row and row["peer"]:
            beside.append(row)
        for key, name in (
            ("seconds", "speedup_vs_peer"),
            ("cpu_seconds", "cpu_ratio"),
            ("mib", "peer_memory_over_ours"),
        ):
            ratio = round(row["peer"][key] / row["ours"][key], 1) if row and row["peer"] else None
            result[f"{name}_{dimension}"] = ratio
        result[f"deltas_{dimension}"] = row and {
            name: [round(each["delta"][i], 3) for each in (row["ours"], row["peer"]) if each]
            for i, name in enumerate(row["names"])
        }
    worst = [a / b for row in beside for a, b in zip(row["ours"]["delta"], row["peer"]["delta"], strict=True)]
    result["delta_ratio_worst"] = round(max(worst), 3) if worst else None
    memory = [row["ours"]["mib"] / row["peer"]["mib"] for row in beside]
    result["memory_ratio"] = round(max(memory), 3) if memory else None
    if len(experiments) > 1:
        return result | omnifold_pulls.summarise(experiments)
    return result | {"pull_mean": None, "pull_width": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few events, 3 pseudo-experiments")
    parser.add_argument("--sections", nargs="*", choices=SECTIONS, default=SECTIONS, help="none: the rows there are")
    parser.add_argument("--events", type=int, default=100_000, help="of the one-dimensional case")
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20, help="of the peer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--experiments", type=int, default=50)
    parser.add_argument("--bootstraps", type=int, default=5, help="of each pseudo-experiment")
    parser.add_argument("--pull-events", type=int, default=5000)
    parser.add_argument("--processes", type=int, default=1, help="of the pulls")
    parser.add_argument("--keep", type=Path, default=Path("runs/omnifold.jsonl"), help="one line a row")
    choices = parser.parse_args()
    if choices.quick:
        choices.events, choices.pull_events, choices.experiments, choices.bootstraps = 5000, 1000, 3, 3
        choices.epochs = 2
    rows = Rows(choices.keep, omnifold)
    common = {"iterations": choices.iterations, "epochs": choices.epochs, "seed": choices.seed}
    limit = choices.events if choices.quick else None
    cases: dict[str, Callable[[], Case]] = {
        "peer1d": lambda: gaussian(choices.events, choices.seed),
        "peer6d": lambda: zjets(limit),
    }
    compared: dict[str, Row | None] = {}
    for section, make in cases.items():
        settings = {"section": section, "events": limit if section == "peer6d" else choices.events, **common}
        # A row made without the peer is made again where there is one.
        found = [row for row in rows.find(**settings) if row["peer"] or "BEAMCREW_OMNIFOLD_PYTHON" not in os.environ]
        if not found and section in choices.sections:
            found = [rows.add(compare(section, make(), settings), **settings)]
        compared[section] = found[-1] if found else None
        if found:
            show(found[-1])
    settings = {"section": "pulls", "events": choices.pull_events, "bootstraps": choices.bootstraps}
    if "pulls" in choices.sections:
        pulls(rows, choices, settings)
    print(json.dumps(summarise(compared, rows.find(**settings))))


if __name__ == "__main__":
    main()
