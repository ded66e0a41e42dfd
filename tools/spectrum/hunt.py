"""Tool `spectrum.hunt`: all resonances in a mass spectrum, on a smooth background."""

from __future__ import annotations

import numpy as np
from pydantic import Field
from scipy.special import chdtrc

from tools.contract import Frozen, Result, Seed, ToolError, tool
from tools.events.parquet import write_events
from tools.files import below
from tools.spectrum.families import functions
from tools.spectrum.filled import beside, filled, gaps
from tools.spectrum.inputs import Range, Sample, SpectrumRequest, Unit
from tools.spectrum.likelihood import Fit, deviance
from tools.spectrum.search import BEYOND, Found, Spectrum, search
from tools.spectrum.shapes import Name, bins_for
from tools.types import Floats

WIDTHS = (0.005, 0.009, 0.016, 0.028, 0.05)  # relative widths that are tested
ALPHA = 1e-3  # global p-value below which a resonance is kept
MARGIN = 3.0  # widths between the masses searched and the ends of the fitted range
POOR = 0.01  # p-value of a fit that describes nothing
DESCRIBED = 10  # expected events per bin of the goodness of fit


class SearchRequest(SpectrumRequest):
    """What a mass spectrum is searched for."""

    search: tuple[float, float] | None = Field(
        None,
        description="masses to search; default: fit_range without a margin at either end. Less range, fewer trials",
    )
    width: float | None = Field(
        None, ge=0.002, le=0.1, description="relative width of all resonances if known; default: fitted"
    )
    alpha: float = Field(ALPHA, gt=0, lt=0.5, description="global p-value below which a resonance is kept")
    seed: Seed = Field(1, ge=0)


class HuntRequest(SearchRequest):
    """Search a mass spectrum for resonances."""

    out: str = Field("spectrum.parquet", description="file for the spectrum: edges, counts, fit and background per bin")


class FittedResonance(Frozen):
    """One resonance; errors contain the choice of the background function."""

    mass: float
    mass_error: float
    width: float = Field(description="relative width of the core, natural width and resolution together")
    width_error: float = Field(description="0 if the width was given")
    n_signal: float
    n_signal_error: float
    z: float = Field(description="local significance at discovery, resonances found before it included in the model")
    p_global: float = Field(description="probability of such a bump anywhere in the search from background alone")


class Excess(Frozen):
    """The largest bump that was not kept."""

    mass: float
    z: float
    p_global: float


class HuntResult(Result):
    """Resonances by rising mass, in the unit of the request."""

    unit: Unit
    events: int = Field(description="events in fit_range")
    effective_events: float | None = Field(description="unweighted events that would be as precise; null: not weighted")
    resonances: list[FittedResonance]
    one_width: bool = Field(description="whether all resonances were fitted with one width")
    shape: Name = Field(description="'gaussian', or 'tailed' where the peaks have tails: width is that of the core")
    background: str = Field(description="function that describes the spectrum best")
    fit_p: float | None = Field(description="p-value of the fit; below 0.01 choose another range; null: too few events")
    left: Excess | None = Field(description="largest further bump, not kept")
    left_out: list[Range] = Field(description="masses that no fit has seen: blind ones, and gaps that a selection made")
    step: float | None = Field(description="to which masses were rounded; they were spread evenly over it")
    warning: str | None = None
    spectrum: str = Field(description="file with the spectrum per bin")


@tool("spectrum.hunt")
def hunt(request: HuntRequest) -> HuntResult:
    """Find all resonances in a mass spectrum without any model of them: masses, widths, yields, and significances that
    count the whole search. The background is smooth: several families of functions compete. Takes some seconds.
    """
    path = below("out", request.out, ".parquet")
    sample = request.sample()
    found, spectrum = hunted(sample, request)
    write_events(path, columns_of(found, spectrum))
    return described(found, spectrum, sample, request)


def columns_of(found: Found, spectrum: Spectrum) -> dict[str, Floats]:
    """Return the spectrum: edges of the bins, count with its error, fit and background, in units of weight."""
    (low, high, per), counts = spectrum.bins, spectrum.counts
    heights = {"count": counts, "error": np.sqrt(counts), "fit": found.fits[0].fit.expected}
    heights |= {"background": background(found)}
    return {"low": low, "high": high} | {name: values / per for name, values in heights.items()}


def described(found: Found, spectrum: Spectrum, sample: Sample, request: HuntRequest) -> HuntResult:
    """Return the result of a hunt."""
    p = goodness(spectrum.counts, found.fits[0].fit)
    return HuntResult(
        unit=request.unit,
        events=len(sample.masses),
        effective_events=None if sample.weights is None else float(spectrum.counts.sum()),
        resonances=listed(found),
        one_width=found.way.common,
        shape=found.way.shape,
        background=str(found.fits[0].function),
        fit_p=p,
        left=found.left and Excess(mass=found.left.mass, z=found.left.z, p_global=found.left.p_global),
        left_out=list(spectrum.hidden),
        step=sample.step,
        warning=warning(found, p, request.width is not None),
        spectrum=request.out,
    )


def hunted(sample: Sample, request: SearchRequest) -> tuple[Found, Spectrum]:
    """Return what was found, and in which spectrum. Raises ToolError for a bad `search`."""
    spectrum = spectrum_of(sample, request)
    return search(spectrum, request.alpha, request.seed), spectrum


def spectrum_of(sample: Sample, request: SearchRequest) -> Spectrum:
    """Return the spectrum that a request asks to search. Raises ToolError for a bad `search`."""
    widths = WIDTHS if request.width is None else (request.width,)
    low, high = request.fit_range
    searched = request.search or (low * (1 + MARGIN * widths[0]), high * (1 - MARGIN * widths[0]))
    if not low <= searched[0] < searched[1] <= high:
        raise ToolError("search", searched, f"two masses inside fit_range {request.fit_range}, low < high")
    found = filled(bins_for(low, high, widths[0], request.blind or ()), sample)
    known = functions(found.bins, found.counts.sum(), request.sqrt_s)
    hidden = gaps(found, request.blind) + ([request.blind] if request.blind else [])
    seen = beside(found.bins, hidden)
    return Spectrum(*found.among(seen), [f.among(seen) for f in known], searched, widths, hidden)


def listed(found: Found) -> list[FittedResonance]:
    """Return the resonances by rising mass."""
    both = zip(found.resonances, found.bumps, strict=True)
    return [FittedResonance(**r._asdict(), z=bump.z, p_global=bump.p_global) for r, bump in both]


def background(found: Found) -> Floats:
    """Return the smooth part of the best fit in every bin (n,)."""
    function, fit = found.fits[0]
    return function.smooth(fit.parameters[: function.basis.shape[1]])


def goodness(counts: Floats, fit: Fit) -> float | None:
    """Return the p-value of the deviance in bins with DESCRIBED expected events or more; None if they are too few."""
    group = np.floor(np.cumsum(fit.expected) / DESCRIBED).astype(int)
    seen, expected = (np.bincount(group, values).astype(np.float64) for values in (counts, fit.expected))
    seen, expected = seen[expected > 0], expected[expected > 0]
    freedom = len(seen) - np.linalg.matrix_rank(fit.jacobian)
    return float(chdtrc(freedom, deviance(seen, expected))) if freedom > 0 else None


def warning(found: Found, p: float | None, known_width: bool) -> str | None:
    """Return why the result must not be trusted, or None."""
    said = []
    if p is not None and p < POOR:
        said.append(f"the fit does not describe the spectrum (p = {p:.1g}): choose another fit_range")
    limits = [r for r in found.resonances if r.width > 0.98 * BEYOND * WIDTHS[-1] and not known_width]
    said += [f"the width at {r.mass:.4g} is at the limit of {r.width:.2g}: it may be no resonance" for r in limits]
    return "; ".join(said) or None
