"""The jet foundation model: `python -m benchmarks.jet_model [--quick] [--sections speed labels ...]`.

Sections, with minutes for two processes on two cores (`--quick`: 3 minutes, to see that it runs):

    speed      2   training and scoring compared with the package's own loop (`jet_model_speed.py`)
    labels    44   top tagging with few labels, fine-tuned, from scratch, linear probe (`jet_model_labels.py`)
    scaling   20   loss from scratch versus labels and parameters, power laws (`jet_model_scaling.py`)
    quality    5   generated compared with true jets (`jet_model_quality.py`)
    omnifold  24   OmniFold from pretrained weights and from scratch (`jet_model_omnifold.py`)
    cathode   40   search on constituents compared with one on four features (`jet_model_cathode.py`)

Events are simulated on the first run (8 minutes). Finished rows are kept in `--keep`: a benchmark that was interrupted,
or is run by sections, continues from there, and the figures use all rows there. Errors are standard errors over seeds.
The last line is one JSON object:

    speedup_vs_plain_loop, scoring_speedup          jets per second relative to the package
    loss_ours, loss_plain                           held-out loss after the same steps
    auc_METHOD_N, rejection_30_METHOD_N, ...        with N labels; METHOD odds (N = 0), finetuned, anew, scratch, probe
    rejection_gain_N                                rejection at 30%, fine-tuned over scratch, geometric mean over seeds
    epochs_METHOD_N                                 epochs to converge
    scaling_data, scaling_parameters                exponent alpha and floor of the loss, with errors
    w1_OBSERVABLE, auc_generated                    see `jet_model_quality.compare`
    omnifold_...                                    see `jet_model_omnifold.summarise`
    cathode_METHOD_sic25, ...                       see `jet_model_cathode.summarise`
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import jet_model_cathode, jet_model_labels, jet_model_omnifold, jet_model_scaling
from benchmarks.jet_model_quality import quality
from benchmarks.jet_model_speed import SLOTS, speed
from benchmarks.rows import Row, Rows, complete
from tasks.tagging.samples import shipped
from tools import jet_model
from tools.arrays import sha256
from tools.events.jets_kinds import JetKind
from tools.events.jets_simulate import JetSimulation, simulate_jets
from tools.events.zjets import Tune
from tools.jet_model.inputs import read_file
from tools.jet_model.jets_file import write_jets
from tools.jet_model.weights import read

SECTIONS = ("speed", "labels", "scaling", "quality", "omnifold", "cathode")
TABLE = Console(width=120)
# Taggers get a tune other than that of the pretraining; generated jets are compared with the same tune.
TO_TAG = JetSimulation(kinds=(JetKind.quark, JetKind.gluon, JetKind.top), tune=Tune.a14, events=15_000, seed=31)
LIKE_PRETRAINING = JetSimulation(events=4000, seed=32)


def simulated(choices: argparse.Namespace, name: str, simulation: JetSimulation) -> str:
    """Return a file of jets next to `--keep`, simulated if missing; the shipped jets for `--quick`."""
    path = choices.keep.with_suffix("") / ("shipped.h5" if choices.quick else name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() and choices.quick:
        write_jets(path, shipped())
    elif not path.exists():

        def progress(done: int, total: int) -> None:
            print(f"{name}: {done} of {total} jets simulated", file=sys.stderr)

        simulate_jets(simulation, path, choices.processes, progress)
    return str(path)


def labels(rows: Rows, choices: argparse.Namespace, jets: str, settings: Row, scaling: bool) -> None:
    """Train the taggers; `scaling`: those from scratch, with more numbers of labels and other widths."""
    work = partial(
        jet_model_labels.learn,
        jets=jets,
        weights=str(choices.weights),
        held=choices.held,
        epochs=1 if choices.quick else None,
    )
    known = set(jet_model_labels.LIKE["qcd"]) | {"top"} <= set(read(choices.weights).architecture.kinds)
    trained = ["finetuned", "anew", "scratch", "probe"] if known else ["anew", "scratch", "probe"]
    wanted = [("odds", 0)] * known + [(method, n) for n in choices.counts for method in trained]
    seeds = choices.seeds
    if scaling:
        seeds = min(seeds, 2)
        wanted = [("scratch", n) for n in choices.more_counts]
        wanted += [(f"{jet_model_labels.WIDTH}{dim}", choices.counts[-2]) for dim in choices.dims]
    # The long ones first, so that two processes end at about the same time.
    items = [
        {"method": method, "count": n, "seed": seed}
        for method, n in sorted(wanted, key=lambda pair: -pair[1])
        for seed in range(1, seeds + 1)
    ]

    def say(row: Row) -> str:
        return (
            f"{row['count']} labels, {row['method']}, seed {row['seed']}: AUC {row['auc']:.4f}, {row['seconds']:.0f} s"
        )

    complete(rows, work, items, choices.processes, say, **settings)


def omnifold(rows: Rows, choices: argparse.Namespace, settings: Row) -> None:
    folder = choices.keep.with_suffix("")
    # About half of the data are kept.
    files = [
        str(jet_model_omnifold.simulated(folder, name, events, choices.processes))
        for name, events in (("simulation", choices.events), ("data", 2 * choices.events))
    ]
    work = partial(
        jet_model_omnifold.unfolded,
        simulation=files[0],
        data=files[1],
        weights=str(choices.weights),
        epochs=settings["epochs"],
    )

    def say(row: Row) -> str:
        return f"OmniFold, {row['start']}, seed {row['seed']}: loss {min(row['losses']):.4f}, {row['seconds']:.0f} s"

    items = [
        {"start": start, "seed": seed} for seed in range(1, choices.seeds + 1) for start in jet_model_omnifold.STARTS
    ]
    complete(rows, work, items, choices.processes, say, **settings)


def cathode(rows: Rows, choices: argparse.Namespace, settings: Row, sizes: jet_model_cathode.Sizes) -> None:
    folder = jet_model_cathode.simulated(choices.keep.with_suffix(""), sizes, choices.processes)
    work = partial(jet_model_cathode.search, folder=str(folder), weights=str(choices.weights), sizes=sizes)

    def say(row: Row) -> str:
        found = ", ".join(f"{method} SIC {judged['sic25']:.2f}" for method, judged in row["judged"].items())
        return f"CATHODE, seed {row['seed']}: {found}, {row['seconds']:.0f} s"

    seeds = range(1, min(choices.seeds, 2) + 1)
    items = [{"template": template, "seed": seed} for template in jet_model_cathode.TEMPLATES for seed in seeds]
    complete(rows, work, items, choices.processes, say, **settings)


def once(rows: Rows, make: Callable[[], Row], wanted: bool, **settings: Any) -> Row:
    """Return the row of these settings, made if missing and wanted."""
    found = rows.find(**settings)
    if not found and wanted:
        found = [rows.add(make(), **settings)]
    return found[-1] if found else {}


def numbers(row: Row, settings: Row) -> Row:
    return {name: value for name, value in row.items() if name not in {*settings, "code"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few shipped jets and two seeds, to see that it runs")
    parser.add_argument("--sections", nargs="*", choices=SECTIONS, default=SECTIONS, help="none: only existing rows")
    parser.add_argument("--jets", help="labelled jets of kinds quark, gluon, top; default: simulated")
    parser.add_argument("--weights", type=Path, default=Path("tiny"), help="pretrained; tiny comes with the package")
    parser.add_argument("--size", default="tiny", choices=("tiny", "small", "medium", "large"), help="for `speed`")
    parser.add_argument("--trained", type=int, default=2000, help="jets, for `speed`")
    parser.add_argument("--counts", type=int, nargs="+", default=[500, 2000, 10_000], help="labels")
    parser.add_argument("--more-counts", type=int, nargs="*", default=[250, 1000, 3900], help="labels, for `scaling`")
    parser.add_argument("--dims", type=int, nargs="*", default=[8, 16, 64], help="widths, for `scaling`")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--held", type=int, default=4000, help="jets for judging, for `labels` and `quality`")
    parser.add_argument("--steps", type=int, default=50, help="steps of the generator, for `quality`")
    parser.add_argument("--events", type=int, default=5000, help="Z+jets events, for `omnifold`")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path("runs/jet_model.jsonl"), help="results, one line per row")
    choices = parser.parse_args()
    if choices.quick:
        choices.trained, choices.seeds, choices.held, choices.steps, choices.events = 128, 2, 200, 2, 100
        choices.counts, choices.more_counts, choices.dims = [60, 120], [30], [8]
    jets = str(choices.jets or simulated(choices, "jets.h5", TO_TAG))
    weights = sha256(read(choices.weights).path)[:12]
    rows = Rows(choices.keep, jet_model)
    out: dict[str, Any] = {}

    def wanted(section: str) -> bool:
        return section in choices.sections

    settings: Row = {"section": "speed", "jets": jets, "size": choices.size, "trained": choices.trained}
    make = partial(_speed, jets, choices)
    out |= numbers(once(rows, make, wanted("speed"), **settings), settings)
    settings = {"section": "labels", "jets": jets, "weights": weights, "held": choices.held}
    for section in ("labels", "scaling"):
        if wanted(section):
            labels(rows, choices, jets, settings, section == "scaling")
    found = rows.find(**settings)
    out |= jet_model_labels.summarise(found, choices.counts)
    # A power law needs points made in the same way: with many labels there are fewer epochs.
    scratch = [row for row in found if row["method"] == "scratch" and row["count"] < jet_model_labels.MANY]
    widths = [row for row in found if row["method"] == "scratch" or row["method"].startswith(jet_model_labels.WIDTH)]
    at = [row for row in widths if row["count"] == choices.counts[-2]]
    out |= jet_model_scaling.summarise(scratch, "count")
    out |= jet_model_scaling.summarise(at, "parameters")
    settings = {"section": "quality", "weights": weights, "held": choices.held, "steps": choices.steps}
    make = partial(_quality, choices)
    out |= numbers(once(rows, make, wanted("quality"), **settings), settings)
    settings = {"section": "omnifold", "weights": weights, "events": choices.events}
    settings |= {"epochs": 2 if choices.quick else 8}
    if wanted("omnifold"):
        omnifold(rows, choices, settings)
    out |= jet_model_omnifold.summarise(rows.find(**settings))
    sizes = jet_model_cathode.QUICK if choices.quick else jet_model_cathode.Sizes()
    settings = {"section": "cathode", "weights": weights, "sizes": list(sizes)}
    if wanted("cathode"):
        cathode(rows, choices, settings, sizes)
    out |= jet_model_cathode.summarise(rows.find(**settings))
    print(json.dumps({"code": rows.code, "weights": weights} | {name: _short(value) for name, value in out.items()}))


def _speed(jets: str, choices: argparse.Namespace) -> Row:
    return dict(speed(read_file(jets, "jets", SLOTS), choices.size, choices.trained, choices.trained // 2, TABLE))


def _quality(choices: argparse.Namespace) -> Row:
    jets = read_file(simulated(choices, "like_pretraining.h5", LIKE_PRETRAINING), "jets", SLOTS)
    if jets.kinds == jet_model_labels.KINDS:  # the shipped ones: quarks and gluons are one kind, unknown to models
        jets = jets.with_kinds(("top",))
    return dict(quality(jets, choices.weights, choices.held, choices.steps))


def _short(value: Any) -> Any:
    return float(np.format_float_positional(value, 4, fractional=False)) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
