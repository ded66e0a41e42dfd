"""A search in a study: what was claimed, what was true, and which rules of statistics a claim breaks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from tasks.lhco.claims import DECADE, QUANTITIES, SearchClaim, SearchSubmission
from tasks.lhco.truth import TRUTH
from tasks.lhco.truth import Truth as Sealed
from tasks.page import Run
from tasks.score import CheckedNumber, Quantity
from tasks.study import Answer, Misused, Primary, Success, Truth, Value, value_of
from tasks.writing import number


class SearchSuccess(Success):
    """When a search succeeds.

    With signal: a discovery is claimed, the harness's p-value is below the task's alpha, and the claimed mass is close
    to the true one. Without signal: no discovery is claimed.
    """

    mass_within: float | None = Field(0.1, gt=0, description="TeV; null: the mass does not matter")

    def words(self, metric: str) -> str:
        near = "" if self.mass_within is None else f", its mass within {self.mass_within:g} TeV of the truth"
        least = "" if self.primary_at_least is None else f", and {metric} of at least {self.primary_at_least:g}"
        return f"with a signal, a discovery that the harness confirms{near}{least}; without one, no discovery claimed"


class SearchJudge:
    """See `tasks.study.Judge`."""

    primary: ClassVar[Primary] = Primary(metric="sic_at_0.001", failure=1.0)  # SIC 1 is that of no selection at all
    success: ClassVar[type[Success]] = SearchSuccess
    quantities: ClassVar[Sequence[Quantity]] = QUANTITIES

    def answer(self, claim: Mapping[str, Any], checks: Sequence[CheckedNumber]) -> Answer:
        compared = [check.agrees for check in checks if check.agrees is not None]
        claimed = {q.name: value_of(claim[q.name], claim[f"{q.name}_error"]) for q in QUANTITIES}
        return Answer(
            signal=bool(claim["discovery"]),
            p_value=_harness(checks, "p_value"),
            claimed_p_value=number(claim["p_value"]),
            numbers={name: value for name, value in claimed.items() if value is not None},
            agrees=all(compared) if compared else None,
        )

    def truth(self, sealed_folder: Path, options: Mapping[str, Any]) -> Truth:
        try:
            sealed = Sealed.model_validate_json((sealed_folder / TRUTH).read_bytes())
            mass, n_signal = sealed.mass, sealed.n_signal
        except (OSError, ValueError):
            mass, n_signal = None, options.get("n_signal", 0)
        text = f"{n_signal} signal events" if n_signal else "no signal"
        found = {} if mass is None else {"mass": mass}
        return Truth(signal=n_signal > 0, text=text, numbers=found | {"n_signal": n_signal})

    def succeeded(
        self,
        rule: SearchSuccess,
        options: Mapping[str, Any],
        answer: Answer | None,
        truth: Truth,
        primary: Value | None,
    ) -> bool:
        """Is the verdict right and, with signal, confirmed, at the right mass, with a good enough metric?"""
        if answer is None:
            return False
        if not truth.signal:
            return not answer.signal
        if not answer.signal or answer.p_value is None or answer.p_value >= options["alpha"]:
            return False
        mass, true = answer.numbers.get("mass"), truth.numbers.get("mass")
        near = rule.mass_within
        if near is not None and (mass is None or true is None or abs(mass.value - true) > near):
            return False
        return rule.primary_at_least is None or (primary is not None and primary.value >= rule.primary_at_least)

    def misused(self, run: Run, options: Mapping[str, Any]) -> Misused:
        claim = run.claim
        if not isinstance(claim, SearchClaim):
            return Misused([], frozenset())
        local = list(_local(claim, run))
        texts = [*_verdict(claim, run, number(options.get("alpha"))), *local, *_no_errors(claim), *_outside(claim, run)]
        return Misused(texts, frozenset({"discovery"} | ({"p_value"} if local else set())))


def _verdict(claim: SearchClaim, run: Run, alpha: float | None) -> Iterator[str]:
    """Yield a verdict that contradicts the harness's p-value and the alpha that the crew was told."""
    if alpha is None:
        return
    p = _harness(run.checks, "p_value")
    if claim.discovery and (p is None or p >= alpha):
        shown = "has no p-value for it" if p is None else f"has p = {p:.3g}, not below {alpha:.3g}"
        yield f"a discovery is claimed, but the harness {shown}"
    elif not claim.discovery and p is not None and p < alpha:
        yield f"no discovery is claimed, but the harness has p = {p:.3g}, below {alpha:.3g}"


def _local(claim: SearchClaim, run: Run) -> Iterator[str]:
    """Yield a claimed p-value that is local, of one cut in one window, although more had been tried."""
    p, agrees = claim.p_value, {check.name: check.agrees for check in run.checks}
    if p is None or p <= 0 or agrees.get("p_value") is not False:
        return
    for score in [*(one.score for one in run.graded), *([run.confirmed] if run.confirmed else [])]:
        if local := number(score.details.get("p_local")):
            corrected = number(score.details.get("p_global")) or 1.0
            if abs(math.log10(p / local)) <= DECADE < math.log10(corrected / p):
                yield f"claimed p = {p:.3g} is local ({local:.3g}); corrected for all trials it is {corrected:.3g}"
                return


def _no_errors(claim: SearchClaim) -> Iterator[str]:
    """Yield numbers and errors that a discovery needs and that are missing."""
    if not claim.discovery:
        return
    for name in (quantity.name for quantity in QUANTITIES):
        value, error = getattr(claim, name), getattr(claim, f"{name}_error")
        if value is None:
            yield f"a discovery without {name}"
        elif not error or error <= 0:
            yield f"{name} = {value:.4g} is claimed without an error"
    if claim.p_value is None:
        yield "a discovery without a p-value"


def _outside(claim: SearchClaim, run: Run) -> Iterator[str]:
    """Yield a mass outside every submitted window."""
    handed_in = [one.submission for one in run.graded if isinstance(one.submission, SearchSubmission)]
    windows = [submission.window for submission in handed_in if submission.window]
    mass = claim.mass if claim.discovery else None
    if mass is not None and windows and not any(low <= mass <= high for low, high in windows):
        yield f"mass = {mass:.4g} TeV lies outside all submitted windows"


def _harness(checks: Sequence[CheckedNumber], name: str) -> float | None:
    return next((number(check.harness) for check in checks if check.name == name), None)
