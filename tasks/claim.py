"""What a crew claims, and how its numbers compare with the harness's own: the part that all tasks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import Field

from tasks.score import CheckedNumber, Score
from tools.contract import Frozen

Within = Callable[[float, float], float]  # the errors of both -> how far apart numbers may be that agree


class Claim(Frozen):
    """The crew's answer to the request. A task adds what it asks for."""

    text: str = Field("", description="the answer in a few sentences")

    @property
    def headline(self) -> str:
        """What is claimed, in a line."""
        return "An answer is given" if self.text else "Nothing is claimed"


class Measured(Frozen):
    """A number with its error."""

    value: float
    error: float | None = None


class Measurement(Claim):
    """The answer of a task that measures: numbers by the names that the task gives."""

    numbers: dict[str, Measured] = Field(
        default_factory=dict, description="what was measured, by the names in `numbers_to_claim`"
    )

    @property
    def headline(self) -> str:
        return "A measurement is claimed" if self.numbers else "Nothing is claimed"


def larger(one: float, other: float) -> float:
    """Two numbers of the same data agree within the larger of their errors."""
    return max(one, other)


def best_score(scores: Sequence[Score]) -> Score | None:
    """The graded submission of the highest steering value."""
    graded = [score for score in scores if score.value is not None]
    return max(graded, key=lambda score: score.value or 0.0, default=None)


def beside(
    name: str,
    claimed: float | None,
    claimed_error: float | None,
    harness: float | None,
    harness_error: float | None,
    within: Within = larger,
) -> CheckedNumber:
    """One claimed number beside the harness's; where either is missing there is nothing to compare."""
    agrees = None
    if claimed is not None and harness is not None:
        agrees = bool(abs(claimed - harness) <= within(claimed_error or 0.0, harness_error or 0.0))
    return CheckedNumber(
        name=name,
        claimed=claimed,
        claimed_error=claimed_error,
        harness=harness,
        harness_error=harness_error,
        agrees=agrees,
    )


def check_numbers(
    claim: Measurement, scores: Sequence[Score], names: Sequence[str] | None = None, within: Within = larger
) -> list[CheckedNumber]:
    """A measurement's claimed numbers beside those in the details of the best submission.

    `names`, by default those that were computed, come first whether claimed or not; then whatever else is claimed.
    """
    best = best_score(scores)
    computed = best.details["numbers"] if best else {}
    wanted = list(computed if names is None else names)
    checks = []
    for name in [*wanted, *(n for n in claim.numbers if n not in wanted)]:
        said, ours = claim.numbers.get(name), computed.get(name, {})
        value, error = (said.value, said.error) if said else (None, None)
        checks.append(beside(name, value, error, ours.get("value"), ours.get("error"), within))
    return checks
