"""Tool `spectrum.count`: the excess in one window of a mass spectrum, chosen beforehand."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tools.contract import Result, ToolError, tool
from tools.normal import p_value
from tools.spectrum.count import count
from tools.spectrum.families import DEGREES, functions, polynomial
from tools.spectrum.inputs import SpectrumRequest, Unit
from tools.spectrum.shapes import centres_of, edges_for

FINE = 0.005  # relative width that the bins resolve


class CountRequest(SpectrumRequest):
    """Count the events of one window against its sidebands."""

    window: tuple[float, float] = Field(description="masses that may contain signal; the rest of fit_range predicts it")
    degree: int | None = Field(
        None,
        ge=DEGREES[0],
        le=DEGREES[-1],
        description="use exp(polynomial of this degree); default: families of functions compete",
    )


class CountResult(Result):
    """Observed and predicted events."""

    unit: Unit
    window: tuple[float, float]
    observed: int
    background: float = Field(description="predicted by the sidebands")
    background_error: float = Field(description="statistical, and from the choice of the function")
    excess: float
    excess_error: float
    z: float = Field(description="significance, negative for a deficit; no trials factor: the window was chosen before")
    p_value: float
    function: str = Field(description="background function that describes the sidebands best")


@tool("spectrum.count")
def count_window(request: CountRequest) -> CountResult:
    """Count the events in a window that was chosen without looking at it, and predict its background from the rest of
    the range. For several windows, or one chosen after a look, use spectrum.hunt.
    """
    low, high = request.window
    if not request.fit_range[0] < low < high < request.fit_range[1]:
        raise ToolError("window", request.window, f"low < high, well inside fit_range {request.fit_range}")
    masses = request.masses()
    edges = edges_for(*request.fit_range, FINE, request.window)
    counts, centres = np.histogram(masses, edges)[0].astype(np.float64), centres_of(edges)
    inside = (centres > low) & (centres < high)
    if request.degree is None:
        tried = list(functions(edges, int(counts[~inside].sum()), request.sqrt_s))
    else:
        tried = [polynomial(edges, request.degree)]
    try:
        found = count(counts, inside, tried)
    except ValueError as error:
        raise ToolError("fit_range", request.fit_range, str(error)) from None
    excess = found.observed - found.background
    return CountResult(
        unit=request.unit,
        window=request.window,
        observed=found.observed,
        background=found.background,
        background_error=found.background_error,
        excess=excess,
        excess_error=float(np.hypot(np.sqrt(found.observed), found.background_error)),
        z=found.z,
        p_value=p_value(found.z),
        function=str(found.best),
    )
