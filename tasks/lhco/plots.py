"""Figures of a search: spectra, scores and the significance improvement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from tasks.plotting import BLUE, GREY, ORANGE, PALE, RED, figure, labels, numbers, styled


def spectrum(details: Mapping[str, Any]) -> Figure | None:
    """Plot masses before and after the cut on the score, with the fit and the deviations from its background."""
    data = details.get("spectrum")
    if not isinstance(data, Mapping) or (edges := numbers(data.get("edges"))) is None or len(edges) < 3:
        return None
    inclusive, passed, background, signal = (
        numbers(data.get(name), len(edges) - 1) for name in ("inclusive", "passed", "background", "signal")
    )
    if inclusive is None and passed is None:
        return None
    per = numbers(data.get("per"), len(edges) - 1)  # effective counts per unit of weight, if events have weights
    per = np.ones(len(edges) - 1) if per is None else np.maximum(per, 1e-9)
    middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    with styled():
        drawn = Figure(figsize=(6.4, 5.2), layout="constrained")
        upper, lower = drawn.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        for counts, colour, label in ((inclusive, GREY, "all events"), (passed, "black", "after the cut")):
            if counts is not None:
                shown = counts > 0
                errors = np.sqrt(counts[shown] / per[shown])
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
        labels(upper, "", "events / bin")
        if passed is not None and background is not None:
            error = np.sqrt(np.maximum(background / per, 1 / per**2))
            deviation = (passed - background) / error
            lower.bar(middle, deviation, width=2 * half, color=PALE, zorder=2)
            if signal is not None:
                lower.stairs(signal / error, edges, color=RED, lw=1.6, zorder=3)
        lower.axhline(0, color="black", lw=0.8, zorder=3)
        labels(
            lower,
            str(details.get("label", "mass")),
            r"$(n-b)/\sigma_b$" if "per" in data else r"$(n-b)/b^{1/2}$",
            y_at="center",
        )
        window = numbers(details.get("window"), 2)
        for axes in (upper, lower):
            axes.set_xlim(edges[0], edges[-1])
            if window is not None:
                axes.axvspan(window[0], window[1], color=ORANGE, alpha=0.15, lw=0, zorder=0)
        return drawn


def scores(details: Mapping[str, Any]) -> Figure | None:
    """Plot the submitted scores in the window and in the sidebands, as normalised densities."""
    data = details.get("score_histogram")
    if not isinstance(data, Mapping) or (edges := numbers(data.get("edges"))) is None or len(edges) < 2:
        return None
    window, sidebands = (numbers(data.get(name), len(edges) - 1) for name in ("window", "sidebands"))
    if window is None or sidebands is None:
        return None
    with styled():
        drawn, axes = figure(6.4, 3.6)
        axes.stairs(sidebands, edges, color=BLUE, fill=True, alpha=0.35, label="sidebands")
        axes.stairs(window, edges, color=RED, lw=1.8, label="signal region")
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(edges[0], edges[-1])
        axes.legend(loc="best")
        labels(axes, "score", "density")
        return drawn


def sic(curves: Mapping[str, Sequence[float]]) -> Figure | None:
    """Plot the significance improvement against the signal efficiency, with that of a random choice."""
    signal = numbers(curves.get("signal_efficiency"))
    gain = None if signal is None else numbers(curves.get("sic"), len(signal))
    if signal is None or gain is None:
        return None
    with styled():
        drawn, axes = figure(6.4, 3.6)
        axes.plot(signal, gain, color=RED, label="submitted scores")
        random = np.linspace(0, 1, 101)
        axes.plot(random, np.sqrt(random), "--", color=GREY, lw=1.2, label="random")
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper right")
        labels(axes, r"signal efficiency $\epsilon_S$", r"SIC = $\epsilon_S\,/\,\epsilon_B^{\,1/2}$")
        return drawn
