"""Tool `spectrum.count`: the excess in one window of a mass spectrum, chosen beforehand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tools.contract import Result, ToolError, tool
from tools.normal import p_value
from tools.spectrum.count import count, needed, predict
from tools.spectrum.families import DEGREES, functions, polynomial
from tools.spectrum.filled import Counts, beside, filled, gaps
from tools.spectrum.inputs import Range, SpectrumRequest, Unit
from tools.spectrum.shapes import bins_for

FINE = 0.005  # relative width that the bins resolve


class CountRequest(SpectrumRequest):
    """Count the events of one window against its sidebands."""

    window: Range = Field(description="masses that may contain signal; the rest of fit_range predicts it")
    degree: int | None = Field(
        None,
        ge=DEGREES[0],
        le=DEGREES[-1],
        description="use exp(polynomial of this degree); default: families of functions compete",
    )


class CountResult(Result):
    """Observed and predicted events, or sums of weights; nothing is observed if the window is blind."""

    unit: Unit
    window: Range
    observed: float | None
    background: float = Field(description="predicted by the sidebands")
    background_error: float = Field(description="statistical, and from the choice of the function")
    excess: float | None
    excess_error: float | None
    z: float | None = Field(
        description="significance, negative for a deficit; no trials factor: the window was chosen before"
    )
    p_value: float | None
    for_3_sigma: float | None = Field(description="if blind: signal in the window that is expected to reach 3 sigma")
    for_5_sigma: float | None
    function: str = Field(description="background function that describes the sidebands best")


@tool("spectrum.count")
def count_window(request: CountRequest) -> CountResult:
    """Count the events in a window that was chosen without looking at it, and predict its background from the rest of
    the range. For several windows, or one chosen after a look, use spectrum.hunt.
    """
    spectrum, inside = _spectrum(request)
    if request.degree is None:
        tried = list(functions(spectrum.bins, spectrum.counts[~inside].sum(), request.sqrt_s))
    else:
        tried = [polynomial(spectrum.bins, request.degree)]
    try:
        predicted = predict(spectrum, inside, tried)
    except ValueError as error:
        raise ToolError("fit_range", request.fit_range, str(error)) from None
    blind = request.blind is not None and request.blind == request.window
    found = None if blind else count(spectrum, inside, predicted)
    return CountResult(
        unit=request.unit,
        window=request.window,
        observed=found and found.observed,
        background=predicted.background,
        background_error=predicted.error,
        excess=found and found.observed - predicted.background,
        excess_error=found and float(np.hypot(found.observed_error, predicted.error)),
        z=found and found.z,
        p_value=found and p_value(found.z),
        for_3_sigma=needed(spectrum, inside, predicted, 3.0) if blind else None,
        for_5_sigma=needed(spectrum, inside, predicted, 5.0) if blind else None,
        function=str(predicted.fits[0].function),
    )


def _spectrum(request: CountRequest) -> tuple[Counts, NDArray[np.bool_]]:
    """Return the spectrum without other blind masses than the window, and which of its bins are in the window."""
    low, high = request.window
    if not request.fit_range[0] < low < high < request.fit_range[1]:
        raise ToolError("window", request.window, f"low < high, well inside fit_range {request.fit_range}")
    blind = request.blind
    if blind and blind != request.window and low < blind[1] and blind[0] < high:
        raise ToolError("window", request.window, f"the blind masses, {blind[0]:g} to {blind[1]:g}, or none of them")
    spectrum = filled(bins_for(*request.fit_range, FINE, (*request.window, *(blind or ()))), request.sample())
    inside = spectrum.bins.inside(request.window)
    emptied = gaps(spectrum, blind)
    if any(low < end and start < high for start, end in emptied):
        raise ToolError("window", request.window, f"masses with events: a selection has emptied {emptied}")
    kept = inside | beside(spectrum.bins, emptied + ([blind] if blind else []))
    return spectrum.among(kept), inside[kept]
