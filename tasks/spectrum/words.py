"""The analyst's answer in words."""

from __future__ import annotations

from typing import Any

from tasks.writing import measured, probability


def answer(details: dict[str, Any], facts: dict[str, Any]) -> str:
    """Return what was found and, if asked for, what was expected and how far the search reaches."""
    parts = [_blind(details)] if details.get("blind") else [_found(details, facts["discovery_below_p_global"])]
    if details.get("opened"):
        parts.insert(0, _opened(details))
    if details.get("limit_at"):
        parts.append(_limit(details))
    if details.get("injected"):
        parts.append(injected(details))
    if details.get("fit_p") is not None and details["fit_p"] < 0.01:
        parts.append("No fit describes the spectrum well, so do not trust the errors.")
    return " ".join(parts)


def _found(details: dict[str, Any], level: float) -> str:
    unit, resonances, left = details["unit"], details.get("resonances", []), details.get("left")
    if not resonances:
        nothing = "No resonance is found in this spectrum."
        if left is None:
            return nothing
        at = f"at {left['mass']:.4g} {unit}, has a global p-value of {left['p_global']:.2g}"
        return f"{nothing} The largest bump, {at}."
    said = []
    for r in resonances:
        how = "" if r["p_global"] < level else f", which is no discovery (global p-value {probability(r['p_global'])})"
        mass, events = measured(r["mass"], r["mass_error"], unit), measured(r["n_signal"], r["n_signal_error"])
        said.append(f"{events} events at {mass}{how}")
    return f"{len(said)} resonance{'s' * (len(said) > 1)}: {'; '.join(said)}."


def _blind(details: dict[str, Any]) -> str:
    window, unit = details["window"], details["unit"]
    low, high = window["window"]
    expected = measured(window["background"], window["background_error"])
    return (
        f"Nobody has looked between {low:g} and {high:g} {unit}. The masses beside predict {expected} events there; "
        f"{window['for_3_sigma']:.0f} signal events are expected to give 3 standard deviations, "
        f"{window['for_5_sigma']:.0f} to give 5."
    )


def _opened(details: dict[str, Any]) -> str:
    window, unit = details["window"], details["unit"]
    low, high = window["window"]
    expected = measured(window["background"], window["background_error"])
    return (
        f"After all choices had been made, the window {low:g} to {high:g} {unit} was opened: {window['observed']:.0f} "
        f"events, {expected} expected, a local significance of {window['z']:.1f}."
    )


def _limit(details: dict[str, Any]) -> str:
    at, unit = details["limit_at"], details["unit"]
    of, what = ("_fb", " fb") if "expected_fb" in at else ("", " signal events")
    band = f"{at[f'expected{of}']:.3g} (68%: {at[f'expected_minus_1{of}']:.3g} to {at[f'expected_plus_1{of}']:.3g})"
    seen = f"observed {at[f'observed{of}']:.3g}, " if f"observed{of}" in at else ""
    level, width = 100 * details["limit_level"], 100 * details["limit_width"]
    return (
        f"The tightest {level:g}% upper limit on a resonance {width:.2g}% wide is at {at['mass']:.4g} {unit}: "
        f"{seen}expected {band}{what}.{_worst(details)}"
    )


def _worst(details: dict[str, Any]) -> str:
    """Return which source of error raises the limit most."""
    at, impacts = details["limit_at"], details.get("impacts")
    if not impacts:
        return ""
    name = min(impacts, key=lambda each: impacts[each]["expected"])
    raised = at["expected"] / impacts[name]["expected"] - 1
    return (
        f" Of {len(impacts)} sources of error {name} matters most: it raises the expected limit by {100 * raised:.1f}%."
    )


def injected(details: dict[str, Any]) -> str:
    """Return what became of injected resonances."""
    each = [
        f"{row['n_signal']:.3g} events at {row['mass']:.4g} {details['unit']} in {row['found']} of {row['toys']} toys"
        for row in details["injected"]
    ]
    return f"The same search would have found {'; '.join(each)}."
