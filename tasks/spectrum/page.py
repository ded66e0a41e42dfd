"""The page of a mass spectrum in report and viewer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

from tasks.page import Block, Numbers, Plot, Table, Text
from tasks.plotting import BLUE, PALE, RED, labels, numbers, styled
from tasks.score import Number, Score
from tasks.task import Details
from tasks.writing import measured, probability, significance
from tools.publication import Data, table_of

FITTED = "Mass spectrum with the harness's fit."


class SpectrumDetails(Details):
    """The harness's fit; empty if there is none."""

    resonances: list[dict[str, float]] = Field(default_factory=list)
    unit: str = ""
    fit_p: float | None = None
    background: str = ""
    shape: str = ""
    one_width: bool = False
    left: dict[str, float] | None = None
    window: dict[str, Any] | None = None
    spectrum: dict[str, list[float]] = Field(default_factory=dict)
    trials: int = 1


def shown(score: Score) -> list[Block]:
    """Return the resonances, how they were fitted, and the spectrum."""
    found = SpectrumDetails.of(score)
    if not found.spectrum:
        return []
    blocks: list[Block] = [_resonances(found) if found.resonances else Text("No resonance was found.")]
    if found.window:
        blocks.append(_window(found.window, found.unit))
    said = f"Background: exp of a {found.background}; shape of the peaks: {found.shape}."
    if found.resonances:
        said += " All have one relative width." if found.one_width else " Each has a width of its own."
    if found.left:
        said += (
            f" Largest further bump: {found.left['mass']:.4g} {found.unit}, {found.left['z']:.1f} σ locally, "
            f"global p-value {probability(found.left['p_global'])}."
        )
    blocks.append(Text(f"{said} p-value of the fit: {probability(found.fit_p)}. Trials: {found.trials}."))
    return [
        *blocks,
        Plot("spectrum", FITTED, lambda: draw(found.spectrum, found.unit), _data(found)),
    ]


def _resonances(found: SpectrumDetails) -> Table:
    rows = [
        (
            measured(r["mass"], r["mass_error"], found.unit),
            measured(r["n_signal"], r["n_signal_error"]),
            measured(100 * r["width"], 100 * r["width_error"], "%"),
            significance(r["z"]),
            probability(r["p_global"]),
        )
        for r in found.resonances
    ]
    head = ("mass", "events", "relative width", "local σ", "global p-value")
    note = "Errors contain the choice of the background function, not the scale of the masses."
    return Table("Resonances", head, rows, note=note)


def _window(window: Mapping[str, Any], unit: str) -> Numbers:
    low, high = window["window"]
    each = [
        Number(name="observed", value=window["observed"]),
        Number(name="background", value=window["background"], error=window["background_error"]),
        Number(name="significance", value=window["z"], kind="significance"),
        Number(name="p_value", label="p-value", value=window["p_value"], kind="probability"),
    ]
    return Numbers(each, f"Window {low:g} to {high:g} {unit}, chosen beforehand")


def _data(found: SpectrumDetails) -> Data | None:
    columns = {"events": "count", "fit": "fit", "background": "smooth"}
    return table_of("spectrum", FITTED, ("mass", found.unit), found.spectrum, columns, ["events"])


def draw(spectrum: Mapping[str, Any], unit: str) -> Figure | None:
    """Plot counts and fit above, deviations from the background below."""
    edges = numbers(spectrum.get("edges"))
    if edges is None or len(edges) < 3:
        return None
    counts, fit, smooth = (numbers(spectrum.get(name), len(edges) - 1) for name in ("count", "fit", "smooth"))
    if counts is None or fit is None or smooth is None:
        return None
    middle, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    density, error = counts / widths, np.sqrt(counts) / widths
    with styled():
        drawn = Figure(figsize=(6.4, 5.2), layout="constrained")
        upper, lower = drawn.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.errorbar(middle, density, error, widths / 2, fmt="o", ms=3, lw=0.8, color="black", label="events")
        upper.stairs(fit / widths, edges, baseline=None, color=RED, label="fit")
        upper.stairs(smooth / widths, edges, baseline=None, color=BLUE, label="background")
        if density.max() > 30 * np.median(density[density > 0]):
            upper.set_yscale("log")
        upper.legend(loc="upper right")
        labels(upper, "", f"events / {unit}")
        scale = np.sqrt(np.maximum(smooth, 1.0))
        lower.bar(middle, (counts - smooth) / scale, width=widths, color=PALE, zorder=2)
        lower.stairs((fit - smooth) / scale, edges, color=RED, zorder=3)
        lower.axhline(0, color="black", lw=0.8)
        lower.set_xlim(edges[0], edges[-1])
        labels(lower, f"mass [{unit}]", r"$(n-b)/b^{1/2}$", y_at="center")
        return drawn
