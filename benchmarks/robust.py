"""Do classifiers believe their simulation? `python -m benchmarks.robust [--quick] [--jets FOLDER] [--sections ...]`.

dual      muon pairs whose invariance the detector breaks (`muon_pairs.py`): networks that see the mass only, all
          but the mass, and the dual classifier, trained on 8,000 and 64,000 pairs, against the best possible AUC
shower    jets of H -> bb against quark and gluon jets: networks trained on Pythia's own shower, plain and robust,
          tested on jets of both showers (Vincia). No setting was chosen on the other shower: they are those of
          arXiv:2411.09296, but for SAM's rho, 0.05 in place of 0.75. Seeds are paired: same split, same jets. Errors
          are those of means over the seeds, which share jets, and p-values are not corrected for the number of kinds:
          both are optimistic. How much the test jets fluctuate is quoted for the drop itself
hessian   largest relative error of curvatures by power iteration, of a quadratic loss and a logistic model

Simulated jets are kept in `--jets`. The last line is one JSON object:

    dual_auc_8k, dual_auc_64k      mean over the seeds; invariant_..., free_..., best: the networks alone, the optimum
    auc_drop_plain, auc_drop_best  AUC on Pythia minus AUC on Vincia, of plain training and of the kind with the
                                   smallest drop, `best_kind`: the smallest of several, so optimistic; `drops` has
                                   all, with paired difference to plain, its error and p-value, seconds of a training
    hessian_error
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.muon_pairs import FEATURES, best, pairs
from tools.anomaly.classifier import Classifier
from tools.anomaly.dual import Dual
from tools.anomaly.mlp import Mlp
from tools.events.jets_kinds import JetKind
from tools.events.jets_simulate import JetSimulation, simulate_jets
from tools.events.zjets import Tune
from tools.jet_model.jets_file import read_jets
from tools.jet_model.observables import observables
from tools.metrics import auc, auc_error
from tools.robust.sharpness import input_curvature, weight_curvature
from tools.training import split
from tools.types import Floats

SECTIONS = ("hessian", "dual", "shower")
TESTED, TEST_SEED = 200_000, 99  # muon pairs
KINDS = (JetKind.quark, JetKind.gluon, JetKind.hbb)
TRAININGS: dict[str, Any] = {
    "plain": None,
    "fgsm": "fgsm",
    "pgd": "pgd",
    "sam": "sam",
    "ssam_f": {"kind": "sparse_sam", "mask": "fisher"},
    "ssam_d": {"kind": "sparse_sam", "mask": "dynamic"},
}
SKEWED = ("mass", "width", "e2", "e3", "d2")  # their logarithms are used
EFFICIENCY = 0.5  # for H -> bb, at which the background is counted


def hessian() -> dict[str, Any]:
    """Return the largest relative error of the curvatures that have a closed form."""
    import torch

    rng, errors = np.random.default_rng(1), []
    root = rng.normal(size=(20, 20))
    a = torch.as_tensor(root @ root.T)
    w = torch.nn.Parameter(torch.zeros(20, dtype=torch.float64))
    largest = float(torch.linalg.eigvalsh(a)[-1])
    errors.append(weight_curvature(lambda: w @ a @ w / 2, [w]) / largest - 1)
    x, y = torch.as_tensor(rng.normal(size=(500, 20))), torch.as_tensor(rng.integers(0, 2, 500).astype(float))
    v = torch.nn.Parameter(torch.as_tensor(rng.normal(size=20)))
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    p = torch.sigmoid(x @ v).detach()
    exact = float(torch.linalg.eigvalsh((x.T * (p * (1 - p))) @ x / len(x))[-1])
    errors.append(weight_curvature(lambda: entropy(x @ v, y), [v]) / exact - 1)
    u = v.detach()
    found = input_curvature(x, lambda z: entropy(z @ u, y, reduction="none"))
    errors.append(float((found / (p * (1 - p) * (u**2).sum()) - 1).abs().max()))
    return {"hessian_error": max(map(abs, errors))}


def dual(seeds: int, epochs: int) -> dict[str, Any]:
    """Return the AUCs of the three networks on fresh muon pairs, and the best possible."""
    x, y = pairs(TESTED, TEST_SEED)
    optimum = best(x[:, 0], x[:, 1])
    found: dict[str, Any] = {"best": auc(optimum[y], optimum[~y])}
    everything = list(range(len(FEATURES)))
    for n, name, batch in ((8000, "8k", 256), (64_000, "64k", 512)):
        settings: dict[str, Any] = {"epochs": epochs, "batch": batch, "validation_fraction": 0.2, "best_epochs": 5}
        networks: dict[str, tuple[Classifier, list[int]]] = {
            "invariant": (Mlp(**settings), everything[:1]),
            "free": (Mlp(**settings), everything[1:]),
            "dual": (Dual(invariant=["m"], breaking=["pt"], **settings).of(FEATURES), everything),
        }
        for kind, (network, columns) in networks.items():
            areas = []
            for seed in range(1, seeds + 1):
                train_x, train_y = pairs(n, seed)
                score = network.log_odds(train_x[:, columns], train_y, x[:, columns], seed)
                areas.append(auc(score[y], score[~y]))
            mean, error = float(np.mean(areas)), _error(areas)
            found |= {f"{kind}_auc_{name}": mean, f"{kind}_auc_{name}_error": error}
            gap = found["best"] - mean
            print(f"{name:>4} pairs, {kind:9}: AUC {mean:.4f} +- {error:.4f}, {gap:.4f} below the best", flush=True)
    return found


def shower(folder: Path, jets: int, seeds: int, epochs: int) -> dict[str, Any]:
    """Return the drops of AUC and rejection from Pythia's own shower to Vincia, for all TRAININGS."""
    x, y = _features(folder, Tune.monash, jets, 11)
    other, is_higgs = _features(folder, Tune.vincia, jets // 2, 12)
    rows: dict[str, list[dict[str, float]]] = {kind: [] for kind in TRAININGS}
    for seed in range(1, seeds + 1):
        used, held = split(len(x), 1 / 3, seed)
        for kind, robust in TRAININGS.items():
            start = time.process_time()
            network = Mlp(epochs=epochs, batch=128, validation_fraction=0.2, best_epochs=5, robust=robust)
            score = network.log_odds(x[used], y[used], np.concatenate([x[held], other]), seed)
            here, there = score[: len(held)], score[len(held) :]
            rows[kind].append(_measured(here, y[held], there, is_higgs) | {"seconds": time.process_time() - start})
            print(f"seed {seed}, {kind}: {rows[kind][-1]}", file=sys.stderr, flush=True)
    drops = {kind: _summary(rows[kind], rows["plain"]) for kind in TRAININGS}
    for kind, each in drops.items():
        print(
            f"{kind:7} AUC {each['auc']:.4f}, drop {each['drop']:.4f} +- {each['drop_error']:.4f} (jets "
            f"{each['jets_error']:.4f}), rejection {each['rejection']:.1f}, ratio {each['rejection_ratio']:.3f}; drop "
            f"over plain {each['gain']:+.4f} +- {each['gain_error']:.4f}, p {each['p']:.2f}; {each['seconds']:.1f} s"
        )
    chosen = min((kind for kind in TRAININGS if kind != "plain"), key=lambda kind: drops[kind]["drop"])
    return {
        "auc_drop_plain": drops["plain"]["drop"],
        "auc_drop_best": drops[chosen]["drop"],
        "best_kind": chosen,
        "jets": len(x),
        "other_jets": len(other),
        "drops": drops,
    }


def _features(folder: Path, tune: Tune, jets: int, seed: int) -> tuple[Floats, np.ndarray]:
    """Return the observables of simulated jets (n, 8), from a file if there is one, and which are of H -> bb."""
    path = folder / f"{tune.value}.h5"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        simulate_jets(JetSimulation(kinds=KINDS, tune=tune, events=jets, seed=seed, shard_events=100), path)
    found = read_jets(path)
    columns = observables(found)
    assert found.pid is not None
    table = [np.log(values + 1e-6) if name in SKEWED else values for name, values in columns.items()]
    return np.column_stack(table), found.pid == found.kinds.index("hbb")


def _measured(here: Floats, y: np.ndarray, there: Floats, is_higgs: np.ndarray) -> dict[str, float]:
    areas = [auc(s[t], s[~t]) for s, t in ((here, y), (there, is_higgs))]
    rejections = [
        1 / max((s[~t] >= np.quantile(s[t], 1 - EFFICIENCY)).mean(), 0.5 / (~t).sum())
        for s, t in ((here, y), (there, is_higgs))
    ]
    errors = [auc_error(a, int(t.sum()), int((~t).sum())) for a, t in zip(areas, (y, is_higgs), strict=True)]
    return {
        "auc": areas[0],
        "drop": areas[0] - areas[1],
        "jets_error": float(np.hypot(errors[0], errors[1])),
        "rejection": float(rejections[0]),
        "rejection_ratio": float(rejections[1] / rejections[0]),
    }


def _summary(mine: list[dict[str, float]], plain: list[dict[str, float]]) -> dict[str, float]:
    """Return means over the seeds, and the paired difference of the drop to that of plain training."""
    from scipy.stats import ttest_1samp

    drops, others = (np.array([row["drop"] for row in rows]) for rows in (mine, plain))
    difference = drops - others
    p = float(ttest_1samp(difference, 0.0).pvalue) if len(difference) > 1 and difference.any() else 1.0
    means = {name: float(np.mean([row[name] for row in mine])) for name in mine[0]}
    return means | {
        "drop_error": _error(drops),
        "gain": float(difference.mean()),
        "gain_error": _error(difference),
        "p": p,
    }


def _error(values: Any) -> float:
    """Return the error of the mean; 0 for a single value."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds, few epochs, 900 jets")
    parser.add_argument("--sections", nargs="*", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--jets", type=Path, default=Path("runs/robust"), help="folder of simulated jets")
    parser.add_argument("--events", type=int, default=6000, help="jets of Pythia's own shower; half as many of Vincia")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=25, help="of the networks of jets")
    parser.add_argument("--pair-epochs", type=int, default=75, help="for muon pairs; 25 are too few for `free`")
    asked = parser.parse_args()
    seeds, epochs, pair_epochs = (2, 8, 8) if asked.quick else (asked.seeds, asked.epochs, asked.pair_epochs)
    jets, folder = (600, asked.jets / "quick") if asked.quick else (asked.events, asked.jets)
    result: dict[str, Any] = {}
    if "hessian" in asked.sections:
        result |= hessian()
    if "dual" in asked.sections:
        result |= dual(1 if asked.quick else min(seeds, 3), pair_epochs)
    if "shower" in asked.sections:
        result |= shower(folder, jets, seeds, epochs)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
