"""How a task is carried out by fixed rules: what the built-in analyst and the controls of a study follow.

A policy is asked exactly what a model is asked, and answers in the same terms: a plan, the next call of a step, a
claim. No language model is involved.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from tasks.claim import Claim
from tasks.plan import Plan

Context = dict[str, Any]  # what the crew tells an agent: facts, history, step ...
Answer = dict[str, Any]  # what a call came back with


class Call(NamedTuple):
    """The next call of a worker: a tool of the task, or one of the three below."""

    name: str
    arguments: dict[str, Any]


def submit(**arguments: Any) -> Call:
    """Hand in, in the form of the task's submission."""
    return Call("submit", arguments)


def run_python(name: str, code: str, values: dict[str, Any]) -> Call:
    """Write a Python file and run it; `values` become constants at its head."""
    header = "".join(f"{constant} = {value!r}\n" for constant, value in values.items())
    return Call("run_python", {"name": name, "code": header + code})


def finish(summary: str, ok: bool | None = None) -> Call:
    """End the step with what was found; `ok=False` when its goal was not reached."""
    return Call("finish", {"summary": summary} | ({} if ok is None else {"ok": ok}))


def printed(answer: Answer) -> Call:
    """End a step whose Python file has run: its output is what was found."""
    good = answer["exit_code"] == 0
    return finish((answer["stdout"] if good else answer["stderr"])[-1500:], good)


def graded(context: Context) -> list[dict[str, Any]]:
    """The verdicts of the history that have a value."""
    return [entry for entry in context["history"] if entry["value"] is not None]


def best(context: Context) -> dict[str, Any] | None:
    """The best verdict so far."""
    return max(graded(context), key=lambda entry: entry["value"], default=None)


class Policy:
    """The base: a step makes its planned calls in order, submits if it should, and says what the calls returned."""

    def plan(self, context: Context, seed: int) -> Plan:
        """The analyst's plan of an iteration. `seed`: that of the request, so that repeats of a run differ."""
        raise NotImplementedError

    def draw(self, context: Context, rng: random.Random) -> Plan:
        """A plan made at random, for the control that searches blindly; by default the first one with another seed."""
        return self.plan(context | {"iteration": 0, "history": [], "observations": []}, rng.randrange(2**31))

    def act(self, context: Context, answers: Sequence[Answer]) -> Call:
        """The next call of a step after these answers; a failed call ends the step."""
        failed = next((answer["error"] for answer in answers if "error" in answer), None)
        if failed:
            return finish(f"{failed['field']}={failed['value']}: {failed['allowed']}", ok=False)
        calls = context["step"]["calls"]
        if len(answers) < len(calls):
            return Call(calls[len(answers)]["tool"], calls[len(answers)]["arguments"])
        return self.conclude(context, answers[: len(calls)], answers[len(calls) :])

    def conclude(self, context: Context, results: Sequence[Answer], later: Sequence[Answer]) -> Call:
        """The next call once the planned ones have their `results`; `later`: what the calls after them returned."""
        if context["step"]["submits"] and not later:
            return submit(**self.submission(context, results))
        return finish(self.summary(results) or "done")

    def submission(self, context: Context, results: Sequence[Answer]) -> dict[str, Any]:
        """The arguments of `submit` in a step that hands in."""
        raise NotImplementedError

    def summary(self, results: Sequence[Answer]) -> str:
        """The numbers that matter of what the planned calls returned."""
        warnings = [answer["result"]["warning"] for answer in results if answer.get("result", {}).get("warning")]
        return "; ".join(f"warning: {warning}" for warning in warnings)

    def claim(self, context: Context) -> Claim:
        """The answer to the request; where nothing was graded, that nothing can be said."""
        if best(context) is None:
            reasons = "; ".join(entry["reason"] for entry in context["history"])
            return self.nothing(f"Nothing valid was handed in, so nothing can be said. {reasons}".strip())
        return self.answer(context)

    def answer(self, context: Context) -> Claim:
        """The claim where something was graded."""
        raise NotImplementedError

    def nothing(self, text: str) -> Claim:
        """The claim that nothing can be said."""
        return Claim(text=text)
