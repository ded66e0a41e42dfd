"""The stopping rule: a pure function from the history of steering scores to a decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from tasks.score import Score
from tools.contract import Frozen


class Rule(Frozen):
    """Stop when `patience` iterations in a row brought no significant gain, or after `max_iterations`."""

    patience: int = Field(1, ge=1)
    min_gain_sigma: float = Field(1.0, ge=0, description="a gain counts above this many errors of the best score")
    max_iterations: int = Field(4, ge=1)


class Decision(Frozen):
    action: Literal["continue", "converged", "exhausted"]
    reason: str
    best: int | None = Field(description="index of the best iteration so far")
    null_result: str = Field("", description="the null result with which the run ends: then no submission is final")


def progress(history: Sequence[Score], rule: Rule) -> tuple[int | None, int]:
    """Return the best iteration, and the number of iterations since the last significant gain.

    `history` holds one score per iteration; a refused one (value None) is no gain.
    """
    best: int | None = None
    since = 0
    for index, score in enumerate(history):
        if score.value is None:
            since += 1
            continue
        if best is None:
            best, since = index, 0
            continue
        leader = history[best]
        assert leader.value is not None
        gain = score.value - leader.value
        significant = gain > rule.min_gain_sigma * (leader.error or 0.0)
        since = 0 if significant and gain > 0 else since + 1
        if gain > 0:
            best = index
    return best, since


def decide(history: Sequence[Score], rule: Rule) -> Decision:
    """Decide whether to continue, from one score per iteration."""
    (best, since), n = progress(history, rule), len(history)
    if best is not None and since >= rule.patience:
        return Decision(action="converged", best=best, reason=f"no significant gain in the last {since} iteration(s)")
    if n >= rule.max_iterations:
        return Decision(action="exhausted", best=best, reason=f"{n} of {rule.max_iterations} iterations used")
    return Decision(action="continue", best=best, reason=f"{n} of {rule.max_iterations} iterations used")


def nothing(text: str) -> Decision:
    """Return the decision to end with a null result."""
    return Decision(action="converged", best=None, reason=f"a null result: {text}", null_result=text)
