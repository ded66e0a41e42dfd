"""How the analyst reports: the best graded submission's numbers, and what they do and do not say."""

from __future__ import annotations

from typing import Any

from tasks.score import Claim


def claim(context: dict[str, Any]) -> Claim:
    graded = [entry for entry in context["history"] if entry["value"] is not None]
    if not graded:
        reasons = "; ".join(entry["reason"] for entry in context["history"])
        return Claim(discovery=False, text=f"No valid scores were handed in, so nothing can be said. {reasons}")
    best = max(graded, key=lambda entry: entry["value"])
    numbers = best["details"]
    found = numbers["p_global"] < context["facts"]["discovery_below_p_global"]
    trials = f"{numbers['trials']} trials (masses, cuts and {len(graded)} graded submissions) are accounted for"
    mass = f"{numbers['mass']:.3f} +- {numbers['mass_error']:.3f} TeV"
    if not found:
        return Claim(
            discovery=False,
            p_value=numbers["p_global"],
            text=f"No significant resonance. The largest excess is at {mass} with a local p-value of "
            f"{numbers['p_local']:.2g}; {trials}, which leaves a global p-value of {numbers['p_global']:.2g}.",
        )
    return Claim(
        discovery=True,
        mass=numbers["mass"],
        mass_error=numbers["mass_error"],
        n_signal=numbers["n_signal"],
        n_signal_error=numbers["n_signal_error"],
        p_value=numbers["p_global"],
        text=f"A narrow resonance at {mass} with {numbers['n_signal']:.0f} +- {numbers['n_signal_error']:.0f} signal "
        f"events in the data, global p-value {numbers['p_global']:.2g}; {trials}. The signal count extrapolates the "
        "part that scores like background; it assumes a narrow width, and a signal that separates like simulated ones.",
    )
