"""Tool `spectrum.limit`: upper limits on a narrow resonance against its mass, expected and observed."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tools.contract import Frozen, Result, ToolError, tool
from tools.nuisances import Nuisance, stated
from tools.spectrum.background import CLOSE, Candidate, fit
from tools.spectrum.families import functions
from tools.spectrum.filled import Counts, beside, filled, gaps
from tools.spectrum.inputs import Range, SpectrumRequest, Unit
from tools.spectrum.limits import Limit, upper_limit
from tools.spectrum.peak import Peak
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
    resolution_uncertainty: float = Field(0.0, ge=0, le=1, description="relative error of the width")
    nuisances: list[Nuisance] = Field(
        default_factory=list, max_length=50, description="further sources of error, each with what it changes"
    )

    def sources(self) -> list[Nuisance]:
        """Return all nuisances, those stated as numbers first. Raises ToolError for a name that stands for two."""
        numbers = stated(
            self.efficiency_uncertainty,
            self.background_uncertainty,
            self.scale_uncertainty,
            self.resolution_uncertainty,
        )
        every = [*numbers, *self.nuisances]
        names = [each.name for each in every]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ToolError("nuisances", twice[0], f"each name once; there are {', '.join(names)}")
        return every


class MassLimit(Frozen):
    """Limits on the yield at one mass."""

    mass: float
    observed: float | None = Field(description="null if masses are blind")
    expected: list[float] = Field(description="expected from background at -2, -1, 0, 1, 2 sigma")
    background: float = Field(description="expected within two widths of the mass")
    z: float | None = Field(description="local significance with nuisances; 0: deficit, null: blind; no trials factor")


class Impact(Frozen):
    """The limits at one mass without one nuisance, to be compared with those with all of them."""

    name: str
    observed: float | None
    expected: float = Field(description="median expected from background")


class LimitResult(Result):
    """Limits on the number of signal events, or their sum of weights, by rising mass."""

    unit: Unit
    width: float
    level: float
    limits: list[MassLimit]
    function: str = Field(description="background function that describes the spectrum best")
    impact_mass: float = Field(description="mass of `impacts`: where the expected limit is tightest")
    impacts: list[Impact] = Field(description="limits there without each nuisance")


@tool("spectrum.limit")
def limit(request: LimitRequest) -> LimitResult:
    """Set upper limits (CLs, asymptotic) on the yield of a resonance of known width at each mass, with the limits that
    background alone lets expect. With `blind`, only the latter. No other resonance is in the model. Errors are
    nuisances of the fit.
    """
    data = counted(request)
    tested = [mass for mass in _masses(request) if data.bins.holds(mass)]
    open_ = np.ones(len(data.counts), bool) if request.blind is None else ~data.bins.inside(request.blind)
    seen = data.among(open_)
    known = functions(data.bins, seen.counts.sum(), request.sqrt_s)
    fits = sorted((Candidate(f, fit(seen.counts, f.among(open_))) for f in known), key=lambda c: c.penalised)
    fits = [each for each in fits if each.penalised - fits[0].penalised < CLOSE]
    sources = request.sources()

    def at(mass: float, nuisances: list[Nuisance]) -> Limit:
        return upper_limit(data, seen, fits, Peak(mass, request.width), nuisances, request.level)

    found = [at(mass, sources) for mass in tested]
    tightest = tested[int(np.argmin([each.expected[2] for each in found]))]
    impacts = []
    for source in sources:
        without = at(tightest, [each for each in sources if each is not source])
        impacts.append(Impact(name=source.name, observed=without.observed, expected=without.expected[2]))
    return LimitResult(
        unit=request.unit,
        width=request.width,
        level=request.level,
        limits=[
            MassLimit(mass=m, observed=f.observed, expected=list(f.expected), background=f.background, z=f.z)
            for m, f in zip(tested, found, strict=True)
        ],
        function=str(fits[0].function),
        impact_mass=tightest,
        impacts=impacts,
    )


def counted(request: LimitRequest) -> Counts:
    """Return the spectrum in which limits are set, blind masses included as empty bins, without gaps in the data.

    Raises ToolError if a mass to test is in one.
    """
    found = filled(bins_for(*request.fit_range, request.width, request.blind or ()), request.sample())
    emptied = gaps(found, request.blind)
    for low, high in emptied:
        if within := [mass for mass in request.masses or () if low < mass < high]:
            raise ToolError("masses", within[0], f"masses with events: a selection has emptied {low:.4g} to {high:.4g}")
    return found.among(beside(found.bins, emptied))


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
