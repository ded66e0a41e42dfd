"""The policy of a search: what the analyst and the controls do in each step."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from tasks.lhco import answer, blind, plans
from tasks.lhco.claims import SearchClaim
from tasks.lhco.cut_study import CUT_STUDY
from tasks.plan import Plan
from tasks.policy import Answer, Call, Context, Policy, finish, printed, run_python, submit
from tasks.writing import measured
from tools.bumphunt.spectrum import RANGE

METHOD = "most significant of the windows searched"


class SearchPolicy(Policy):
    """Survey, refine and study the cut; or classify against a reference."""

    def plan(self, context: Context, seed: int) -> Plan:
        return plans.plan(context, seed)

    def draw(self, context: Context, rng: random.Random) -> Plan:
        return blind.draw(context["facts"], context["iteration"], rng)

    def conclude(self, context: Context, results: Sequence[Answer], later: Sequence[Answer]) -> Call:
        if context["step"]["id"] == "choose":
            return _choose(context, later)
        if context["step"]["id"] == "cut_study":
            return _cut_study(context, later)
        return super().conclude(context, results, later)

    def submission(self, context: Context, results: Sequence[Answer]) -> dict[str, Any]:
        calls = context["step"]["calls"]
        made: dict[str, Any] = {"scores": "scores.parquet", "method": ", ".join(call["tool"] for call in calls)}
        last = calls[-1]
        if last["tool"] == "anomaly.survey":
            chosen = _best(results[-1]["result"])
            return {"scores": chosen["scores"], "window": chosen["window"], "method": METHOD}
        if last["tool"] == "bumphunt.measure":  # no window: the background is a reference with scores
            return made | {"reference_scores": last["arguments"]["reference_scores"]}
        return made | {"window": last["arguments"]["window"]}

    def summary(self, results: Sequence[Answer]) -> str:
        return "; ".join(part for answer in results for part in _said(answer.get("result", {})))

    def answer(self, context: Context) -> SearchClaim:
        return answer.answer(context)

    def nothing(self, context: Context, text: str) -> SearchClaim:
        return SearchClaim(discovery=False, unit=context["facts"]["unit"], text=text)


def _choose(context: Context, later: Sequence[Answer]) -> Call:
    """Hand in the window with the most significant bump."""
    found = []
    for name, done in context["done"].items():
        for entry in done["results"]:
            if entry["tool"] == "bumphunt.scan":
                best = entry["result"]["cuts"][entry["result"]["best"]]
                found.append((best["z"], name, done["folder"], entry["arguments"]["window"], best["mass"]))
    if not found:
        return finish("no window has a result of bumphunt.scan", ok=False)
    z, name, folder, window, mass = max(found)
    if not later:
        return submit(scores=f"{folder}/scores.parquet", window=window, method=METHOD)
    unit = context["facts"]["unit"]
    others = ", ".join(f"{w} {unit}: {other:.1f}" for other, _, _, w, _ in sorted(found, reverse=True))
    return finish(f"{name} is the most significant: z = {z:.1f} at {mass:.4g} {unit}. Local z per window: {others}.")


def _cut_study(context: Context, later: Sequence[Answer]) -> Call:
    """Write and run a Python file that studies the scores of the search step over a range of cuts."""
    search = context["done"]["search"]
    window = next((e["arguments"]["window"] for e in search["results"] if e["tool"] == "bumphunt.scan"), None)
    if window is None:
        return finish("the search gave no scores to study", ok=False)
    if later:
        return printed(later[-1])
    scores = f"{search['folder']}/scores.parquet"
    facts = context["facts"]
    mass, unit = facts["mass"].removeprefix("column "), facts["unit"]
    values = {"EVENTS": facts["events"], "SCORES": scores, "WINDOW": window, "COLUMN": mass, "UNIT": unit}
    values["FIT_RANGE"] = facts.get("fit_range", RANGE)
    return run_python("cut_study.py", CUT_STUDY, values)


def _best(survey: dict[str, Any]) -> dict[str, Any]:
    """Return the most significant window of a survey."""
    chosen: dict[str, Any] = survey["windows"][survey["best"]]
    return chosen


def _said(result: dict[str, Any]) -> list[str]:
    """Summarise the key numbers of one call."""
    parts = []
    if "closure_auc" in result:
        parts.append(f"template closure AUC {result['closure_auc']:.3f} +- {result['closure_auc_error']:.3f}")
    if "windows" in result:
        best = _best(result)
        others = ", ".join(
            f"{found['window']}: {found['z']:.1f}" for found in sorted(result["windows"], key=lambda found: -found["z"])
        )
        parts.append(
            f"the window {best['window']} is the most significant: z = {best['z']:.1f} at "
            f"{measured(best['mass'], best['mass_error'])}, p = {result['p_global']:.2g} for all windows. Local z per "
            f"window: {others}"
        )
        parts += [f"warning: {best['warning']}"] if best["warning"] else []
        parts += [f"not searched: {failed}" for failed in result["failed"]]
    if "argos" in result:
        parts.append(f"ARGOS {result['argos']:.3f} +- {result['argos_error']:.3f}")
    if result.get("warning"):
        parts.append(f"warning: {result['warning']}")
    if "cuts" in result:
        best = result["cuts"][result["best"]]
        parts.append(
            f"best cut {best['efficiency']:g}: z = {best['z']:.2f} at "
            f"{measured(best['mass'], best['mass_error'])}, "
            f"{best['signal']:.0f} +- {best['signal_error']:.0f} signal events pass"
        )
    return parts
