"""The figures of an unfolding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from tasks.plotting import BLUE, GREY, PALE, labels, numbers, styled


def spectrum(of: Mapping[str, Sequence[float]], x: str, unit: str) -> Figure | None:
    """Plot one unfolded distribution with its errors, and the simulation; below, the ratio to the unfolded one."""
    edges = numbers(of.get(f"{x}.edges"))
    if edges is None:
        return None
    values = [numbers(of.get(f"{x}.{part}"), len(edges) - 1) for part in ("unfolded", "error", "simulation")]
    value, error, simulation = values
    if value is None or error is None or simulation is None:
        return None
    statistical = numbers(of.get(f"{x}.error.statistical"), len(edges) - 1)
    width, middle = np.diff(edges), (edges[1:] + edges[:-1]) / 2
    with styled():
        drawn = Figure(figsize=(5.2, 4.8), layout="constrained")
        upper, lower = drawn.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            for axes, scale in ((upper, 1 / width), (lower, 1 / value)):
                axes.stairs(simulation * scale, edges, baseline=None, color=BLUE, label="simulation")
                if axes is lower:
                    axes.stairs(1 + error / value, edges, baseline=1 - error / value, fill=True, color=PALE, alpha=0.6)
                axes.errorbar(middle, value * scale, error * scale, width / 2, fmt="k.", lw=1, ms=4, label="unfolded")
                if statistical is not None:
                    axes.errorbar(middle, value * scale, statistical * scale, fmt="none", ecolor="k", capsize=2)
        lower.set_ylim(0.5, 1.5)
        upper.set_ylim(bottom=0)
        labels(upper, "", f"events per {unit or 'unit'}")
        labels(lower, f"{x} [{unit}]" if unit else x, "/ unfolded", y_at="center")
        upper.legend(loc="upper right")
        return drawn


def correlations(of: Mapping[str, Sequence[float]]) -> Figure | None:
    """Plot the correlation matrix of the bins of each unfolded distribution."""
    names = [name.removesuffix(".covariance") for name in of if name.endswith(".covariance")]
    if not names:
        return None
    with styled():
        drawn = Figure(figsize=(3.4 * len(names) + 0.6, 3.4), layout="constrained")
        row = drawn.subplots(1, len(names), squeeze=False)[0]
        for axes, name in zip(row, names, strict=True):
            flat = np.array(of[f"{name}.covariance"])
            covariance = flat.reshape(round(len(flat) ** 0.5), -1)
            error = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
            image = axes.imshow(covariance / np.outer(error, error), vmin=-1, vmax=1, cmap="RdBu_r", origin="lower")
            labels(axes, f"bin of {name}", "bin" if axes is row[0] else "")
        drawn.colorbar(image, ax=row[-1], label="correlation")
        return drawn


def unfolded(curves: Mapping[str, Sequence[float]], units: Mapping[str, str]) -> Figure | None:
    """Plot, per observable, unfolded bins with errors, the truth and the simulation, and ratios to the truth."""
    names = [name.removesuffix("_unfolded") for name in curves if name.endswith("_unfolded")]
    found = []
    for name in names:
        edges = numbers(curves.get(f"{name}_edges"))
        parts = ("unfolded", "error", "truth", "simulation")
        values = [numbers(curves.get(f"{name}_{part}"), 0 if edges is None else len(edges) - 1) for part in parts]
        if edges is not None and all(v is not None for v in values):
            found.append((name, edges, [v for v in values if v is not None]))
    if not found:
        return None
    with styled():
        drawn = Figure(figsize=(4.2 * len(found), 4.6), layout="constrained")
        grid = drawn.subplots(2, len(found), sharex="col", height_ratios=[3, 1], squeeze=False)
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
            labels(upper, "", "density" if k == 0 else "")
            labels(
                lower, f"{name} [{units[name]}]" if name in units else name, "/ truth" if k == 0 else "", y_at="center"
            )
        grid[0][-1].legend(loc="upper right")
        return drawn
