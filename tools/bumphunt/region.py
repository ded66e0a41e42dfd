"""Measuring tool for a signal region with a background reference: significance, mass, width and yield of a bump."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tools.bumphunt.inputs import load_scored
from tools.bumphunt.lookelsewhere import Hunt, global_p
from tools.bumphunt.measure import most_significant
from tools.bumphunt.reference import CLOSURE, measure_with_reference, reference_threshold
from tools.bumphunt.scan import EFFICIENCIES, TOYS, CutResult, summary
from tools.bumphunt.spectrum import WIDTH_RANGE
from tools.bumphunt.yields import SLICES, reference_yield
from tools.contract import Request, Result, ToolError, tool
from tools.types import Floats


class MeasureRequest(Request):
    """Events in one range of masses and a background-only reference in the same range, both scored."""

    events: str = Field("/inputs/events.parquet", description="parquet file with the event table")
    scores: str = Field(description="parquet file with a column `score`, one row per event")
    reference: str = Field("/inputs/reference.parquet", description="parquet file with the background event table")
    reference_scores: str = Field(description="scores of the reference, one row per event")
    efficiencies: list[float] = Field(
        default=EFFICIENCIES, min_length=1, max_length=20, description="fractions of the reference to keep"
    )
    width: float | None = Field(
        None,
        ge=WIDTH_RANGE[0],
        le=WIDTH_RANGE[1],
        description="relative standard deviation of the resonance in the mass, if known; otherwise several are tested",
    )
    closure: float = Field(
        CLOSURE,
        ge=0,
        le=1,
        description="relative error of the fraction of the reference that passes, besides statistics",
    )


class Excess(BaseModel):
    """Signal events above a cut. Errors of different cuts are correlated: events above one pass all looser ones."""

    model_config = ConfigDict(frozen=True)
    efficiency: float = Field(description="fraction of the reference that the cut keeps")
    signal: float
    signal_error: float


class MeasureResult(Result):
    """Results of all cuts, the most significant of them, and the number of signal events in the region."""

    cuts: list[CutResult]
    best: int = Field(description="index into `cuts` of the most significant cut; take mass and width from there")
    p_global: float = Field(
        description="global p-value of the best cut, over these masses, widths and cuts, from pseudo-experiments"
    )
    excess: list[Excess] = Field(
        description="signal as a function of the cut, at the best cut's mass and width: its plateau is N"
    )
    n_signal: float = Field(description="signal events in the region: the plateau, from a binormal ROC curve")
    n_signal_error: float
    signal_fraction: float = Field(description="n_signal over the number of events in the region")
    signal_fraction_error: float


@tool("bumphunt.measure")
def measure_region(request: MeasureRequest) -> MeasureResult:
    """Measure a bump in one region of masses with a background reference: the reference fixes how many background
    events pass a cut on the score, the failing events how their masses are distributed. Returns significance, mass,
    width and signal for every cut, and number and fraction of signal events in the region. p_global does not account
    for anything else that was tried.
    """
    data = load_scored(request.events, request.scores)
    reference = load_scored(request.reference, request.reference_scores, "reference_scores")
    cuts, spectra = [], []
    for efficiency in request.efficiencies:
        try:
            cut = measure_with_reference(data, reference, efficiency, width=request.width, closure=request.closure)
        except ValueError as error:
            raise ToolError("efficiencies", efficiency, str(error)) from None
        cuts.append(cut)
        spectra.append(cut.spectrum)
    best = most_significant(cuts)
    found = global_p([Hunt(spectra, cuts[best].tested)], n_toys=TOYS)
    fit = cuts[best].fit
    amount = reference_yield(data, reference, fit.mass, fit.width, request.closure)
    signal, spread = np.cumsum(amount.slices), np.sqrt(np.cumsum(amount.slice_errors**2))
    return MeasureResult(
        cuts=[summary(cut).model_copy(update={"kept": kept(reference[1], cut.efficiency)}) for cut in cuts],
        best=best,
        p_global=found.p_global,
        excess=[
            Excess(efficiency=float(e), signal=float(s), signal_error=float(d))
            for e, s, d in zip(SLICES, signal, spread, strict=True)
        ],
        n_signal=amount.n_signal,
        n_signal_error=amount.error,
        signal_fraction=amount.n_signal / len(data[0]),
        signal_fraction_error=amount.error / len(data[0]),
    )


def kept(reference: Floats, efficiency: float) -> float:
    """Return the fraction of the reference that a cut keeps: more than asked for if many scores are equal."""
    return float((reference >= reference_threshold(reference, efficiency)).mean())
