"""Policies: fixed rules for carrying out a task, followed by the built-in analyst and the controls of a study.

A policy is asked exactly what a model is asked, and answers in the same form: a plan, the next call of a step, a
claim. No language model is involved.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from tasks.claim import Claim
from tasks.plan import Plan
from tasks.review import Review

Context = dict[str, Any]  # what the crew tells an agent: facts, history, step ...
Answer = dict[str, Any]  # what a call returned


class Call(NamedTuple):
    """The next call of a worker: a tool of the task, or one of the three below."""

    name: str
    arguments: dict[str, Any]


def submit(**arguments: Any) -> Call:
    """Return the call that hands in a result; the arguments are the fields of the task's submission."""
    return Call("submit", arguments)


def run_python(name: str, code: str, values: dict[str, Any]) -> Call:
    """Return the call that writes a Python file and runs it; `values` become constants at its top."""
    header = "".join(f"{constant} = {value!r}\n" for constant, value in values.items())
    return Call("run_python", {"name": name, "code": header + code})


def finish(summary: str, ok: bool | None = None) -> Call:
    """Return the call that ends the step with its findings; `ok=False` if its goal was not reached."""
    return Call("finish", {"summary": summary} | ({} if ok is None else {"ok": ok}))


def printed(answer: Answer) -> Call:
    """Return the call that ends a step whose Python file has run: the findings are its output."""
    good = answer["exit_code"] == 0
    return finish((answer["stdout"] if good else answer["stderr"])[-1500:], good)


def graded(context: Context) -> list[dict[str, Any]]:
    """Return the verdicts in the history that have a value."""
    return [entry for entry in context["history"] if entry["value"] is not None]


def best(context: Context) -> dict[str, Any] | None:
    """Return the best verdict so far, or None."""
    return max(graded(context), key=lambda entry: entry["value"], default=None)


class Policy:
    """Base class: a step makes its planned calls in order, submits if it should, and reports the results."""

    def plan(self, context: Context, seed: int) -> Plan:
        """Return the analyst's plan for an iteration. `seed`: that of the request, so that repeats of a run differ."""
        raise NotImplementedError

    def draw(self, context: Context, rng: random.Random) -> Plan:
        """Return a random plan, for the control that searches blindly; by default the first plan with another seed."""
        return self.plan(context | {"iteration": 0, "history": [], "observations": []}, rng.randrange(2**31))

    def act(self, context: Context, answers: Sequence[Answer]) -> Call:
        """Return the next call of a step after these answers; a failed call ends the step."""
        failed = next((answer["error"] for answer in answers if "error" in answer), None)
        if failed:
            return finish(f"{failed['field']}={failed['value']}: {failed['allowed']}", ok=False)
        calls = context["step"]["calls"]
        if len(answers) < len(calls):
            return Call(calls[len(answers)]["tool"], calls[len(answers)]["arguments"])
        return self.conclude(context, answers[: len(calls)], answers[len(calls) :])

    def conclude(self, context: Context, results: Sequence[Answer], later: Sequence[Answer]) -> Call:
        """Return the next call after the planned ones gave `results`; `later`: what any further calls returned."""
        if context["step"]["submits"] and not later:
            return submit(**self.submission(context, results))
        return finish(self.summary(results) or "done")

    def submission(self, context: Context, results: Sequence[Answer]) -> dict[str, Any]:
        """Return the arguments of `submit` in a step that submits."""
        raise NotImplementedError

    def summary(self, results: Sequence[Answer]) -> str:
        """Summarise the key numbers that the planned calls returned."""
        warnings = [answer["result"]["warning"] for answer in results if answer.get("result", {}).get("warning")]
        return "; ".join(f"warning: {warning}" for warning in warnings)

    def review(self, context: Context) -> Review:
        """Return the review of a plan or result: what the gates found."""
        return Review.of([finding["text"] for finding in context["gates"]])

    def claim(self, context: Context) -> Claim:
        """Return the answer to the request; if nothing was graded, it says that no statement can be made."""
        if best(context) is None:
            reasons = "; ".join(entry["reason"] for entry in context["history"])
            return self.nothing(context, f"Nothing valid was handed in, so nothing can be said. {reasons}".strip())
        return self.answer(context)

    def answer(self, context: Context) -> Claim:
        """Return the claim when something was graded."""
        raise NotImplementedError

    def nothing(self, context: Context, text: str) -> Claim:
        """Return the claim that no statement can be made."""
        return Claim(text=text)
