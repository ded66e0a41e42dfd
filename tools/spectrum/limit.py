"""Tool `spectrum.limit`: upper limits on a narrow resonance against its mass, expected and observed."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tools.contract import Frozen, Result, ToolError, tool
from tools.spectrum.background import CLOSE, Candidate, fit
from tools.spectrum.families import functions
from tools.spectrum.filled import filled
from tools.spectrum.inputs import Range, SpectrumRequest, Unit
from tools.spectrum.limits import Errors, Peak, upper_limit
from tools.spectrum.shapes import bins_for

MOST = 30  # masses that are tested if none are given
EDGE = 3.0  # widths from either end of the range


class LimitRequest(SpectrumRequest):
    """Set upper limits on a narrow resonance."""

    width: float = Field(ge=0.002, le=0.1, description="relative width of the resonance, mostly the resolution")
    search: Range | None = Field(None, description="masses between which limits are set; default: all but the edges")
    masses: list[float] | None = Field(None, min_length=1, max_length=100, description="masses; default: up to 30")
    level: float = Field(0.95, gt=0.5, lt=1, description="confidence level (CLs)")
    efficiency_uncertainty: float = Field(0.0, ge=0, le=1, description="relative error of efficiency and luminosity")
    background_uncertainty: float = Field(
        0.0, ge=0, le=1, description="relative systematic error of the background under the peak"
    )
    scale_uncertainty: float = Field(0.0, ge=0, le=0.1, description="relative error of the mass scale")


class MassLimit(Frozen):
    """Limits on the yield at one mass."""

    mass: float
    observed: float | None = Field(description="null if masses are blind")
    expected: list[float] = Field(description="expected from background at -2, -1, 0, 1, 2 sigma")
    background: float = Field(description="expected within two widths of the mass")


class LimitResult(Result):
    """Limits on the number of signal events, or their sum of weights, by rising mass."""

    unit: Unit
    width: float
    level: float
    limits: list[MassLimit]
    function: str = Field(description="background function that describes the spectrum best")


@tool("spectrum.limit")
def limit(request: LimitRequest) -> LimitResult:
    """Set upper limits (CLs, asymptotic) on the yield of a resonance of known width at each mass, with the limits that
    background alone lets expect. With `blind`, only the latter. No other resonance is in the model.
    """
    tested = _masses(request)
    data = filled(bins_for(*request.fit_range, request.width, request.blind or ()), request.sample())
    open_ = np.ones(len(data.counts), bool) if request.blind is None else ~data.bins.inside(request.blind)
    seen = data.among(open_)
    known = functions(data.bins, seen.counts.sum(), request.sqrt_s)
    fits = sorted((Candidate(f, fit(seen.counts, f.among(open_))) for f in known), key=lambda c: c.penalised)
    fits = [each for each in fits if each.penalised - fits[0].penalised < CLOSE]
    errors = Errors(request.efficiency_uncertainty, request.background_uncertainty, request.scale_uncertainty)
    limits = []
    for mass in tested:
        peak = Peak(mass, request.width)
        observed, expected, under = upper_limit(data, seen, fits, peak, errors, request.level)
        limits.append(MassLimit(mass=mass, observed=observed, expected=list(expected), background=under))
    function = str(fits[0].function)
    return LimitResult(unit=request.unit, width=request.width, level=request.level, limits=limits, function=function)


def _masses(request: LimitRequest) -> list[float]:
    """Return the masses to test, by rising mass."""
    low, high = request.fit_range
    ends = low / (1 - EDGE * request.width), high / (1 + EDGE * request.width)
    if request.masses is not None:
        if outside := [mass for mass in request.masses if not ends[0] <= mass <= ends[1]]:
            allowed = f"{EDGE:g} widths or more inside fit_range: {ends[0]:.4g} to {ends[1]:.4g}"
            raise ToolError("masses", outside[0], allowed)
        return sorted(request.masses)
    wanted = request.search or request.blind or ends
    first, last = max(wanted[0], ends[0]), min(wanted[1], ends[1])
    if not first < last:
        raise ToolError("search", request.search, f"low < high, inside fit_range {request.fit_range}")
    steps = int(np.clip(np.log(last / first) / request.width, 2, MOST - 1))
    return [float(mass) for mass in np.geomspace(first, last, steps + 1)]
