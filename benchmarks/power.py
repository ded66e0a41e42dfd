"""Power of the analyst's own recipe for a resonance of the published strength, and the accuracy of its claims.

S / sqrt(B) = 2.2 in the window around 3.5 TeV, as in the R&D data set with 1,000 signal events; the shipped sample
provides 200,000 events per data set, for which S / B is 1.4% (published: 0.6% of 134,000 events in the window). A trial
is that of `redteam.py`: the recipe on the seen half, the claim on the held-out half at the task's level, the audit.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.redteam import claimed, outcome, trial
from benchmarks.redteam_recipes import MASS, SIGNAL, WINDOW, Recipe
from tasks.lhco import truth
from tasks.lhco.files import EVENTS
from tasks.lhco.grader import read_scores
from tasks.lhco.mix import SAMPLE
from tasks.lhco.plans import EXTENDED, FULL_FLOW
from tasks.lhco.task import DISCOVERY
from tasks.score import Score
from tools.bumphunt.measure import threshold
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


def strength() -> int:
    """Return the signal events to inject for PUBLISHED, from the fractions of the reservoirs in the window."""
    background, signal = (
        float(np.mean((mjj >= WINDOW[0]) & (mjj < WINDOW[1])))
        for mjj in (read_columns(SAMPLE / f"{name}.parquet", ["mjj"])["mjj"] for name in ("qcd", f"signal_{SIGNAL}"))
    )
    return round(float(PUBLISHED * np.sqrt(IN_ALL * background) / signal))


def true_passing(run_dir: Path, left: Score) -> int:
    """Return the number of signal events among the held-out ones that pass the claim's cut."""
    _, is_signal, unseen = truth.read(run_dir / "sealed")
    mjj = read_columns(run_dir / "held_out" / EVENTS, ["mjj"])["mjj"]
    score = read_scores(run_dir / "claim", "i0/score/scores.parquet", len(mjj))
    cut = threshold(score[unseen], mjj[unseen], WINDOW, left.details["efficiency"])
    return int((is_signal & unseen & (score >= cut)).sum())


def power(sets: int, console: Console, share: float = 1.0) -> dict[str, Any]:
    """Return the claims of `sets` injections at `share` of the published strength, and how many are correct."""
    n_signal, claims, near, counted = round(share * strength()), 0, 0, 0
    for seed in range(FIRST, FIRST + sets):
        with tempfile.TemporaryDirectory() as folder:
            left = trial(RECIPE, n_signal, seed, Path(folder), IN_ALL)
            found, true = outcome(left), true_passing(Path(folder), left) if left.ok else 0
        claim = claimed(found, DISCOVERY, audited=True)
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
    return {"claims": claims, "sets": sets, "mass_within_1_percent": near, "passing_within_2_errors": counted}
