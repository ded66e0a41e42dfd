"""Plots of unfolded distributions in the field's style (mplhep; the extra `publish`): spectra above, ratio below."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tools.types import Floats

if TYPE_CHECKING:
    from tools.unfolding.read import Histogram


def ratio_plot(histogram: Histogram, references: Mapping[str, Floats], label: str, path: Path) -> None:
    """Plot the unfolded histogram with its total error and `references` (b,) by name, with their ratio to it below.

    `label`: axis label, with unit. The suffix of `path` gives the file format.
    """
    import mplhep
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.style import context

    shown = histogram.density()
    width = np.diff(histogram.edges)
    relative = np.divide(shown.errors, shown.values, out=np.zeros_like(shown.values), where=shown.values > 0)
    with context(mplhep.style.ATLAS):
        figure = Figure(figsize=(8, 8))
        FigureCanvasAgg(figure)
        above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1], "hspace": 0.08})
        mplhep.histplot(
            shown.values,
            histogram.edges,
            yerr=shown.errors,
            histtype="errorbar",
            color="black",
            label="unfolded",
            ax=above,
        )
        below.fill_between(
            np.repeat(histogram.edges, 2)[1:-1],
            np.repeat(1 - relative, 2),
            np.repeat(1 + relative, 2),
            color="grey",
            alpha=0.4,
            linewidth=0,
        )
        for name, counts in references.items():
            artists = mplhep.histplot(counts / width, histogram.edges, histtype="step", label=name, ax=above)
            over = np.divide(counts, histogram.values, out=np.full(len(counts), np.nan), where=histogram.values > 0)
            colour = artists[0].stairs.get_edgecolor()
            mplhep.histplot(over, histogram.edges, histtype="step", color=colour, ax=below)
        above.set_ylabel("events / bin width")
        above.set_ylim(bottom=0)
        above.legend()
        below.axhline(1, color="black", linewidth=0.8)
        below.set_ylim(0.5, 1.5)
        below.set_ylabel("ratio to unfolded")
        below.set_xlabel(label)
        below.set_xlim(histogram.edges[0], histogram.edges[-1])
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
