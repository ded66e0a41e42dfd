"""The stopping rule: a pure function from the history of steering scores to a decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from tasks.score import Score
from tools.contract import Frozen


class Rule(Frozen):
    """Stop when `patience` iterations in a row brought no significant gain, or after `max_iterations`."""

    patience: int = Field(1, ge=1)
    min_gain_sigma: float = Field(1.0, ge=0, description="a gain counts above this many errors of the change")
    max_iterations: int = Field(4, ge=1)


class Decision(Frozen):
    action: Literal["continue", "converged", "exhausted"]
    reason: str
    best: int | None = Field(description="index of the best iteration so far")
    null_result: str = Field("", description="the null result with which the run ends: then no submission is final")


class Change(Frozen):
    """How far a score is from an earlier one. `paired`: the error is that of the difference on the same resampled
    inputs; otherwise it is the error of the earlier score."""

    against_iteration: int
    value: float
    error: float
    paired: bool


def change(score: Score, earlier: Score, iteration: int) -> Change:
    """Return the change from the score of an earlier iteration; both must have a value."""
    assert score.value is not None
    assert earlier.value is not None
    value, paired = score.value - earlier.value, 1 < len(score.resampled) == len(earlier.resampled)
    error = earlier.error or 0.0
    if paired:  # half of the central 68%: the standard deviation of a few counts' inverse is ruled by its tail
        low, high = np.quantile(np.subtract(score.resampled, earlier.resampled), [0.159, 0.841])
        error = float(high - low) / 2
    return Change(against_iteration=iteration, value=value, error=error, paired=paired)


def changes(history: Sequence[Score]) -> list[Change | None]:
    """Return each score's change from the best one before it; None for refused scores and the first that is not."""
    found: list[Change | None] = []
    best: int | None = None
    for index, score in enumerate(history):
        if score.value is None:
            found.append(None)
            continue
        made = None if best is None else change(score, history[best], best)
        found.append(made)
        if made is None or made.value > 0:
            best = index
    return found


def progress(history: Sequence[Score], rule: Rule) -> tuple[int | None, int]:
    """Return the best iteration, and the number of iterations since the last significant gain.

    `history` holds one score per iteration; a refused one (value None) is no gain.
    """
    best: int | None = None
    since = 0
    for index, (score, made) in enumerate(zip(history, changes(history), strict=True)):
        if score.value is None:
            since += 1
        elif made is None:
            best, since = index, 0
        else:
            significant = made.value > rule.min_gain_sigma * made.error
            since = 0 if significant and made.value > 0 else since + 1
            best = index if made.value > 0 else best
    return best, since


def decide(history: Sequence[Score], rule: Rule) -> Decision:
    """Decide whether to continue, from one score per iteration."""
    (best, since), n = progress(history, rule), len(history)
    if best is not None and since >= rule.patience:
        reason = f"no significant gain in the last {since} iteration(s)"
        if (last := changes(history)[-1]) and last.paired:
            against = f"iteration {last.against_iteration} on the same inputs"
            reason += f"; the last one changed by {last.value:.3g} +- {last.error:.2g} against {against}"
        return Decision(action="converged", best=best, reason=reason)
    if n >= rule.max_iterations:
        return Decision(action="exhausted", best=best, reason=f"{n} of {rule.max_iterations} iterations used")
    return Decision(action="continue", best=best, reason=f"{n} of {rule.max_iterations} iterations used")


def nothing(text: str) -> Decision:
    """Return the decision to end with a null result."""
    return Decision(action="converged", best=None, reason=f"a null result: {text}", null_result=text)
