"""The analyst's way with an open question: counts, means, widths and histograms of columns, compared between groups.

It follows the options of the task, not the words of the request, and says that it does nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from tasks.claim import Claim, Measured, Measurement
from tasks.open.script import CODE
from tasks.plan import Plan, PlannedCall, Step
from tasks.policy import Answer, Call, Context, Policy, best, printed, run_python
from tasks.writing import measured

SCRIPT, OUT = "analysis.py", "answer.json"
MOST = 12  # columns that are described if none is asked about
SIGMAS = {3.0: "they differ by more than three errors", 2.0: "they differ by two to three errors"}
AGREE = "they agree within two errors"
LIMITS = "Nothing else was done: no fit, no separation of signal and background, no systematic error."


class OpenPolicy(Policy):
    """One script, repeated and handed in."""

    def plan(self, context: Context, seed: int) -> Plan:
        if best(context):
            reasoning = "The rules know one script for this, so another iteration would hand in the same."
            return Plan(reasoning=reasoning, stop=True)
        facts = context["facts"]
        arguments = {"script": SCRIPT, "data": facts["events"], "resamples": facts["resamples"], "out": OUT}
        step = Step(
            id="describe",
            goal=f"Count, average and draw {', '.join(columns(facts))}{_by(facts)}; repeat that, and hand it in.",
            calls=[PlannedCall(tool="analysis.repeat", arguments=arguments)],
            submits=True,
        )
        reasoning = "The rules know counts, means, widths, their differences between groups, and histograms."
        return Plan(reasoning=reasoning, steps=[step])

    def draw(self, context: Context, rng: random.Random) -> Plan:
        """Return the same plan: there is nothing to draw."""
        return self.plan(context | {"history": []}, 0)

    def act(self, context: Context, answers: Sequence[Answer]) -> Call:
        """Write the script before the planned call."""
        facts = context["facts"]
        if not answers:
            values: dict[str, Any] = {"COLUMNS": columns(facts), "LOG": bool(facts.get("log"))}
            values |= {name.upper(): facts.get(name) for name in ("groups", "unit", "weights")}
            return run_python(SCRIPT, CODE, values)
        if answers[0].get("exit_code", 0) != 0:
            return printed(answers[0])
        return super().act(context, [each for each in answers if "exit_code" not in each])

    def submission(self, context: Context, results: Sequence[Answer]) -> dict[str, Any]:
        return {"answer": OUT, "method": "means, widths and histograms by fixed rules"}

    def summary(self, results: Sequence[Answer]) -> str:
        found = next((each["result"] for each in results if "numbers" in each.get("result", {})), None)
        if not found:
            return ""
        each = [f"{name} = {measured(n['value'], n['error'])}" for name, n in found["numbers"].items()]
        return "; ".join(each)

    def answer(self, context: Context) -> Measurement:
        found = best(context)
        assert found
        details = found["details"]
        numbers = {name: Measured(**each) for name, each in details["numbers"].items()}
        return Measurement(numbers=numbers, text=_answer(details, context))

    def nothing(self, context: Context, text: str) -> Claim:
        return Measurement(text=text)


def columns(facts: dict[str, Any]) -> dict[str, str]:
    """Return the columns to describe, name -> expression: the one asked about, or the first ones that hold numbers."""
    if column := facts.get("column"):
        return {column: column}
    numeric = [each["name"] for each in facts["columns"] if each["kind"] == "number" and each["name"].isidentifier()]
    return {name: name for name in [each for each in numeric if each != facts.get("weights")][:MOST]}


def _by(facts: dict[str, Any]) -> str:
    groups = facts.get("groups", {})
    return f" for {', '.join(groups)}" if groups else ""


def _answer(details: dict[str, Any], context: Context) -> str:
    """Return the answer in words."""
    said = []
    for each in details["results"]["numbers"]:
        written = (
            f"{each['what']}: {measured(each['value'], each['error'], '' if each['unit'] == '1' else each['unit'])}"
        )
        if each["name"].startswith("mean_"):
            said.append(written)
        elif each["name"].startswith("difference_"):
            pulls = abs(each["value"]) / each["error"] if each["error"] else 0.0
            said.append(f"{written}; {next((words for least, words in SIGMAS.items() if pulls > least), AGREE)}")
    checks = context.get("confirmed") or best(context)
    warned = "" if checks and checks["value"] == 1 else " Not all checks hold, so do not trust every number."
    text = ". ".join(each[0].upper() + each[1:] for each in said)
    return f"{text}. {LIMITS}{warned}"
