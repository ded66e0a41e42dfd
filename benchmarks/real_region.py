"""The real LHCO signal region (files of arXiv:2109.00546): 122,124 events, 772 of them signal, and 20,000 background.

Baseline and best recipe share the protocol: out of fold (5 folds), the same number of trees, labels of the data
for judging only. The baseline is 50 trees against the 20,000 reference events (arXiv:2309.13111). The best recipe
smooths the reference: flows learn it, and samples from a mixture of four, as many events as data, are added to it.
`in-sample` repeats both with data events scored by models that saw them, a fifth as many models.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import redirect_stderr
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from tools.anomaly.classify import out_of_fold
from tools.anomaly.data import Sidebands
from tools.anomaly.flow import SplineFlow
from tools.anomaly.template import Mixed
from tools.anomaly.trees import Trees
from tools.bumphunt.reference import CLOSURE, measure_with_reference
from tools.bumphunt.scan import EFFICIENCIES
from tools.bumphunt.yields import reference_yield
from tools.metrics import argos, auc, bootstrap_error, max_sic, sic_at
from tools.types import Floats

DEFAULT = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "lhco_signal_region"
FOLDER = Path(os.environ.get("LHCO_SIGNAL_REGION", DEFAULT))
SMALL = SplineFlow(transforms=2, hidden=32, bins=6, epochs=12, batch=256, learning_rate=2e-3)
FLOWS = 4
PUBLISHED = Trees(min_samples_leaf=20)
WINDOW = (3.3, 3.7)


def real_region(ensemble: int, console: Console) -> dict[str, Any]:
    """Return max SIC with 25 background events kept, and SIC at 1e-3, for both recipes."""
    names = ("train", "test", "background")
    train, test, background = (np.load(FOLDER / f"innerdata_{name}.npy").astype(float) for name in names)
    data = np.concatenate([train, test])
    events, is_signal, reference = data[:, 1:5], data[:, 5] == 1, background[:, 1:5]
    added = np.concatenate([reference, smooth(background, data[:, 0])])
    out: dict[str, Any] = {}
    scores: dict[str, tuple[Floats, Floats]] = {}
    for name, against, trees in (("baseline", reference, PUBLISHED), ("smoothed", added, Trees())):
        everything, nothing = np.ones(len(events), bool), np.zeros(len(events), bool)
        with redirect_stderr(StringIO()):
            score, held = out_of_fold(trees, events, against, everything, nothing, folds=5, ensemble=ensemble, seed=1)
        scores[name] = score, held[: len(reference)]
        x, y = np.concatenate([events, against]), np.arange(len(events) + len(against)) < len(events)
        seen = np.mean([trees.log_odds(x, y, events, 100 + seed) for seed in range(ensemble)], axis=0)
        for protocol, values in (("out of fold", score), ("in-sample", seen)):
            signal, rest = values[is_signal], values[~is_signal]
            metric = partial(max_sic, min_background=25)
            value, error = metric(signal, rest), bootstrap_error(metric, signal, rest, 1, 20)
            tight = sic_at(signal, rest, 1e-3)
            out[f"{name}, {protocol}"] = [
                round(value, 2),
                round(error, 2),
                round(tight, 2),
                round(auc(signal, rest), 3),
            ]
            console.print(
                f"real signal region, {name}, {protocol}: SIC25 {value:.2f} ± {error:.2f}, at 1e-3 {tight:.2f}"
            )
        console.print(f"real signal region, {name}: ARGOS {argos(score, held, 25):.3f}")
    return {
        "sr_real_sic25": out["smoothed, out of fold"][0],
        "sr_real_baseline_sic25": out["baseline, out of fold"][0],
        "sr_real": out,
        **measured(data, background, scores, console),
    }


def measured(
    data: Floats, background: Floats, scores: Mapping[str, tuple[Floats, Floats]], console: Console
) -> dict[str, Any]:
    """Return mass [TeV] and percentage of signal from both recipes' scores, as measured by `bumphunt.measure`."""
    found = {}
    for name, (score, against) in scores.items():
        ours, theirs = (data[:, 0], score), (background[:, 0], against)
        fit = max((measure_with_reference(ours, theirs, e).fit for e in EFFICIENCIES), key=lambda fit: fit.z)
        amount = reference_yield(ours, theirs, fit.mass, fit.width, CLOSURE)
        percent, error = 100 * amount.n_signal / len(data), 100 * amount.error / len(data)
        found[name] = fit.mass, percent, error
        console.print(
            f"real signal region, {name}: {fit.mass:.3f} ± {fit.mass_error:.3f} TeV, {percent:.2f} ± {error:.2f}% "
            f"signal of {100 * data[:, 5].mean():.2f}%, {fit.z:.1f} sigma"
        )
    mass, percent, error = found["smoothed"]
    return {"sr_mass": mass, "sr_fraction_percent": percent, "sr_fraction_percent_error": error}


def smooth(background: Floats, mjj: Floats) -> Floats:
    """Sample as many events as `mjj` from flows fitted to `background` with different seeds."""
    sample = Sidebands(background[:, 1:5], background[:, 0], WINDOW)
    masses = np.random.default_rng(1).permutation(mjj)
    return Mixed(SMALL, FLOWS).fit(sample, 10).sample(masses, 20)
