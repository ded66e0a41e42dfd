"""Claimed numbers beside the harness's own."""

from __future__ import annotations

import math

from tasks.claimed import beside
from tasks.score import CheckedNumber, Claim, Score

DECADE = 0.5  # p-values agree within half a decade


def check(claim: Claim, judged: Score | None, alpha: float) -> list[CheckedNumber]:
    """`judged`: what the harness computed itself, and `alpha` the p-value below which it would call it a discovery.

    Mass and yield agree within the larger of the two errors; without a claimed discovery there is
    no mass or yield to compare.
    """
    details = judged.details if judged else {}
    p_global = details.get("p_global")
    # What could not be judged was not found, whatever is claimed; without anything judged there is nothing to compare.
    found = None if judged is None else p_global is not None and bool(p_global < alpha)
    checks = [
        CheckedNumber(
            name="discovery",
            claimed=claim.discovery,
            harness=found,
            agrees=None if found is None else claim.discovery == found,
        ),
        CheckedNumber(name="p_value", claimed=claim.p_value, harness=p_global, agrees=_same_p(claim.p_value, p_global)),
    ]
    for name in ("mass", "n_signal"):
        claimed, error = getattr(claim, name), getattr(claim, f"{name}_error")
        harness, harness_error = details.get(name), details.get(f"{name}_error")
        checks.append(beside(name, claimed, error, harness, harness_error))
    return checks


def _same_p(a: float | None, b: float | None) -> bool | None:
    if a is None or b is None:
        return None
    if min(a, b) <= 0:
        return a == b
    return abs(math.log10(a) - math.log10(b)) <= DECADE
