"""The page of a mass spectrum in report and viewer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tasks.page import Block, Numbers, Plot, Table, Text
from tasks.plotting import BLUE, PALE, RED, labels, numbers, styled
from tasks.score import Number, Score
from tasks.spectrum.details import SpectrumDetails
from tasks.spectrum.reach_page import reached
from tasks.writing import measured, probability, significance
from tools.publication import Column, Data

FITTED = "Mass spectrum with the harness's fit."
DRAWN = ("low", "high", "count", "error", "fit", "smooth")
GAP = "A selection has emptied the masses from {:.5g} to {:.5g} {}: they are left out of all fits."
ROUNDED = "Masses were rounded to {:g} {}: they were spread evenly over these steps."
UNSEEN = "Nobody has seen the events from {:g} to {:g} {}: no input of this run has them. To open them: unblind=true."
OPENED = (
    "The blind window was opened here, by the harness, after all choices had been made on the other events; no agent "
    "chose anything afterwards. It was one choice, so its p-values count no others."
)


def shown(score: Score) -> list[Block]:
    """Return the resonances, how they were fitted, and the spectrum."""
    found = SpectrumDetails.of(score)
    if not found.spectrum:
        return []
    blocks: list[Block] = [_resonances(found) if found.resonances else Text("No resonance was found.")]
    if found.window:
        blocks.append(_window(found.window, found.unit))
    if found.blind:
        blocks.append(Text(UNSEEN.format(*found.blind, found.unit)))
    for low, high in found.left_out:
        if (low, high) != found.blind:
            blocks.append(Text(GAP.format(low, high, found.unit)))
    if found.step:
        blocks.append(Text(ROUNDED.format(found.step, found.unit)))
    if found.opened:
        blocks.append(Text(OPENED))
    if found.effective_events is not None:
        said = f"Events are weighted: the fits are those of {found.effective_events:.0f} effective events"
        blocks.append(Text(f"{said}, and numbers of events are sums of weights."))
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
        *reached(found),
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
    background = Number(name="background", value=window["background"], error=window["background_error"])
    if window["observed"] is None:
        needed = [Number(name=f"signal for {k} σ", value=window[f"for_{k}_sigma"]) for k in (3, 5)]
        return Numbers([background, *needed], f"Expected in the blind window, {low:g} to {high:g} {unit}")
    each = [
        Number(name="observed", value=window["observed"]),
        background,
        Number(name="significance", value=window["z"], kind="significance"),
        Number(name="p_value", label="p-value", value=window["p_value"], kind="probability"),
    ]
    return Numbers(each, f"Window {low:g} to {high:g} {unit}, chosen beforehand")


def _data(found: SpectrumDetails) -> Data | None:
    spectrum = found.spectrum
    if not all(len(spectrum.get(name, [])) == len(spectrum["count"]) for name in DRAWN):
        return None
    mass = Column("mass", list(zip(spectrum["low"], spectrum["high"], strict=True)), found.unit)
    events = Column("events", spectrum["count"], errors={"statistical": spectrum["error"]})
    fits = [Column("fit", spectrum["fit"]), Column("background", spectrum["smooth"])]
    return Data("spectrum", FITTED, [mass], [events, *fits])


def draw(spectrum: Mapping[str, Any], unit: str) -> Figure | None:
    """Plot counts and fit above, deviations from the background below; blind masses stay empty."""
    low = numbers(spectrum.get("low"))
    if low is None or len(low) < 2:
        return None
    given = [each for name in DRAWN[1:] if (each := numbers(spectrum.get(name), len(low))) is not None]
    if len(given) < len(DRAWN) - 1:
        return None
    high, *heights = given
    gaps = 1 + np.flatnonzero(high[:-1] < low[1:])
    edges = np.append(np.insert(low, gaps, high[gaps - 1]), high[-1])
    counts, errors, fit, smooth = (np.insert(each, gaps, np.nan) for each in heights)
    middle, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    density, error = counts / widths, errors / widths
    with styled():
        drawn = Figure(figsize=(6.4, 5.2), layout="constrained")
        upper, lower = drawn.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.errorbar(middle, density, error, widths / 2, fmt="o", ms=3, lw=0.8, color="black", label="events")
        upper.stairs(fit / widths, edges, baseline=None, color=RED, label="fit")
        upper.stairs(smooth / widths, edges, baseline=None, color=BLUE, label="background")
        if np.nanmax(density) > 30 * np.median(density[density > 0]):
            upper.set_yscale("log")
        upper.legend(loc="upper right")
        labels(upper, "", f"events / {unit}")
        scale = np.sqrt(np.maximum(smooth, 1.0) * np.nansum(errors**2) / np.nansum(counts))  # as their weights have it
        lower.bar(middle, (counts - smooth) / scale, width=widths, color=PALE, zorder=2)
        lower.stairs((fit - smooth) / scale, edges, color=RED, zorder=3)
        lower.axhline(0, color="black", lw=0.8)
        lower.set_xlim(edges[0], edges[-1])
        labels(lower, f"mass [{unit}]", "(n - b) / error", y_at="center")
        return drawn
