"""The analyst's way with a mass spectrum: fit all of it; if that describes it badly, fit less of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from tasks.claim import Claim, Measured, Measurement
from tasks.plan import Plan, PlannedCall, Step
from tasks.policy import Answer, Context, Policy, best
from tasks.spectrum.grader import ENOUGH
from tasks.writing import measured, probability

NARROWER = (1.0, 0.8, 0.6, 0.4)  # factor of the logarithmic range on either side of the masses searched, by iteration


class SpectrumPolicy(Policy):
    """Hunt in a range, and hand the range in."""

    def plan(self, context: Context, seed: int) -> Plan:
        found = best(context)
        if found and found["value"] >= ENOUGH:
            return Plan(reasoning="The fit describes the spectrum, so no other range can gain anything.", stop=True)
        iteration = min(context["iteration"], len(NARROWER) - 1)
        return _plan(context["facts"], NARROWER[iteration], seed)

    def draw(self, context: Context, rng: random.Random) -> Plan:
        """Return a plan with a random range."""
        return _plan(context["facts"], rng.uniform(NARROWER[-1], NARROWER[0]), rng.randrange(2**31))

    def submission(self, context: Context, results: Sequence[Answer]) -> dict[str, Any]:
        made = context["step"]["calls"][0]["arguments"]
        return {name: made[name] for name in ("fit_range", "width") if name in made} | {"method": "spectrum.hunt"}

    def summary(self, results: Sequence[Answer]) -> str:
        return "; ".join(_said(answer["result"]) for answer in results if "resonances" in answer.get("result", {}))

    def answer(self, context: Context) -> Measurement:
        found = best(context)
        assert found
        details = found["details"]
        numbers = {name: Measured(**each) for name, each in details.get("numbers", {}).items()}
        return Measurement(numbers=numbers, text=_answer(details, context["facts"]))

    def nothing(self, text: str) -> Claim:
        return Measurement(text=text)


def _plan(facts: dict[str, Any], share: float, seed: int) -> Plan:
    low, high = facts["fit_range"]
    inner = facts.get("search_range") or (low * (high / low) ** 0.3, low * (high / low) ** 0.7)
    edges = inner[0] * (low / inner[0]) ** share, inner[1] * (high / inner[1]) ** share
    fit_range = [float(f"{edge:.4g}") for edge in edges]
    names = ("events", "unit", "sqrt_s", "width")
    arguments = {name: facts[name] for name in names if name in facts} | {"fit_range": fit_range, "seed": seed}
    if "search_range" in facts:
        arguments["search"] = facts["search_range"]
    step = Step(
        id="hunt",
        goal=f"Fit the spectrum from {fit_range[0]:g} to {fit_range[1]:g} {facts['unit']} and list all resonances.",
        calls=[PlannedCall(tool="spectrum.hunt", arguments=arguments)],
        submits=True,
    )
    reasoning = "The wider the range, the better the background is known, as long as a smooth function describes it."
    return Plan(reasoning=reasoning, steps=[step])


def _said(result: dict[str, Any]) -> str:
    """Summarise the key numbers of one hunt."""
    unit = result["unit"]
    each = [
        f"{measured(r['mass'], r['mass_error'], unit)}: {measured(r['n_signal'], r['n_signal_error'])} events, "
        f"z = {r['z']:.1f}"
        for r in result["resonances"]
    ]
    return (
        f"{'; '.join(each) or 'no resonance'}; background {result['background']}, p-value of the fit {result['fit_p']}"
    )


def _answer(details: dict[str, Any], facts: dict[str, Any]) -> str:
    """Return the answer in words."""
    unit, level = details["unit"], facts["discovery_below_p_global"]
    resonances, left = details.get("resonances", []), details.get("left")
    if not resonances:
        nothing = "No resonance is found in this spectrum."
        if left is None:
            return nothing
        return (
            f"{nothing} The largest bump, at {left['mass']:.4g} {unit}, has a global p-value of {left['p_global']:.2g}."
        )
    said = []
    for r in resonances:
        how = "" if r["p_global"] < level else f", which is no discovery (global p-value {probability(r['p_global'])})"
        mass, events = measured(r["mass"], r["mass_error"], unit), measured(r["n_signal"], r["n_signal_error"])
        said.append(f"{events} events at {mass}{how}")
    poor = details.get("fit_p") is not None and details["fit_p"] < 0.01
    warned = " No fit describes the spectrum well, so do not trust the errors." if poor else ""
    return f"{len(said)} resonance{'s' * (len(said) > 1)}: {'; '.join(said)}.{warned}"
