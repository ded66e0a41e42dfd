"""How the analyst works: the planned calls in order, then what the step is for: submit, choose, or a cut study."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from agents.backends.analyst import showers, tagging, unfolding
from agents.backends.analyst.study import CUT_STUDY
from agents.backends.base import Message, ToolCall


def act(context: dict[str, Any], conversation: Sequence[Message]) -> Message:
    """The next message, from the step and from what has come back so far."""
    step = context["step"]
    answers = [json.loads(message.content) for message in conversation if message.role == "tool"]
    calls, n = step["calls"], len(answers)
    failed = next((answer["error"] for answer in answers if "error" in answer), None)
    if failed:
        return _call(n, "finish", {"summary": f"{failed['field']}={failed['value']}: {failed['allowed']}", "ok": False})
    if n < len(calls):
        return _call(n, calls[n]["tool"], calls[n]["arguments"])
    extra = answers[len(calls) :]
    if step["id"] == "choose":
        return _choose(n, context, extra)
    if step["id"] == "cut_study":
        return _cut_study(n, context, extra)
    if step["id"] == unfolding.FIGURE:
        return _figure(n, context, extra)
    if step["id"] in tagging.STEPS:
        return _tag(n, context, answers)
    if step["submits"] and not extra:
        return _call(n, "submit", _submission(calls[-1], calls, answers))
    return _call(n, "finish", {"summary": _summary(answers)})


def _call(n: int, name: str, arguments: dict[str, Any]) -> Message:
    call = ToolCall(id=f"call_{n}", name=name, arguments=json.dumps(arguments, sort_keys=True))
    return Message(role="assistant", tool_calls=(call,))


def _submission(last: dict[str, Any], calls: list[dict[str, Any]], answers: list[dict[str, Any]]) -> dict[str, Any]:
    if last["tool"] == "omnifold.unfold":
        return unfolding.submission(last, answers[-1]["result"])
    if last["tool"] == "calorimeter.judge":
        return showers.submission(calls)
    submission: dict[str, Any] = {
        "scores": "scores.parquet",
        "method": ", ".join(call["tool"] for call in calls),
    }
    if last["tool"] == "bumphunt.measure":  # no window in mjj: the background is a reference, and is scored as well
        return submission | {"reference_scores": last["arguments"]["reference_scores"]}
    return submission | {"window": last["arguments"]["window"]}


def _choose(n: int, context: dict[str, Any], extra: list[dict[str, Any]]) -> Message:
    """Hand in the window with the most significant bump."""
    found = []
    for name, done in context["done"].items():
        for entry in done["results"]:
            if entry["tool"] == "bumphunt.scan":
                best = entry["result"]["cuts"][entry["result"]["best"]]
                found.append((best["z"], name, done["folder"], entry["arguments"]["window"], best["mass"]))
    if not found:
        return _call(n, "finish", {"summary": "no window gave a bump hunt", "ok": False})
    z, name, folder, window, mass = max(found)
    if not extra:
        method = "quick search, most significant of the surveyed windows"
        return _call(n, "submit", {"scores": f"{folder}/scores.parquet", "window": window, "method": method})
    others = ", ".join(f"{w} TeV: {other:.1f}" for other, _, _, w, _ in sorted(found, reverse=True))
    summary = f"{name} is the most significant: z = {z:.1f} at {mass:.3f} TeV. Local z per window: {others}."
    return _call(n, "finish", {"summary": summary})


def _cut_study(n: int, context: dict[str, Any], extra: list[dict[str, Any]]) -> Message:
    """Write and run a Python file that looks at the search step's scores over a range of cuts."""
    search = context["done"]["search"]
    window = next((e["arguments"]["window"] for e in search["results"] if e["tool"] == "bumphunt.scan"), None)
    if window is None:
        return _call(n, "finish", {"summary": "the search gave no scores to study", "ok": False})
    if not extra:
        values = {
            "EVENTS": context["facts"]["events"],
            "SCORES": f"{search['folder']}/scores.parquet",
            "WINDOW": window,
        }
        header = "".join(f"{name} = {value!r}\n" for name, value in values.items())
        return _call(n, "run_python", {"name": "cut_study.py", "code": header + CUT_STUDY})
    return _after(n, extra[-1])


def _figure(n: int, context: dict[str, Any], extra: list[dict[str, Any]]) -> Message:
    """Write and run a Python file that draws the unfolded observables."""
    if not context["done"]["unfold"]["ok"]:
        return _call(n, "finish", {"summary": "nothing was unfolded, so there is nothing to draw", "ok": False})
    if not extra:
        return _call(n, "run_python", {"name": "figure.py", "code": unfolding.figure_code(context)})
    return _after(n, extra[-1])


def _tag(n: int, context: dict[str, Any], answers: list[dict[str, Any]]) -> Message:
    """Write and run a Python file that makes the scores of all numbers of labels, hand them in, say what was found."""
    calls = len(context["step"]["calls"])
    extra = answers[calls:]
    if not extra:
        return _call(n, "run_python", {"name": "scores.py", "code": tagging.code(context)})
    if extra[0]["exit_code"] != 0:
        return _after(n, extra[0])
    if len(extra) == 1:
        return _call(n, "submit", tagging.submission(context))
    said = extra[0]["stdout"][-1000:]
    return _call(n, "finish", {"summary": f"{_summary(answers[:calls])}; {said}" if calls else said})


def _after(n: int, ran: dict[str, Any]) -> Message:
    """A file has run: its output is what was found."""
    good = ran["exit_code"] == 0
    return _call(n, "finish", {"summary": (ran["stdout"] if good else ran["stderr"])[-1500:], "ok": good})


def _summary(answers: list[dict[str, Any]]) -> str:
    """The numbers that matter of what the calls returned."""
    parts = []
    for answer in answers:
        result = answer.get("result", {})
        if "n_unfolded" in result:
            parts.append(unfolding.summary(result))
        if "labels_used" in result:
            parts.append(tagging.summary(result))
        if "auc_observables" in result:
            parts.append(showers.summary(result))
        if "closure_auc" in result:
            parts.append(f"template closure AUC {result['closure_auc']:.3f} +- {result['closure_auc_error']:.3f}")
        if "argos" in result:
            parts.append(f"ARGOS {result['argos']:.3f} +- {result['argos_error']:.3f}")
        if result.get("warning"):
            parts.append(f"warning: {result['warning']}")
        if "cuts" in result:
            best = result["cuts"][result["best"]]
            parts.append(
                f"best cut {best['efficiency']:g}: z = {best['z']:.2f} at {best['mass']:.3f} "
                f"+- {best['mass_error']:.3f} TeV, "
                f"{best['signal']:.0f} +- {best['signal_error']:.0f} signal events pass"
            )
    return "; ".join(parts) or "done"
