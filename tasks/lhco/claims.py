"""A search's submission and claim, and the comparison of claimed numbers with the harness's own."""

from __future__ import annotations

import math

from pydantic import Field

from tasks.claim import Claim, compare_numbers
from tasks.score import CheckedNumber, Quantity, Score
from tasks.submission import File, Submission
from tasks.writing import measured
from tools.spectrum.inputs import IN_MEV, Unit

DECADE = 0.5  # p-values agree within half a decade
QUANTITIES = (Quantity(name="mass", unit="TeV"), Quantity(name="n_signal", label="signal events"))
SCALES = {"TeV": (1.0, 1e-3), "GeV": (1.0, 1e3, 1e-3), "MeV": (1.0, 1e3)}  # a mass may have been printed in others


class SearchSubmission(Submission):
    """Hand in scores of all events, and the window they were made for."""

    scores: File = Field(description="parquet file with a column `score`, one row per event, higher = more signal-like")
    window: tuple[float, float] | None = Field(None, description="signal region: two edges in the mass")
    reference_scores: File | None = Field(None, description="the same for the background reference, if there is one")


class SearchClaim(Claim):
    """Is there a new resonance, at what mass, with how many events, how sure?"""

    discovery: bool = Field(description="is there a new resonance?")
    mass: float | None = Field(None, description="in `unit`")
    mass_error: float | None = None
    n_signal: float | None = Field(None, description="signal events in the data")
    n_signal_error: float | None = None
    unit: Unit = Field("TeV", description="unit of the mass, as in the facts")
    p_value: float | None = Field(None, ge=0, le=1, description="global: corrected for everything that was tried")

    @property
    def headline(self) -> str:
        if not self.discovery:
            return "No new resonance is claimed"
        where = "" if self.mass is None else f": m = {measured(self.mass, self.mass_error, self.unit)}"
        return f"A new resonance is claimed{where}"


class OwnClaim(SearchClaim):
    """Is there a resonance, at what mass, with how many events, how sure?"""

    unit: Unit = Field(description="unit of the mass, as in the facts")


def check(claim: SearchClaim, judged: Score | None, alpha: float) -> list[CheckedNumber]:
    """Compare a claim with `judged`, the harness's own score; below a p-value of `alpha` that is a discovery.

    Mass and yield agree within the larger of the two errors, p-values within half a decade.
    """
    details = judged.details if judged else {}
    p_global, unit = details.get("p_global"), details.get("unit", QUANTITIES[0].unit)
    # Without a p-value, nothing was found, whatever is claimed; without a score, there is nothing to compare.
    found = None if judged is None else p_global is not None and bool(p_global < alpha)
    checks = [
        CheckedNumber(
            name="discovery",
            claimed=claim.discovery,
            harness=found,
            agrees=None if found is None else claim.discovery == found,
        ),
        CheckedNumber(
            name="p_value",
            label="global p-value",
            kind="probability",
            claimed=claim.p_value,
            harness=p_global,
            agrees=_same_p(claim.p_value, p_global),
        ),
    ]
    for quantity in QUANTITIES:
        name = quantity.name
        claimed, error = getattr(claim, name), getattr(claim, f"{name}_error")
        harness, harness_error = details.get(name), details.get(f"{name}_error")
        shown = quantity.model_dump()
        if name == "mass":
            shown |= {"unit": unit, "scales": SCALES[unit]}
            by = IN_MEV[claim.unit] / IN_MEV[unit]
            claimed, error = claimed and by * claimed, error and by * error
        checks.append(compare_numbers(name, claimed, error, harness, harness_error).model_copy(update=shown))
    return checks


def _same_p(a: float | None, b: float | None) -> bool | None:
    if a is None or b is None:
        return None
    if min(a, b) <= 0:
        return a == b
    return abs(math.log10(a) - math.log10(b)) <= DECADE
