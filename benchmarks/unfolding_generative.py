"""Generative unfolding: closed forms, posteriors of jets, spectra, priors: `python -m benchmarks.unfolding_generative`.

    gaussian   unit Gaussian pair of correlation 0.8, --gaussian events: unconditional bridges of noise 0, 0.1 and 0.3,
               and everything conditional, against what they must give (`unfolding_generative_cases.known`)
    pairs      Z+jets, six observables: learns 70% of the simulation; AUC of trees between (gen, reco) and (unfolded,
               reco) of the rest, coverage of 68% intervals of 50 draws per event, chi2 of rank histograms
    spectra    nature unfolded by every method: triangular discriminators x 1000 to the truth
    prior      simulation with a slope in the jet mass: share of the slope in the mean that is left, by iterations
    peers      `torchcfm` in the same training, if installed; `omnifold` as in `benchmarks.omnifold`, if
               BEAMCREW_OMNIFOLD_PYTHON names its interpreter; otherwise they are named as skipped

Events are those shipped, or with `--data FOLDER` those of a14.parquet and vincia.parquet there, made by

    beamcrew data simulate zjets FOLDER/a14.parquet --tune a14 --events 200000 --seed 202
    beamcrew data simulate zjets FOLDER/vincia.parquet --tune vincia --events 200000 --seed 203

Finished rows are kept in `--keep`, and a benchmark that was
interrupted, or is run by sections, continues from there. The last line is one JSON object:

    corr_unconditional_error       largest deviation of corr(unfolded, reco) of unconditional bridges from the curve
    corr_conditional_error, residual_variance_error     the same of conditional methods, from 0.8 and 0.36
    joint_auc_best, joint_auc      the method whose AUC is nearest to 0.5, and all; coverage68: of that method
    delta_over_omnifold_median     median over observables of the best generative method's discriminator over OmniFold's
    deltas                         by method; drawn: from the events themselves, else from weights; before, floor
    prior_left                     by iterations
    seconds, mib                   of training and all, peak of the process that made the row
    peers                          None: skipped
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import unfolding_generative_cases as cases
from benchmarks.rows import Row, Rows
from tools import unfolding

SECTIONS = ("gaussian", "pairs", "prior", "spectra", "peers")
# Training for the section pairs and for Gaussians; otherwise as the tool has it.
LARGE: Row = {"epochs": 60}
SIMPLE: Row = {"hidden": 32, "blocks": 2, "epochs": 20}
QUICK: Row = {"hidden": 32, "blocks": 2, "epochs": 8}
console = Console(stderr=True)


def items(choices: argparse.Namespace) -> list[tuple[str, str, Row]]:
    """Return (section, label, settings) of all rows."""
    size = QUICK if choices.quick else {}
    large, simple = (QUICK, QUICK) if choices.quick else (LARGE, SIMPLE)
    sized = {name: m | (size if m["kind"] in cases.GENERATIVE else {}) for name, m in cases.METHODS.items()}
    conditional = {kind: sized[kind] for kind in cases.GENERATIVE}
    data = {"events": choices.events, "folder": str(choices.data) if choices.data else None, "seed": 1}
    found: list[tuple[str, str, Row]] = []
    bridge = {"kind": "direct_diffusion", "conditional": False}
    gaussian = {f"bridge {g}": bridge | {"noise": g} for g in cases.NOISES} | conditional
    for name, method in gaussian.items():
        fine = method | simple | ({} if choices.quick or name == "flow_matching" else {"steps": 100})
        found.append(("gaussian", name, {"method": fine, "events": choices.gaussian, "seed": 1}))
    generative = [name for name, method in sized.items() if method["kind"] in cases.GENERATIVE]
    for name in generative:
        found.append(("pairs", name, {"method": sized[name] | large, "draws": choices.draws, **data}))
    for n in choices.iterations:
        found.append(("prior", str(n), {"method": sized["flow_matching"], "iterations": n, **data}))
    found += [("spectra", name, {"method": method, **data}) for name, method in sized.items()]
    return [*found, ("peers", "torchcfm", {"events": choices.gaussian, "seed": 1})]


def made(section: str, settings: Row) -> Row:
    makers = {name: getattr(cases, f"{name}_row") for name in ("gaussian", "pairs", "spectra", "prior")}
    row: Row = makers.get(section, cases.peer_row)(**settings)
    return row


def omnifold_peer(choices: argparse.Namespace) -> Row | None:
    """Return cost of the package `omnifold` and of our OmniFold, as `benchmarks.omnifold` measures them, or None."""
    from benchmarks.omnifold import compare
    from benchmarks.omnifold_cases import zjets

    if "BEAMCREW_OMNIFOLD_PYTHON" not in os.environ:
        return None
    return compare("peer6d", zjets(choices.events), {"iterations": 3, "epochs": 2 if choices.quick else 20, "seed": 1})


def summarise(rows: dict[tuple[str, str], Row]) -> Row:
    """Return the JSON object of whatever rows there are."""

    def of(section: str) -> dict[str, Row]:
        return {label: row for (s, label), row in rows.items() if s == section}

    bridges = {label: row for label, row in of("gaussian").items() if label.startswith("bridge")}
    free = [abs(row["correlation"] - cases.known(float(label.split()[1]))) for label, row in bridges.items()]
    given = [row for label, row in of("gaussian").items() if label not in bridges]
    pairs = of("pairs")
    best = min(pairs, key=lambda name: abs(pairs[name]["auc"] - 0.5), default=None)
    deltas = {name: row.get("delta_drawn", row["delta"]) for name, row in of("spectra").items()}
    ratios = {
        name: float(np.median(np.array(delta) / deltas["omnifold"]))
        for name, delta in deltas.items()
        if name in cases.GENERATIVE and "omnifold" in deltas
    }
    some: Row = next(iter(of("spectra").values()), {})
    return {
        "corr_unconditional_error": max(free, default=None),
        "corr_conditional_error": max((abs(row["correlation"] - 0.8) for row in given), default=None),
        "residual_variance_error": max((abs(row["residual"] - 0.36) for row in given), default=None),
        "joint_auc_best": pairs[best]["auc"] if best else None,
        "coverage68": pairs[best]["coverage"] if best else None,
        "delta_over_omnifold_median": min(ratios.values(), default=None),
        "joint_auc": {name: [row["auc"], row["auc_error"]] for name, row in pairs.items()},
        "joint_auc_before": next((row["auc_before"] for row in pairs.values()), None),
        "coverage": {name: row["coverage"] for name, row in pairs.items()},
        "rank_chi2": {name: row["rank_chi2"] for name, row in pairs.items()},
        "deltas": deltas | {name: some[name] for name in ("before", "floor") if some},
        "deltas_weights": {name: row["delta"] for name, row in of("spectra").items() if "delta_drawn" in row},
        "delta_ratios": ratios,
        "prior_left": {label: [row["left"], row["left_error"]] for label, row in of("prior").items()},
        "seconds": {" ".join(k): [row["train_seconds"], row["seconds"]] for k, row in rows.items() if "mib" in row},
        "mib": {" ".join(k): row["mib"] for k, row in rows.items() if "mib" in row},
    }


def rounded(value: object) -> object:
    """Round the numbers of a document to four digits."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def show(result: Row) -> None:
    table = Table("quantity", "value", title="Generative unfolding")
    for name, value in result.items():
        for label, each in value.items() if isinstance(value, dict) else [("", value)]:
            table.add_row(f"{name} {label}", str(rounded(each)))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few events and small networks")
    parser.add_argument("--sections", nargs="*", choices=SECTIONS, default=SECTIONS, help="none: only existing rows")
    parser.add_argument("--gaussian", type=int, default=50_000, help="Gaussian events")
    parser.add_argument("--events", type=int, help="Z+jets events of each sample; default: all")
    parser.add_argument("--data", type=Path, help="folder with a14.parquet and vincia.parquet; default: shipped")
    parser.add_argument("--draws", type=int, default=50, help="draws per event for coverage and ranks")
    parser.add_argument("--iterations", type=int, nargs="*", default=[1, 2, 4], help="of the section prior")
    parser.add_argument("--keep", type=Path, default=Path("runs/unfolding_generative.jsonl"), help="results")
    choices = parser.parse_args()
    if choices.quick:
        choices.gaussian, choices.events, choices.draws, choices.iterations = 20_000, 4000, 30, [1, 3]
    kept = Rows(choices.keep, unfolding, cases)
    rows: dict[tuple[str, str], Row] = {}
    todo = items(choices)
    for done, (section, label, settings) in enumerate(todo, 1):
        found = kept.find(section=section, label=label, code=kept.code, settings=settings)
        if not found and section in choices.sections:
            console.print(f"{done}/{len(todo)} {section} {label} ...")
            found = [kept.add(made(section, settings), section=section, label=label, settings=settings)]
            said = {name: value for name, value in found[0].items() if name not in ("settings", "code")}
            console.print(f"  {json.dumps(rounded(said))}")
        if found:
            rows[section, label] = found[-1]
    peer = omnifold_peer(choices) if "peers" in choices.sections else None
    torchcfm = rows.pop(("peers", "torchcfm"), {"seconds": None, "ours": None})
    for name, there in (("omnifold", peer), ("torchcfm", torchcfm["seconds"])):
        if there is None:
            console.print(f"SKIPPED: {name} is not installed here", style="yellow")
    result = summarise(rows) | {"peers": {"omnifold": peer, "torchcfm": torchcfm}}
    show(result)
    print(json.dumps(rounded(result)))


if __name__ == "__main__":
    main()
