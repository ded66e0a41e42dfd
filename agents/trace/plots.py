"""The plots of a report, as PNG bytes. The same numbers give the same bytes; a plot that lacks its numbers is None."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from numpy.typing import NDArray

from agents.trace.result import IterationResult

BLUE, ORANGE, RED, GREY = "#3f90da", "#ffa90e", "#bd1f01", "#717581"  # Petroff's colour-blind safe cycle
PALE = "#a5cdf0"
# On top of matplotlib's defaults, whatever the user's own settings are.
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.labelsize": 12,
    "axes.linewidth": 0.9,
    "axes.formatter.useoffset": False,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "xtick.minor.visible": True,
    "ytick.minor.visible": True,
    "xtick.major.size": 7,
    "ytick.major.size": 7,
    "xtick.minor.size": 3.5,
    "ytick.minor.size": 3.5,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.linewidth": 1.6,
    "errorbar.capsize": 0,
}
Array = NDArray[np.float64]


def steering(iterations: Sequence[IterationResult], best: int | None) -> bytes | None:
    """The steering metric of each iteration with its error; refused submissions are crosses at the bottom."""
    if not iterations:
        return None
    with style.context(["default", STYLE]):
        figure, axes = _figure(6.4, 3.6)
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
        _labels(axes, "iteration", iterations[-1].metric.replace("_", " "))
        return _png(figure)


def spectrum(details: Mapping[str, Any]) -> bytes | None:
    """Dijet masses before and after the cut on the score, with the fit, and the deviations from its background."""
    data = details.get("spectrum")
    if not isinstance(data, Mapping) or (edges := _numbers(data.get("edges"))) is None or len(edges) < 3:
        return None
    inclusive, passed, background, signal = (
        _numbers(data.get(name), len(edges) - 1) for name in ("inclusive", "passed", "background", "signal")
    )
    if inclusive is None and passed is None:
        return None
    middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(6.4, 5.2), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        for counts, colour, label in ((inclusive, GREY, "all events"), (passed, "black", "after the cut")):
            if counts is not None:
                shown = counts > 0
                errors = np.sqrt(counts[shown])
                upper.errorbar(
                    middle[shown], counts[shown], errors, half[shown], fmt="o", ms=3.5, lw=1, color=colour, label=label
                )
        if background is not None:
            upper.stairs(background, edges, baseline=None, color=BLUE, lw=1.8, label="fitted background")
            if signal is not None and signal.any():
                upper.stairs(background + signal, edges, baseline=None, color=RED, lw=1.8, label="background + signal")
        counts = np.concatenate([c for c in (inclusive, passed) if c is not None])
        if (counts > 0).any():
            upper.set_yscale("log")
            upper.set_ylim(max(0.4, 0.4 * counts[counts > 0].min()), 4 * counts.max())
        handles = dict(zip(*reversed(upper.get_legend_handles_labels()), strict=True))
        order = [label for label in ("all events", "after the cut", *handles) if label in handles]
        upper.legend([handles[label] for label in dict.fromkeys(order)], dict.fromkeys(order), loc="upper right")
        _labels(upper, "", "events / bin")
        if passed is not None and background is not None:
            deviation = (passed - background) / np.sqrt(np.maximum(background, 1.0))
            lower.bar(middle, deviation, width=2 * half, color=PALE, zorder=2)
            if signal is not None:
                lower.stairs(signal / np.sqrt(np.maximum(background, 1.0)), edges, color=RED, lw=1.6, zorder=3)
        lower.axhline(0, color="black", lw=0.8, zorder=3)
        _labels(lower, "dijet mass $m_{jj}$ [TeV]", r"$(n-b)/b^{1/2}$", y_at="center")
        window = _numbers(details.get("window"), 2)
        for axes in (upper, lower):
            axes.set_xlim(edges[0], edges[-1])
            if window is not None:
                axes.axvspan(window[0], window[1], color=ORANGE, alpha=0.15, lw=0, zorder=0)
        return _png(figure)


def scores(details: Mapping[str, Any]) -> bytes | None:
    """The submitted scores in the window and in the sidebands, as normalised densities."""
    data = details.get("score_histogram")
    if not isinstance(data, Mapping) or (edges := _numbers(data.get("edges"))) is None or len(edges) < 2:
        return None
    window, sidebands = (_numbers(data.get(name), len(edges) - 1) for name in ("window", "sidebands"))
    if window is None or sidebands is None:
        return None
    with style.context(["default", STYLE]):
        figure, axes = _figure(6.4, 3.6)
        axes.stairs(sidebands, edges, color=BLUE, fill=True, alpha=0.35, label="sidebands")
        axes.stairs(window, edges, color=RED, lw=1.8, label="signal region")
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(edges[0], edges[-1])
        axes.legend(loc="best")
        _labels(axes, "score", "density")
        return _png(figure)


def sic(curves: Mapping[str, Sequence[float]]) -> bytes | None:
    """Significance improvement over signal efficiency, beside that of a random choice."""
    signal = _numbers(curves.get("signal_efficiency"))
    gain = None if signal is None else _numbers(curves.get("sic"), len(signal))
    if signal is None or gain is None:
        return None
    with style.context(["default", STYLE]):
        figure, axes = _figure(6.4, 3.6)
        axes.plot(signal, gain, color=RED, label="submitted scores")
        random = np.linspace(0, 1, 101)
        axes.plot(random, np.sqrt(random), "--", color=GREY, lw=1.2, label="random")
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper right")
        _labels(axes, r"signal efficiency $\epsilon_S$", r"SIC = $\epsilon_S\,/\,\epsilon_B^{\,1/2}$")
        return _png(figure)


def unfolded(curves: Mapping[str, Sequence[float]]) -> bytes | None:
    """Per observable: unfolded bin contents with errors, the truth and the simulation, and ratios to the truth."""
    names = [name.removesuffix("_unfolded") for name in curves if name.endswith("_unfolded")]
    found = []
    for name in names:
        edges = _numbers(curves.get(f"{name}_edges"))
        parts = ("unfolded", "error", "truth", "simulation")
        values = [_numbers(curves.get(f"{name}_{part}"), 0 if edges is None else len(edges) - 1) for part in parts]
        if edges is not None and all(v is not None for v in values):
            found.append((name, edges, [v for v in values if v is not None]))
    if not found:
        return None
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(4.2 * len(found), 4.6), layout="constrained")
        grid = figure.subplots(2, len(found), sharex="col", height_ratios=[3, 1], squeeze=False)
        for k, (name, edges, (value, error, truth, simulation)) in enumerate(found):
            upper, lower = grid[0][k], grid[1][k]
            width, middle = np.diff(edges), (edges[1:] + edges[:-1]) / 2
            with np.errstate(divide="ignore", invalid="ignore"):
                for axes, scale in ((upper, 1 / width), (lower, 1 / truth)):
                    axes.stairs(simulation * scale, edges, baseline=None, color=GREY, label="simulation")
                    axes.stairs(truth * scale, edges, baseline=None, color=BLUE, lw=1.8, label="truth")
                    axes.errorbar(
                        middle, value * scale, error * scale, width / 2, fmt="k.", lw=1, ms=4, label="unfolded"
                    )
            lower.set_ylim(0.5, 1.5)
            upper.set_ylim(bottom=0)
            _labels(upper, "", "density" if k == 0 else "")
            _labels(lower, name, "/ truth" if k == 0 else "", y_at="center")
        grid[0][-1].legend(loc="upper right")
        return _png(figure)


def _numbers(values: Any, length: int | None = None) -> Array | None:
    """A list of numbers (NaN where one is not finite), or None for anything else."""
    if not isinstance(values, list | tuple) or not values or (length is not None and len(values) != length):
        return None
    try:
        array = np.array(values, dtype=float)
    except (TypeError, ValueError):
        return None
    return np.where(np.isfinite(array), array, np.nan) if array.ndim == 1 else None


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _labels(axes: Axes, x: str, y: str, y_at: Literal["top", "center"] = "top") -> None:
    axes.set_xlabel(x, loc="right")
    axes.set_ylabel(y, loc=y_at)


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=150, metadata={"Software": None})
    return out.getvalue()
