"""The analyst's answer: from the unseen events, or from the best submission if no events are held out."""

from __future__ import annotations

from typing import Any

from tasks.lhco.claims import SearchClaim
from tasks.lhco.known import around, option
from tasks.policy import best
from tasks.writing import measured

LIMITS = (
    "Their number extrapolates the part that scores like background, for a signal that separates like simulated dijet "
    "resonances."
)
BEYOND = 2.87e-7  # smaller p-values come from a formula, not from pseudo-experiments


def answer(context: dict[str, Any]) -> SearchClaim:
    """Return the claim when something was graded."""
    confirmed = context.get("confirmed")
    judged = confirmed or best(context)
    assert judged
    unit = context["facts"]["unit"]
    if judged["value"] is None:
        return SearchClaim(discovery=False, unit=unit, text=f"Nothing can be claimed: {judged['reason']}")
    numbers = judged["details"]
    variable = numbers.get("variable", "mjj")
    p_value, mass = numbers["p_global"], measured(numbers["mass"], numbers["mass_error"], unit)
    if confirmed:
        low, high = numbers["window"]
        basis = (
            f"The window, {low:g} to {high:g} {unit}, was chosen on the other events; the p-value counts all masses, "
            "widths and cuts that were tested in it."
        )
        limit = (
            f" At most {numbers['upper_limit']:.0f} signal events at {numbers['limit_mass']:.4g} {unit}, the mass "
            "chosen on the other events, are among the unseen ones behind the cut (95% CL)."
        )
    else:
        basis = f"The local p-value is {numbers['p_local']:.2g}; {numbers['trials']} trials are accounted for."
        limit = ""
    quoted_p = f"{p_value:.2g}" if p_value > BEYOND else f"below {BEYOND:g} (more than five standard deviations)"
    if p_value >= context["facts"]["discovery_below_p_global"]:
        nearest = f"The excess nearest to one is at {mass}, p-value {quoted_p}."
        text = f"No significant resonance in {variable}. {nearest} {basis}{limit}"
        return SearchClaim(discovery=False, p_value=p_value, unit=unit, text=text)
    wide, spread = (100 * numbers[name] for name in ("width", "width_error"))
    width = f"{wide:.1f} +- {spread:.1f}%" if spread else f"{wide:.1f}% (as given)"
    behind = f"{numbers['passing']:.0f} +- {numbers['passing_error']:.0f}"
    count = f"{numbers['n_signal']:.0f} +- {numbers['n_signal_error']:.0f}"
    if "signal_fraction" in numbers:
        share, error = 100 * numbers["signal_fraction"], 100 * numbers["signal_fraction_error"]
        count += f" ({share:.2f} +- {error:.2f}% of the events)"
    return SearchClaim(
        discovery=True,
        mass=numbers["mass"],
        mass_error=numbers["mass_error"],
        n_signal=numbers["n_signal"],
        n_signal_error=numbers["n_signal_error"],
        p_value=p_value,
        unit=unit,
        text=f"A resonance in {variable} at {mass}, {width} wide, p-value {quoted_p}: {behind} signal events behind "
        f"the cut, {count} in the data. {basis} {LIMITS}{_others(context['facts'], numbers)}",
    )


def _others(facts: dict[str, Any], numbers: dict[str, Any]) -> str:
    """Say how to look for more resonances beside a claimed one, where a task can."""
    if "known" not in facts:
        return ""
    known = option([*facts["known"], around(numbers["mass"], numbers["width"])])
    return f" To look for others beside it, leave its masses out: the same command with {known}."
