"""The analyst's way with a mass spectrum: fit all of it; if that describes it badly, fit less of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from tasks.claim import Claim, Measured, Measurement
from tasks.plan import Plan, PlannedCall, Step
from tasks.policy import Answer, Call, Context, Policy, best
from tasks.spectrum.grader import ENOUGH
from tasks.spectrum.reach import points
from tasks.spectrum.words import answer, injected
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

    def conclude(self, context: Context, results: Sequence[Answer], later: Sequence[Answer]) -> Call:
        """Inject resonances at multiples of the limits that were set, if that is asked for."""
        facts, step = context["facts"], context["step"]
        if step["id"] != "reach" or later or "injections" not in facts:
            return super().conclude(context, [*results, *later], later)
        limits = results[0]["result"]["limits"]
        columns = {"mass": [each["mass"] for each in limits], "expected": [each["expected"][2] for each in limits]}
        masses, yields = points(columns, (columns["mass"][0], columns["mass"][-1]))
        arguments = _common(facts, ("width",)) | {"fit_range": step["calls"][0]["arguments"]["fit_range"]}
        chosen = {"injected_width": facts["tested_width"], "toys": facts["injections"]}
        return Call("spectrum.inject", arguments | chosen | {"masses": masses, "yields": yields})

    def submission(self, context: Context, results: Sequence[Answer]) -> dict[str, Any]:
        made = context["step"]["calls"][0]["arguments"]
        return {name: made[name] for name in ("fit_range", "width") if name in made} | {"method": "spectrum.hunt"}

    def summary(self, results: Sequence[Answer]) -> str:
        return "; ".join(_said(answer["result"]) for answer in results if "result" in answer)

    def answer(self, context: Context) -> Measurement:
        found = context.get("confirmed") or best(context)
        assert found
        if found["value"] is None:
            return Measurement(text=f"The blind window could not be opened: {found['reason']}")
        details = found["details"]
        numbers = {name: Measured(**each) for name, each in details.get("numbers", {}).items()}
        return Measurement(numbers=numbers, text=answer(details, context["facts"]))

    def nothing(self, context: Context, text: str) -> Claim:
        return Measurement(text=text)


def _plan(facts: dict[str, Any], share: float, seed: int) -> Plan:
    low, high = facts["fit_range"]
    inner = facts.get("blind") or facts.get("search_range") or (low * (high / low) ** 0.3, low * (high / low) ** 0.7)
    edges = inner[0] * (low / inner[0]) ** share, inner[1] * (high / inner[1]) ** share
    fit_range = [float(f"{edge:.4g}") for edge in edges]
    arguments = _common(facts, ("width", "blind")) | {"fit_range": fit_range, "seed": seed}
    hunt = Step(
        id="hunt",
        goal=f"Fit the spectrum from {fit_range[0]:g} to {fit_range[1]:g} {facts['unit']} and list all resonances.",
        calls=[PlannedCall(tool="spectrum.hunt", arguments=arguments)],
        submits=True,
    )
    reasoning = "The wider the range, the better the background is known, as long as a smooth function describes it."
    return Plan(reasoning=reasoning, steps=[hunt, *_reach(facts, fit_range)])


def _common(facts: dict[str, Any], more: tuple[str, ...]) -> dict[str, Any]:
    """Return the arguments that all tools take, and those of the facts in `more`."""
    names = ("events", "unit", "sqrt_s", "weights", *more)
    arguments = {name: facts[name] for name in names if name in facts}
    if "search_range" in facts and "blind" not in facts:
        arguments["search"] = facts["search_range"]
    return arguments


def _reach(facts: dict[str, Any], fit_range: list[float]) -> list[Step]:
    """Return the step that finds out how sensitive the search is, if that is asked for."""
    if not {"limits", "injections"} & set(facts.get("the_harness_adds", ())):
        return []
    arguments = _common(facts, ("blind", "nuisances")) | {"fit_range": fit_range, "width": facts["tested_width"]}
    calls = [PlannedCall(tool="spectrum.limit", arguments=arguments)]
    goal = "Set upper limits against mass" + (", and inject resonances." if "injections" in facts else ".")
    return [Step(id="reach", goal=goal, calls=calls)]


def _said(result: dict[str, Any]) -> str:
    """Summarise the key numbers of one call."""
    unit = result["unit"]
    if "limits" in result:
        at = min(result["limits"], key=lambda each: each["expected"][2])
        seen = "" if at["observed"] is None else f", observed {at['observed']:.3g}"
        return f"the tightest limit is expected at {at['mass']:.4g} {unit}: {at['expected'][2]:.3g} events{seen}"
    if "injected" in result:
        return injected(result)
    each = [
        f"{measured(r['mass'], r['mass_error'], unit)}: {measured(r['n_signal'], r['n_signal_error'])} events, "
        f"z = {r['z']:.1f}"
        for r in result["resonances"]
    ]
    return (
        f"{'; '.join(each) or 'no resonance'}; background {result['background']}, p-value of the fit {result['fit_p']}"
    )
