"""Tool `spectrum.inject`: what the same search would have found, had there been a resonance."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tools.contract import Frozen, Result, ToolError, tool
from tools.spectrum.hunt import SearchRequest, background, hunted
from tools.spectrum.inputs import Unit
from tools.spectrum.joint import Resonance
from tools.spectrum.search import search, trials
from tools.spectrum.shapes import resonance
from tools.types import Floats

NEAR = 3.0  # widths within which a resonance that is found is the one that was injected
POINTS = 30  # masses times yields, at most


class InjectRequest(SearchRequest):
    """Inject resonances into the fitted background, and search for them as in the data."""

    masses: list[float] = Field(min_length=1, max_length=POINTS, description="masses of the resonances")
    yields: list[float] = Field(min_length=1, max_length=POINTS, description="numbers of events, or sums of weights")
    injected_width: float | None = Field(
        None, ge=0.002, le=0.1, description="relative width of what is injected; default: `width`"
    )
    toys: int = Field(20, ge=2, le=500, description="toys at each mass and yield")


class Injected(Frozen):
    """What became of one resonance in all toys; pulls and biases are of the toys that found it."""

    mass: float
    n_signal: float
    toys: int
    found: int = Field(description="toys with a resonance of a global p-value below alpha within 3 widths of the mass")
    false: int = Field(description="resonances found elsewhere, in all toys")
    mass_bias: float | None = Field(description="mean of the found minus the true mass")
    mass_pull_mean: float | None
    mass_pull_width: float | None
    yield_bias: float | None = Field(description="mean of found minus true yield; weak ones are found if upward")
    yield_pull_mean: float | None
    yield_pull_width: float | None


class InjectResult(Result):
    """Efficiency, bias and pulls of the search at each mass and yield."""

    unit: Unit
    width: float = Field(description="relative width of what was injected")
    alpha: float
    injected: list[Injected]


@tool("spectrum.inject")
def inject(request: InjectRequest) -> InjectResult:
    """Find out how sensitive the search is: draw toys from the background fitted to the data, with a resonance on top,
    and hunt in each with the same settings. A toy takes 0.1 s with a known `width`, 2 s without.
    """
    width = request.injected_width or request.width
    if width is None:
        raise ToolError("injected_width", None, "the relative width of the resonances, as `width` is not given either")
    points = [(mass, amount) for mass in request.masses for amount in request.yields]
    if len(points) > POINTS:
        raise ToolError("yields", request.yields, f"at most {POINTS} masses times yields; these are {len(points)}")
    found, spectrum = hunted(request.sample(), request)
    low, high = spectrum.masses
    if outside := [mass for mass in request.masses if not low <= mass <= high]:
        raise ToolError("masses", outside[0], f"among the masses that are searched, {low:.4g} to {high:.4g}")
    if negative := [amount for amount in request.yields if amount <= 0]:
        raise ToolError("yields", negative[0], "above 0")
    smooth, rng = background(found), np.random.default_rng(request.seed)
    known = trials(spectrum, request.seed)
    table = []
    for mass, amount in points:
        expected = smooth + amount * resonance(spectrum.bins, mass, width, "gaussian")
        toys = rng.poisson(expected, (request.toys, len(expected))).astype(np.float64)
        seen = [search(spectrum._replace(counts=toy), request.alpha, known=known).resonances for toy in toys]
        table.append(_judged(seen, mass, amount, width))
    return InjectResult(unit=request.unit, width=width, alpha=request.alpha, injected=table)


def _judged(toys: list[list[Resonance]], mass: float, amount: float, width: float) -> Injected:
    """Return what became of a resonance in the toys."""
    near = [[r for r in toy if abs(r.mass / mass - 1) < NEAR * width] for toy in toys]
    best = [min(toy, key=lambda r: abs(r.mass - mass)) for toy in near if toy]
    mass_off, mass_pull = _pulls([(r.mass - mass, r.mass_error) for r in best])
    yield_off, yield_pull = _pulls([(r.n_signal - amount, r.n_signal_error) for r in best])
    return Injected(
        mass=mass,
        n_signal=amount,
        toys=len(toys),
        found=len(best),
        false=sum(map(len, toys)) - len(best),
        mass_bias=_mean(mass_off),
        mass_pull_mean=_mean(mass_pull),
        mass_pull_width=_spread(mass_pull),
        yield_bias=_mean(yield_off),
        yield_pull_mean=_mean(yield_pull),
        yield_pull_width=_spread(yield_pull),
    )


def _pulls(off: list[tuple[float, float]]) -> tuple[Floats, Floats]:
    differences, errors = np.array(off).reshape(-1, 2).T
    return differences, differences / errors


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _spread(values: Floats) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None
