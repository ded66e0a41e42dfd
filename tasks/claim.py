"""A crew's claim, and the comparison of its numbers with the harness's: the part that all tasks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import Field

from tasks.score import CheckedNumber, Score
from tools.contract import Frozen

Within = Callable[[float, float], float]  # both errors -> largest difference at which two numbers still agree


class Claim(Frozen):
    """The crew's answer to the request. Each task adds the fields it asks for."""

    text: str = Field("", description="the answer in a few sentences")

    @property
    def headline(self) -> str:
        """One line that says what is claimed."""
        return "An answer is given" if self.text else "Nothing is claimed"


class Measured(Frozen):
    """A number with its error."""

    value: float
    error: float | None = None


class Measurement(Claim):
    """The answer to a measurement task: numbers, keyed by the names that the task gives."""

    numbers: dict[str, Measured] = Field(
        default_factory=dict, description="measured numbers, keyed by the names in `numbers_to_claim`"
    )

    @property
    def headline(self) -> str:
        return "A measurement is claimed" if self.numbers else "Nothing is claimed"


def larger(one: float, other: float) -> float:
    """Return the larger error: within it, two numbers from the same data agree."""
    return max(one, other)


def best_score(scores: Sequence[Score]) -> Score | None:
    """Return the score with the highest steering value, or None if nothing was graded."""
    graded = [score for score in scores if score.value is not None]
    return max(graded, key=lambda score: score.value or 0.0, default=None)


def compare_numbers(
    name: str,
    claimed: float | None,
    claimed_error: float | None,
    harness: float | None,
    harness_error: float | None,
    within: Within = larger,
) -> CheckedNumber:
    """Compare a claimed number with the harness's; `agrees` is None if either is missing."""
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
    """Compare a measurement's claimed numbers with those in the details of the best submission.

    `names` (default: the computed ones) come first, claimed or not; then whatever else is claimed.
    """
    best = best_score(scores)
    computed = best.details["numbers"] if best else {}
    wanted = list(computed if names is None else names)
    checks = []
    for name in [*wanted, *(n for n in claim.numbers if n not in wanted)]:
        said, ours = claim.numbers.get(name), computed.get(name, {})
        value, error = (said.value, said.error) if said else (None, None)
        checks.append(compare_numbers(name, value, error, ours.get("value"), ours.get("error"), within))
    return checks
