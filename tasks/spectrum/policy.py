"""The analyst's way with a mass spectrum: fit all of it; if that describes it badly, fit less of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from tasks.claim import Claim, Measured, Measurement
from tasks.plan import Plan, PlannedCall, Step
from tasks.policy import Answer, Context, Policy, best
from tasks.spectrum.grader import ENOUGH
from tasks.spectrum.words import answer
from tasks.writing import measured

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
        found = context.get("confirmed") or best(context)
        assert found
        if found["value"] is None:
            return Measurement(text=f"The blind window could not be opened: {found['reason']}")
        details = found["details"]
        numbers = {name: Measured(**each) for name, each in details.get("numbers", {}).items()}
        return Measurement(numbers=numbers, text=answer(details, context["facts"]))

    def nothing(self, text: str) -> Claim:
        return Measurement(text=text)


def _plan(facts: dict[str, Any], share: float, seed: int) -> Plan:
    low, high = facts["fit_range"]
    inner = facts.get("blind") or facts.get("search_range") or (low * (high / low) ** 0.3, low * (high / low) ** 0.7)
    edges = inner[0] * (low / inner[0]) ** share, inner[1] * (high / inner[1]) ** share
    fit_range = [float(f"{edge:.4g}") for edge in edges]
    names = ("events", "unit", "sqrt_s", "width", "weights", "blind")
    arguments = {name: facts[name] for name in names if name in facts} | {"fit_range": fit_range, "seed": seed}
    if "search_range" in facts and "blind" not in facts:
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
