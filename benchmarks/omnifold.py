"""OmniFold compared with the PyPI package `omnifold`, and its pulls: `python -m benchmarks.omnifold [--quick]`.

The peer needs TensorFlow and an environment of its own; BEAMCREW_OMNIFOLD_PYTHON names its interpreter:

    python -m venv peer && peer/bin/pip install tensorflow-cpu PyYAML matplotlib
    peer/bin/pip install --no-deps omnifold==0.1.36
    BEAMCREW_OMNIFOLD_PYTHON=peer/bin/python python -m benchmarks.omnifold

Without it the peer's figures are null. Both run in separate processes on the same arrays, ours before and after the
peer, with 5 iterations each: the peer with its own settings, 20 epochs and, in the large case, batches of 512 instead
of 128 (which is faster by that factor), ours with the tool's defaults. Seconds are those of the unfolding without
imports, memory is the peak of the process. The cases are in `omnifold_cases.py`, the pulls in `omnifold_pulls.py`.
Finished rows are kept in `--keep`, and a benchmark that was interrupted, or is run by sections, continues from there:
the figures use all rows with these settings. The last line is one JSON object:

    code                                      hash of the sources that made the rows
    speedup_vs_peer_1d, speedup_vs_peer_6d    wall seconds of the peer over ours; cpu_ratio_...: the same of CPU seconds
    deltas_1d, deltas_6d                      discriminators x 1000 by observable: ours, the peer's; means over seeds
    delta_exact_1d                            from the same iterations with known densities instead of classifiers
    delta_ratios_1d, delta_ratios_6d          ours over the peer's by observable, and its error from the spread of seeds
    delta_ratio_worst, ..._error              the largest of these ratios
    memory_ratio                              our peak memory over the peer's, the larger of the two cases; both include
                                              their libraries: torch some 220 MiB, TensorFlow 600
    pull_...                                  see `omnifold_pulls.summarise`

Seeds change the events of the one-dimensional case, and the training in both; the six observables are those of one
sample.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import omnifold_pulls
from benchmarks.omnifold_cases import Case, exact, gaussian, zjets
from benchmarks.rows import Row, Rows, complete
from tools import unfolding
from tools.types import Floats

SECTIONS = ("peer1d", "peer6d", "pulls")
OURS = [sys.executable, "-m", "benchmarks.omnifold_ours"]
BATCHES = {"peer1d": 512, "peer6d": 128}
console = Console(stderr=True)


def compare(section: str, case: Case, settings: Row) -> Row:
    """Run ours, the peer, and ours again; without the peer's interpreter its part is None."""
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
    # The same seed gives the same result; times depend on what else the machine does.
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
        console.print(
            f"seed {row['seed']}, {name}: discriminator {row['before'][i]:.2f} to {row['ours']['delta'][i]:.3f}{peer}"
        )
    for who in ("ours", "peer"):
        if found := row[who]:
            console.print(
                f"{who}: {found['seconds']:.1f} s, {found['cpu_seconds']:.1f} s of CPU, {found['mib']:.0f} MiB"
            )


def pulls(rows: Rows, choices: argparse.Namespace, settings: Row) -> None:
    """Run the missing experiments in parallel processes."""
    work = partial(omnifold_pulls.experiment, events=settings["events"], bootstraps=settings["bootstraps"])

    def say(row: Row) -> str:
        found = f"{row['iterations']} iterations, residuals {np.round(row['residuals'])}, {row['seconds']:.0f} s"
        return f"experiments, seed {row['seed']}: {found}"

    seeds = [{"seed": seed} for seed in range(1, choices.experiments + 1)]
    complete(rows, work, seeds, choices.processes, say, **settings)


def summarise(compared: dict[str, list[Row]], experiments: list[Row]) -> Row:
    every = [row for rows in compared.values() for row in rows]
    result: Row = {"code": sorted({row["code"] for row in [*every, *experiments]})}
    worst: tuple[float | None, float | None] = (None, None)
    for section, rows in compared.items():
        dimension, beside = section.removeprefix("peer"), [row for row in rows if row["peer"]]
        for key, name in (("seconds", "speedup_vs_peer"), ("cpu_seconds", "cpu_ratio")):
            ours, peer = (sum(row[who][key] for row in beside) for who in ("ours", "peer"))
            result[f"{name}_{dimension}"] = round(peer / ours, 1) if beside else None
        names = rows[0]["names"] if rows else []
        deltas = {who: np.array([row[who]["delta"] for row in rows if row[who]]) for who in ("ours", "peer")}
        means = [found.mean(axis=0) for found in deltas.values() if len(found)]
        result[f"deltas_{dimension}"] = {
            name: [round(float(x), 3) for x in each] for name, each in zip(names, zip(*means, strict=True), strict=True)
        }
        ratios = _ratios(*(np.array([row[who]["delta"] for row in beside]) for who in ("ours", "peer")))
        result[f"delta_ratios_{dimension}"] = dict(zip(names, ratios, strict=True)) if ratios else None
        worst = max([worst, *ratios], key=lambda ratio: ratio[0] or 0.0)
    result["delta_ratio_worst"], result["delta_ratio_worst_error"] = worst
    memory = [row["ours"]["mib"] / row["peer"]["mib"] for row in every if row["peer"]]
    result["memory_ratio"] = round(max(memory), 3) if memory else None
    if len(experiments) > 1:
        return result | omnifold_pulls.summarise(experiments)
    return result | {"pull_mean": None, "pull_width": None}


def _ratios(ours: Floats, peer: Floats) -> list[tuple[float, float | None]]:
    """Return the ratio of means over seeds (n, d), and its error; None for one seed, which has no spread."""
    if not len(ours):
        return []
    ratio = ours.mean(axis=0) / peer.mean(axis=0)
    if len(ours) == 1:
        return [(round(float(r), 3), None) for r in ratio]
    error = (ours - ratio * peer).std(axis=0, ddof=1) / peer.mean(axis=0) / len(ours) ** 0.5
    return [(round(float(r), 3), round(float(e), 3)) for r, e in zip(ratio, error, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few events, 3 pseudo-experiments")
    parser.add_argument("--sections", nargs="*", choices=SECTIONS, default=SECTIONS, help="none: only existing rows")
    parser.add_argument("--events", type=int, default=100_000, help="events of the one-dimensional case")
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20, help="epochs of the peer")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds compared, from 1")
    parser.add_argument("--experiments", type=int, default=50)
    parser.add_argument("--bootstraps", type=int, default=5, help="bootstraps of each pseudo-experiment")
    parser.add_argument("--pull-events", type=int, default=5000)
    parser.add_argument("--processes", type=int, default=1, help="processes that compute the pulls")
    parser.add_argument("--keep", type=Path, default=Path("runs/omnifold.jsonl"), help="results, one line per row")
    choices = parser.parse_args()
    if choices.quick:
        choices.events, choices.pull_events, choices.experiments, choices.bootstraps = 5000, 1000, 3, 3
        choices.epochs, choices.seeds = 2, 1
    rows = Rows(choices.keep, unfolding)
    limit = choices.events if choices.quick else None
    cases: dict[str, Callable[[int], Case]] = {
        "peer1d": lambda seed: gaussian(choices.events, seed),
        "peer6d": lambda seed: zjets(limit),
    }
    compared: dict[str, list[Row]] = {section: [] for section in cases}
    for section, make in cases.items():
        for seed in range(1, choices.seeds + 1):
            settings = {
                "section": section,
                "events": limit if section == "peer6d" else choices.events,
                "iterations": choices.iterations,
                "epochs": choices.epochs,
                "seed": seed,
            }
            # A row made without the peer is made again if there is one now.
            found = [r for r in rows.find(**settings) if r["peer"] or "BEAMCREW_OMNIFOLD_PYTHON" not in os.environ]
            if not found and section in choices.sections:
                found = [rows.add(compare(section, make(seed), settings), **settings)]
            compared[section] += found[-1:]
            for row in found[-1:]:
                show(row)
    settings = {"section": "pulls", "events": choices.pull_events, "bootstraps": choices.bootstraps}
    if "pulls" in choices.sections:
        pulls(rows, choices, settings)
    cases_1d = [gaussian(choices.events, row["seed"]) for row in compared["peer1d"]]
    known = [case.deltas(exact(case, choices.iterations)) for case in cases_1d]
    floor = {"delta_exact_1d": round(float(np.mean(known)), 3) if known else None}
    print(json.dumps(summarise(compared, rows.find(**settings)) | floor))


if __name__ == "__main__":
    main()
