"""The figure of a decorrelation, a row for each score: the map, quantiles of the score against mass, and 1/JSD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tools.decorrelation.sample import Mask, Sample
from tools.dependence import edges
from tools.types import Floats

if TYPE_CHECKING:
    from tools.decorrelation.decorrelate import CutDependence, Mapped

AT = (0.05, 0.25, 0.5, 0.75, 0.95)  # quantiles of the mass at which the map is drawn
LEVELS = (0.5, 0.9, 0.99)  # quantiles of the score that are drawn against mass
SLICES = 15
POINTS = 200
MOST = 6  # scores drawn


@dataclass(frozen=True)
class Shown:
    """Scores before and after (n, d), protected columns (n, p) and the background-like events (n,)."""

    scores: Sequence[str]
    protected: Sequence[str]
    before: Floats | None
    after: Floats
    at: Floats
    background: Mask


def draw(path: Path, shown: Shown, learned: Mapped | None, cuts: Sequence[CutDependence]) -> None:
    """Write the figure; without a map (a classifier was trained), its place is empty."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = shown.scores[:MOST]
    figure = Figure(figsize=(12, 3.4 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(rows), 3, squeeze=False)
    for i, (score, (left, middle, right)) in enumerate(zip(rows, panels, strict=True)):
        if learned is not None and shown.before is not None:
            _map(left, shown, learned, i)
        else:
            left.set_axis_off()
        _quantiles(middle, shown, i)
        _divergence(right, [cut for cut in cuts if (cut.score, cut.protected) == (score, shown.protected[0])])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def _map(axis: Any, shown: Shown, learned: Mapped, i: int) -> None:
    """Draw the new score against the old one at five masses; other scores and columns have their medians."""
    assert shown.before is not None
    scores, at = shown.before[shown.background], shown.at[shown.background]
    old = np.tile(np.median(scores, axis=0), (POINTS, 1))
    low, high = np.quantile(scores[:, i], [0.001, 0.999])
    old[:, i] = np.linspace(low, high, POINTS)
    for level in AT:
        where = np.tile(np.median(at, axis=0), (POINTS, 1))
        where[:, 0] = np.quantile(at[:, 0], level)
        new = learned(Sample(where, old, np.empty((POINTS, 0)), np.arange(POINTS)))
        axis.plot(old[:, i], new[:, i], label=f"{shown.protected[0]} = {where[0, 0]:.3g}")
    axis.plot(old[:, i], old[:, i], color="grey", linestyle=":")
    axis.set_xlabel(f"{shown.scores[i]} before")
    axis.set_ylabel("after")
    axis.legend(fontsize=7)


def _quantiles(axis: Any, shown: Shown, i: int) -> None:
    mass = shown.at[shown.background, 0]
    place = np.searchsorted(edges(mass, SLICES), mass, "right")
    centres = [np.median(mass[place == k]) for k in range(SLICES)]
    for table, style in ((shown.before, "--"), (shown.after, "-")):
        if table is not None:
            score = table[shown.background, i]
            found = np.array([np.quantile(score[place == k], LEVELS) for k in range(SLICES)])
            axis.set_prop_cycle(None)
            axis.plot(centres, found, style)
    axis.set_xlabel(shown.protected[0])
    axis.set_ylabel(f"quantiles {', '.join(map(str, LEVELS))}; dashed: before", fontsize=7)


def _divergence(axis: Any, cuts: Sequence[CutDependence]) -> None:
    cuts = sorted(cuts, key=lambda cut: cut.efficiency)
    at = [cut.efficiency for cut in cuts]
    axis.plot(at, [cut.ceiling for cut in cuts], "k:", label="random selection")
    axis.plot(at, [cut.inverse_jsd for cut in cuts], "o-", label="after")
    before = [cut.inverse_jsd_before for cut in cuts if cut.inverse_jsd_before is not None]
    if before:
        axis.plot(at, before, "s--", label="before")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("background efficiency")
    axis.set_ylabel("1/JSD")
    axis.legend(fontsize=7)
