"""Sculpting test: whether a cut produces a bump or a step in the mjj spectrum of background-like events.

Background-like events are those outside the window, or a template's events inside it. There are two tests. The first
asks whether passing and failing events have the same spectrum at all (Kolmogorov-Smirnov); but a slope is harmless,
since the fit has one. The second therefore asks whether the passing fraction is as smooth as the transfer factor of
`profile.py`: it compares the deviance in coarse bins with that of toys, n_pass,i ~ Binomial(N_i, eps(m_i)). A fraction
that is not smooth can mimic a resonance.

How large a dependence is, significant or not, says 1/JSD (`tools.dependence`), beside what statistics allow.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from tools.bumphunt.background import choose_degree
from tools.bumphunt.inputs import load_weighted
from tools.bumphunt.profile import fit_background, make_basis, transfer
from tools.bumphunt.spectrum import histogram
from tools.contract import Request, Result, ToolError, tool
from tools.dependence import Dependence, dependence
from tools.events.weights import drawn, of_rows
from tools.types import Floats

BINS = 24
N_TOYS = 400
MIN_PASSING = 10


@dataclass(frozen=True)
class Sculpting:
    """Two p-values, of which small ones mean that the cut sculpts mjj, and by how much."""

    shape_p: float  # of the same spectrum for passing and failing events
    smooth_p: float  # of a passing fraction that a smooth transfer factor describes
    mass: Floats  # of the events that both tests count, and which of them pass
    passed: NDArray[np.bool_]
    seed: int

    @cached_property
    def dependence(self) -> Dependence:
        """1/JSD, computed where it is asked for: searches test every cut and need p-values only."""
        return dependence(self.mass, self.passed, seed=self.seed)


def sculpting(
    mjj: Floats, passed: NDArray[np.bool_], n_toys: int = N_TOYS, seed: int = 1, weight: Floats | None = None
) -> Sculpting:
    """Test a cut on background-like events with these mjj (n,) and weights; ValueError if not 10 pass and 10 fail."""
    from scipy.stats import ks_2samp  # slow to import

    if min(passed.sum(), (~passed).sum()) < MIN_PASSING:
        raise ValueError(
            f"{passed.sum()} of {len(mjj)} events pass: at least {MIN_PASSING} must pass and {MIN_PASSING} fail"
        )
    edges = np.geomspace(mjj.min(), np.nextafter(mjj.max(), np.inf), BINS + 1)
    spectrum = histogram(mjj, passed, edges, weight=weight)
    total, kept = np.rint(spectrum.passed + spectrum.failed).astype(int), spectrum.passed
    basis = make_basis(edges, choose_degree(kept, total - kept, edges))
    found = fit_background(kept[None], np.maximum(total - kept, 0.0)[None], basis)
    r = transfer(found.coefficients, basis)[0]
    toys = np.random.default_rng(seed).binomial(total, r / (1 + r), (n_toys, BINS)).astype(np.float64)
    expected = fit_background(toys, total - toys, basis).deviance
    if weight is not None:  # Kolmogorov and Smirnov count events
        rows = drawn(weight, seed)
        mjj, passed = mjj[rows], passed[rows]
    return Sculpting(
        shape_p=float(ks_2samp(mjj[passed], mjj[~passed], method="asymp").pvalue),
        smooth_p=float((1 + (expected >= found.deviance[0]).sum()) / (1 + n_toys)),
        mass=mjj,
        passed=passed,
        seed=seed,
    )


class SculptingRequest(Request):
    """Background-like events with their scores: the sidebands of the event file, or a template."""

    events: str = Field(
        "/inputs/events.parquet", description="parquet file with the mass: the event table, or a template"
    )
    scores: str = Field(description="parquet file with a column `score`, one row per event")
    leave_out: tuple[float, float] | None = Field(
        None, description="window in the mass that may hold signal: its events are not used; not needed for a template"
    )
    efficiencies: list[float] = Field(
        default=[1e-2, 1e-3], min_length=1, max_length=20, description="fractions to keep"
    )


class CutSculpting(BaseModel):
    """Result of one cut."""

    model_config = ConfigDict(frozen=True)
    efficiency: float
    shape_p: float = Field(
        description="p-value for the same mass distribution of passing and failing events; a slope is harmless"
    )
    smooth_p: float = Field(
        description="p-value for a passing fraction that is smooth in the mass; below 0.01 do not trust a bump"
    )
    inverse_jsd: float = Field(description="1/JSD of the spectra of passing and of all events: the higher, the less")
    ceiling: float = Field(description="median 1/JSD of random selections of as many events")


class SculptingResult(Result):
    """Results of all cuts."""

    cuts: list[CutSculpting]


@tool("bumphunt.sculpting")
def sculpting_test(request: SculptingRequest) -> SculptingResult:
    """Test whether cutting on these scores produces a bump or a step in the mass of background. Test the sidebands
    (leave the window out) and the template's own scores before believing an excess.
    """
    mjj, score, weight = load_weighted(request.events, request.scores)
    if request.leave_out:
        used = (mjj < request.leave_out[0]) | (mjj >= request.leave_out[1])
        mjj, score, weight = mjj[used], score[used], of_rows(weight, used)
    cuts = []
    for efficiency in request.efficiencies:
        kept = round(efficiency * len(score))
        if not MIN_PASSING <= kept <= len(score) - MIN_PASSING:
            raise ToolError("efficiencies", efficiency, f"keeps {kept} of {len(score)} events; at least {MIN_PASSING}")
        try:
            found = sculpting(mjj, score >= np.sort(score)[-kept], weight=weight)
        except ValueError as error:
            raise ToolError("scores", request.scores, str(error)) from None
        cuts.append(
            CutSculpting(
                efficiency=efficiency,
                shape_p=found.shape_p,
                smooth_p=found.smooth_p,
                inverse_jsd=found.dependence.inverse_jsd,
                ceiling=found.dependence.ceiling,
            )
        )
    return SculptingResult(cuts=cuts)
