"""W jets against QCD: what is left of the dependence on mass, and of the signal, by every way to decorrelate.

All have the same jets and observables (the mass among them), and all scores are out of fold. Maps move the scores of
boosted trees; trainings have a network of their own. Compared at the same cuts: that keep half of the signal, and that
keep a twentieth or a fifth of the background, where the random selections are the same for all. Errors of 1/JSD over
random selections are those of a jackknife over GROUPS groups of jets, with the scores as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.tagging.samples import shipped
from tools.decorrelation.cnots import Cnots
from tools.decorrelation.coordinates import untied
from tools.decorrelation.flow import Flow
from tools.decorrelation.trained import Disco, Mode, Planing, Trained
from tools.dependence import dependence
from tools.jet_model.jets_file import concatenate, read_jets
from tools.jet_model.observables import observables
from tools.types import Floats

Mask = NDArray[np.bool_]
Method = Cnots | Flow | Disco | Mode | Planing
FOLDS, GROUPS = 4, 20
W_AND_QCD = ("quark", "gluon", "w")
FEATURES = ["mass", "multiplicity", "width", "dispersion", "e2", "e3", "d2"]
CUTS: dict[str, Callable[[Floats, Mask], float]] = {
    "50% of the signal": lambda s, is_signal: float(np.quantile(s[is_signal], 0.5)),
    "5% of the background": lambda s, is_signal: float(np.quantile(s[~is_signal], 0.95)),
    "20% of the background": lambda s, is_signal: float(np.quantile(s[~is_signal], 0.8)),
}


def methods(quick: bool) -> dict[str, Method | None]:
    """Return the ways to decorrelate, by name, with none of them first, and trainings without penalty."""
    options: dict[str, Any] = {"features": FEATURES, "epochs": 15 if quick else 60, "batch": 512}
    return {
        "trees": None,
        "trees, cnots": Cnots(steps=200 if quick else 500, hidden=16),
        "trees, flow": Flow(),
        "network": Disco(strength=0, **options),
        "planing": Planing(**options),
        "disco": Disco(**options),
        "mode": Mode(**options),
    }


def jets(paths: Sequence[Path]) -> tuple[Floats, Floats, Mask, str]:
    """Return observables (n, 7), mass, truth and kind of signal: W of the files, or tops of the shipped sample."""
    found, kind = shipped(), "top"
    if paths:
        parts = [read_jets(path) for path in paths]
        kinds = tuple(dict.fromkeys(name for part in parts for name in part.kinds))
        found, kind = concatenate(parts, kinds).with_kinds(W_AND_QCD), "w"
    assert found.pid is not None
    table = observables(found)
    mass = found.jet[:, 3].astype(np.float64) if found.jet is not None else table["mass"]
    return np.column_stack([table[name] for name in FEATURES]), mass, found.pid == found.kinds.index(kind), kind


def tagged(x: Floats, is_signal: Mask) -> Floats:
    """Return the log odds of boosted trees, out of fold."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import cross_val_predict

    model = HistGradientBoostingClassifier(max_iter=100, class_weight="balanced", random_state=1)
    found = cross_val_predict(model, x, is_signal, cv=4, method="decision_function")
    return np.asarray(found, dtype=np.float64)


def out_of_fold(x: Floats, score: Floats, mass: Floats, is_signal: Mask, method: Method | None) -> Floats:
    """Return scores (n,), each by what the other folds taught: of x for trainings, mapped from `score` for maps."""
    if method is None:
        return score
    score = untied(score[:, None], 1)[:, 0]  # as the tool does: a map moves all events with one score at once
    fold = np.random.default_rng(2).permutation(len(score)) % FOLDS
    moved = np.empty(len(score))
    for k in range(FOLDS):
        rows, here = fold != k, fold == k
        if isinstance(method, Trained):
            moved[here] = method.fit(x[rows], mass[rows, None], is_signal[rows], 1)(x[here])
        else:
            rows = rows & ~is_signal
            learned = method.fit(score[rows, None], mass[rows, None], 1)
            moved[here] = learned(score[here, None], mass[here, None])[:, 0]
    return moved


def at_cut(name: str, score: Floats, mass: Floats, is_signal: Mask) -> dict[str, float]:
    """Return signal and background kept by a cut of CUTS, 1/JSD and its ratio to random selections with an error."""
    passed = score >= CUTS[name](score, is_signal)
    found = dependence(mass[~is_signal], passed[~is_signal])
    group = np.random.default_rng(3).permutation(len(score)) % GROUPS
    left_out = []
    for k in range(GROUPS):
        s, m, y = (values[group != k] for values in (score, mass, is_signal))
        left_out.append(dependence(m[~y], s[~y] >= CUTS[name](s, y)).over_ceiling)
    return {
        "signal": float(passed[is_signal].mean()),
        "background": float(passed[~is_signal].mean()),
        "inverse_jsd": found.inverse_jsd,
        "ceiling": found.ceiling,
        "over_ceiling": found.over_ceiling,
        "error": float(np.sqrt(GROUPS - 1) * np.std(left_out)),
        "chance": found.low / found.ceiling,  # 5% of random selections have less
        "p": found.p_value,
    }


def compared(paths: Sequence[Path], quick: bool) -> dict[str, Any]:
    """Print a row for each way and cut, and return them all."""
    x, mass, is_signal, kind = jets(paths)
    score = tagged(x, is_signal)
    found: dict[str, Any] = {}
    for name, method in methods(quick).items():
        moved = out_of_fold(x, score, mass, is_signal, method)
        found[name] = {cut: at_cut(cut, moved, mass, is_signal) for cut in CUTS}
        for cut, one in found[name].items():
            print(
                f"{kind} jets, {name:12}, {cut:21}: signal {one['signal']:.3f}, background {one['background']:.4f}, "
                f"1/JSD {one['inverse_jsd']:.1f}, over random {one['over_ceiling']:.2f} +- {one['error']:.2f} (random: "
                f"5% below {one['chance']:.2f}), p {one['p']:.3f}",
                flush=True,
            )
    left = found["trees, cnots"]["50% of the signal"]["over_ceiling"]
    return {"jsd_over_ceiling_w": None, f"jsd_over_ceiling_{kind}": left, "methods": found}
