"""Limits against mass, and what became of injected resonances, in report and viewer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from tasks.page import Block, Plot, Table, Text
from tasks.plotting import figure, labels, numbers, styled
from tasks.spectrum.details import SpectrumDetails
from tasks.spectrum.reach import BANDS
from tasks.writing import measured
from tools.nuisances import QUANTITIES
from tools.publication import Data, table_of

GREEN, YELLOW = "#00cc00", "#ffcc00"  # as limits are drawn in the field


def reached(found: SpectrumDetails) -> list[Block]:
    """Return limits and injections, as far as they were asked for."""
    blocks: list[Block] = []
    if found.limits:
        blocks += [Text(_assumed(found)), _figure(found, "")]
    if "expected_fb" in found.limits:
        blocks.append(_figure(found, "_fb"))
    if found.nuisances and found.limit_at:
        blocks.append(_systematics(found))
    if found.injected:
        blocks.append(_injected(found))
    return blocks


def _assumed(found: SpectrumDetails) -> str:
    """Return what the limits are for."""
    said = f"Upper limits (CLs, asymptotic, {100 * (found.limit_level or 0):g}%) are for one narrow resonance, "
    said += f"{100 * (found.limit_width or 0):.2g}% wide, on the smooth background; no other resonance is in the model."
    if signal := found.signal:
        efficiency = measured(100 * signal["efficiency"], 100 * signal["efficiency_error"], "%")
        said += f" The simulated signal at {signal['mass']:.4g} {found.unit} is {100 * signal['width']:.2g}% wide and "
        said += f"selected with an efficiency of {efficiency}, which is taken for all masses."
        if "luminosity" not in signal:
            said += " Without a luminosity there are no cross sections."
    return said


def _systematics(found: SpectrumDetails) -> Table:
    """Return each nuisance: what it changes, and the limit without it beside that with it."""
    at, of = found.limit_at, "observed" if "observed" in found.limit_at else "expected"
    signal = found.signal
    per_fb = signal["luminosity"] * signal["efficiency"] if "luminosity" in signal else None
    unit, scale = (" fb", per_fb) if per_fb else (" events", 1.0)
    rows = []
    for each in found.nuisances:
        changed = [_percent(each[quantity]) for quantity in QUANTITIES]
        under = f"±{100 * each['background']:.2g}%" if each["background"] else "–"
        without = found.impacts.get(each["name"], {}).get(of)
        said = "–" if without is None else f"{without / scale:.4g}{unit}"
        raised = "–" if not without else f"{100 * (at[of] / without - 1):+.1f}%"
        rows.append((each["name"], *changed, under, said, f"{at[of] / scale:.4g}{unit}", raised))
    head = ("source", *QUANTITIES, "background", "limit without it", "limit with all", "its effect")
    note = f"Changes at -1 and +1 standard deviations; the {of} limit at {at['mass']:.4g} {found.unit}. "
    note += "Each source is a nuisance parameter of the fit, profiled together with the background."
    if found.signal and not per_fb:
        note += " Without a luminosity the limit is on events, which no efficiency changes."
    return Table("Systematic uncertainties", head, rows, note=" ".join([note, *found.notes]))


def _percent(factors: Sequence[float]) -> str:
    down, up = (round(100 * (factor - 1), 3) for factor in factors)
    return "–" if down == up == 0 else f"{down:+.2g}%, {up:+.2g}%"


def _figure(found: SpectrumDetails, of: str) -> Plot:
    what = "cross section" if of else "number of signal events"
    caption = f"Upper limits on the {what} of a narrow resonance: observed, and expected with its 68 and 95% bands."
    if "observed" not in found.limits:
        caption = f"Expected upper limits on the {what} of a narrow resonance, with their 68 and 95% bands."
    unit = "fb" if of else ""
    columns = {name.replace("_", " ") + (f" [{unit}]" if unit else ""): name + of for name in ("observed", *BANDS)}
    data = table_of(f"limits{of}", caption, ("mass", found.unit), found.limits, columns, points="mass")
    return Plot(f"limits{of}", caption, lambda: draw(found.limits, found.unit, of), _kept(data))


def _kept(data: Data | None) -> Data | None:
    return data if data and data.columns else None


def draw(limits: Mapping[str, Any], unit: str, of: str) -> Figure | None:
    """Plot limits against mass; `of`: "" for events, "_fb" for cross sections."""
    mass = numbers(limits.get("mass"))
    if mass is None or len(mass) < 2:
        return None
    bands = [numbers(limits.get(name + of), len(mass)) for name in BANDS]
    seen = numbers(limits.get("observed" + of), len(mass))
    if any(each is None for each in bands):
        return None
    lowest, low, middle, high, highest = (each for each in bands if each is not None)
    with styled():
        drawn, axes = figure(6.4, 4.2)
        axes.fill_between(mass, lowest, highest, color=YELLOW, lw=0, label="95% expected")
        axes.fill_between(mass, low, high, color=GREEN, lw=0, label="68% expected")
        axes.plot(mass, middle, "k--", label="median expected")
        if seen is not None:
            axes.plot(mass, seen, "k-o", ms=3, label="observed")
        axes.set_yscale("log")
        axes.set_xlim(mass[0], mass[-1])
        axes.legend()
        labels(axes, f"mass [{unit}]", "cross section limit [fb]" if of else "limit on signal events")
        return drawn


def _injected(found: SpectrumDetails) -> Table:
    rows = []
    for each in found.injected:
        pulls = [
            f"{each[f'{of}_pull_mean']:+.2f}, {each[f'{of}_pull_width']:.2f}"
            if each[f"{of}_pull_width"] is not None
            else "–"
            for of in ("mass", "yield")
        ]
        bias = "–" if each["yield_bias"] is None else f"{each['yield_bias']:+.3g}"
        share = f"{each['found']} of {each['toys']}"
        rows.append((f"{each['mass']:.4g} {found.unit}", f"{each['n_signal']:.3g}", share, bias, *pulls))
    head = ("true mass", "true events", "found", "bias of events", "mass pull: mean, width", "yield pull: mean, width")
    note = (
        "Resonances injected into toys of the fitted background and searched as the data are; found: a global p-value "
        "below 0.001 near the true mass. Weak resonances are found where the background fluctuates upward, so their "
        "yields are biased."
    )
    return Table("What the search would have found", head, rows, note=note)
