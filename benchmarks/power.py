"""Power of the analyst's own recipes for a resonance of the published strength, and the accuracy of their claims.

S / sqrt(B) = 2.2 in the window around 3.5 TeV, as in the R&D data set with 1,000 signal events. The shipped sample
provides 200,000 events per data set, for which S / B is 1.4%. The real signal region has the published 0.6%: 772 signal
events among 121,352 others, and 20,000 background events as reference. There, every set draws its signal from 20,772
events, and divides the same 141,352 background events anew into data and reference; `region_null` does so without
signal. A trial is that of `redteam.py`: the recipe on the seen half, the claim on the held-out half at the task's
level, the audit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from rich.console import Console

from benchmarks.real_region import FOLDER
from benchmarks.redteam import NOMINAL, claimed, outcome, trial
from benchmarks.redteam_recipes import MASS, SIGNAL, WINDOW, Recipe
from tasks.lhco import truth
from tasks.lhco.files import EVENTS
from tasks.lhco.grader import read_scores
from tasks.lhco.mix import SAMPLE
from tasks.lhco.plans import CLASSIC, EXTENDED, FULL_FLOW, SMEAR
from tasks.lhco.presets import LhcoDemo, LhcoSr, Loaded
from tasks.lhco.task import DISCOVERY, LhcoTask
from tools.bumphunt.measure import threshold
from tools.bumphunt.reference import reference_threshold
from tools.events.lhco import read_cathode
from tools.events.parquet import read_columns

PUBLISHED = 2.2  # S / sqrt(B) in the window
IN_ALL = 200_000  # events per data set
FIRST = 700  # seed of the first data set
RECIPE = Recipe(
    "CATHODE",
    "flow template from the sidebands, trees, out of fold: the analyst's full recipe",
    f"""
from tools.anomaly.classify import classify
from tools.anomaly.template import template
common = dict(events="/inputs/events.parquet", window=[LOW, HIGH], features={EXTENDED!r}, seed=1)
template(**common, method={{"kind": "spline_flow", **{FULL_FLOW!r}}}, oversample=4.0, closure="events")
classify(**common, template="template.parquet", control="template_control.parquet", ensemble=6)
""",
)
REAL = 772  # signal events in the real signal region
REGION_RECIPE = Recipe(
    "classifier against the reference",
    "trees and a smeared reference, out of fold: the analyst's recipe where a reference is given",
    f"""
from tools.anomaly.classify import classify
classify(events="/inputs/events.parquet", template="/inputs/reference.parquet", window=[LOW - 0.01, HIGH + 0.01],
         features={CLASSIC!r}, ensemble=4, smear={SMEAR}, seed=1, out_template="reference_scores.parquet")
""",
    region=True,
)


class Injected(LhcoSr):
    """The real signal region with `n_signal` of all its signal events, and another division of its background."""

    name: ClassVar[str] = "injected"
    n_signal: int

    def load(self) -> Loaded:
        columns, is_signal, true, reference = super().load()
        more, _ = read_cathode(FOLDER / "innerdata_extrasig.npy")
        assert reference is not None, "the presets of the signal region have one"
        every = {name: np.concatenate([values, reference[name], more[name]]) for name, values in columns.items()}
        given, kept = len(is_signal), len(reference["mjj"])
        signal = np.append(np.flatnonzero(is_signal), np.arange(given + kept, len(every["mjj"])))
        rng = np.random.default_rng(self.secret_seed)
        background = rng.permutation(np.append(np.flatnonzero(~is_signal), np.arange(given, given + kept)))
        rows = rng.permutation(np.append(background[kept:], rng.permutation(signal)[: self.n_signal]))
        true = true.model_copy(update={"n_signal": self.n_signal})
        drawn = {name: values[background[:kept]] for name, values in every.items()}
        return {name: values[rows] for name, values in every.items()}, np.isin(rows, signal), true, drawn


def strength(significance: float, events: int, sample: Path = SAMPLE) -> int:
    """Return the signal events to inject into so many for S / sqrt(B) in the window, given the reservoirs."""
    background, signal = (
        float(np.mean((mjj >= WINDOW[0]) & (mjj < WINDOW[1])))
        for mjj in (read_columns(sample / f"{name}.parquet", ["mjj"])["mjj"] for name in ("qcd", f"signal_{SIGNAL}"))
    )
    return round(float(significance * np.sqrt(events * background) / signal))


def true_passing(
    run_dir: Path, scores: Path, window: tuple[float, float], efficiency: float, reference: Path | None = None
) -> int:
    """Return the number of signal events among the held-out ones that pass the claim's cut."""
    _, is_signal, unseen = truth.read(run_dir / "sealed")
    mjj = read_columns(run_dir / "held_out" / EVENTS, ["mjj"])["mjj"]
    score = read_scores(scores.parent, scores.name, len(mjj))
    if reference:
        other = read_columns(reference)["score"]
        cut = reference_threshold(other, efficiency)
    else:
        cut = threshold(score[unseen], mjj[unseen], window, efficiency)
    return int((is_signal & unseen & (score >= cut)).sum())


def power(sets: int, console: Console, share: float = 1.0) -> dict[str, Any]:
    """Return the claims of `sets` injections into the shipped sample at `share` of the published strength."""
    n_signal = round(share * strength(PUBLISHED, IN_ALL))

    def injected(seed: int) -> LhcoTask:
        return LhcoDemo(events=IN_ALL, signal=SIGNAL, n_signal=n_signal, seed=seed, alpha=NOMINAL)

    return count(RECIPE, injected, n_signal, sets, console)


def region_power(sets: int, console: Console, share: float = 1.0) -> dict[str, Any]:
    """Return the claims of `sets` injections into the real signal region at `share` of the published strength; none
    is injected for 0.
    """
    n_signal = round(share * REAL)

    def injected(seed: int) -> LhcoTask:
        return Injected(data=FOLDER, n_signal=n_signal, seed=seed, alpha=NOMINAL)

    return count(REGION_RECIPE, injected, n_signal, sets, console)


def count(
    recipe: Recipe, data_set: Callable[[int], LhcoTask], n_signal: int, sets: int, console: Console
) -> dict[str, Any]:
    """Return the number of claims in `sets` data sets, how many of them are correct, and each set's significance."""
    claims, near, counted, significances = 0, 0, 0, []
    for seed in range(FIRST, FIRST + sets):
        with tempfile.TemporaryDirectory() as folder:
            left = trial(recipe, data_set(seed), Path(folder))
            scores = Path(folder, "claim/i0/score/scores.parquet")
            other = scores.with_name("reference_scores.parquet") if recipe.region else None
            found = outcome(left)
            true = true_passing(Path(folder), scores, WINDOW, left.details["efficiency"], other) if left.ok else 0
        claim = claimed(found, DISCOVERY, audited=True)
        significances.append(round(found["z"], 2))
        console.print(f"{n_signal} signal events, seed {seed}: {found['z']:.1f} sigma, claim: {claim}. {left.reason}")
        if not left.ok:
            continue
        d = left.details
        console.print(
            f"  {d['mass']:.3f} ± {d['mass_error']:.3f} TeV, {d['passing']:.0f} ± {d['passing_error']:.0f} of {true}"
        )
        claims += claim
        near += claim and abs(d["mass"] / MASS - 1) < 0.01
        counted += claim and abs(d["passing"] - true) < 2 * d["passing_error"]
    correct = {"mass_within_1_percent": near, "passing_within_2_errors": counted}
    return {"claims": claims, "sets": sets, **correct, "z": significances}
