"""The plot in every report: the steering metric. Without iterations it is None."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from agents.trace.result import IterationResult
from tasks.plotting import BLUE, GREY, RED, figure, labels, styled
from tools.publication import Column, Data


def steering(iterations: Sequence[IterationResult], best: int | None) -> Figure | None:
    """Plot the steering metric of each iteration with its error; refused submissions are crosses at the bottom."""
    if not iterations:
        return None
    with styled():
        drawn, axes = figure(6.4, 3.6)
        good = [it for it in iterations if it.value is not None]
        if good:
            x, y = [it.iteration for it in good], np.array([it.value for it in good], float)
            axes.errorbar(x, y, yerr=[it.error or 0.0 for it in good], fmt="o-", color=BLUE, ecolor=BLUE, ms=6)
            if best in x:
                axes.plot([best], [y[x.index(best)]], "*", color=RED, ms=15, label="best", zorder=5)
        refused = [it.iteration for it in iterations if it.value is None]
        if refused:
            across = axes.get_xaxis_transform()
            axes.plot(refused, [0.06] * len(refused), "x", color=GREY, ms=9, mew=2, transform=across, label="refused")
        axes.set_xlim(iterations[0].iteration - 0.5, iterations[-1].iteration + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(axis="x", which="minor", bottom=False, top=False)
        axes.margins(y=0.25)
        if refused or best is not None:
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
        labels(axes, "iteration", iterations[-1].metric.replace("_", " "))
        return drawn


def steering_data(iterations: Sequence[IterationResult]) -> Data | None:
    """Return the numbers of the plot."""
    good = [it for it in iterations if it.value is not None]
    if not good:
        return None
    value = Column(good[-1].metric, [it.value for it in good], errors={"": [it.error or 0.0 for it in good]})
    return Data("steering", "Steering metric.", [Column("iteration", [it.iteration for it in good])], [value])
