"""The bump-hunt tool: cut on a score, fit the mass spectrum, report significance, mass and yield for every cut."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from tools.bumphunt.background import zone
from tools.bumphunt.inputs import load_weighted
from tools.bumphunt.lookelsewhere import Hunt, global_p
from tools.bumphunt.measure import Cut, measure, threshold, usable
from tools.bumphunt.sculpting import sculpting
from tools.bumphunt.spectrum import RANGE, WIDTH_RANGE, Spectrum, hypotheses, one
from tools.contract import Request, Result, ToolError, tool
from tools.events.table import mass_column
from tools.events.weights import of_rows
from tools.types import Floats

EFFICIENCIES = [1e-2, 3e-3, 1e-3]
CORE = 2.0  # widths on each side of its mass that a peak takes up
NOT_SMOOTH = 0.01  # smooth_p below which a bump must not be trusted
LEAST_Z = 1.0  # standard deviations from which on a fit is called a bump
SAME = 1.5  # a cut that keeps so many times more than it was asked for is another cut
WIDEST = 1e3  # ratio of the edges of a fit: bins are of equal relative width
TOYS = 200  # pseudo-experiments; p-values beyond their reach are extrapolated


class ScanRequest(Request):
    """A file of scores, one per event, and a mass window to search."""

    events: str = Field("/inputs/events.parquet", description="parquet file with the event table")
    scores: str = Field(description="parquet file with a column `score`, one row per event")
    window: tuple[float, float] = Field(description="lower and upper edge in the mass; masses in it are tested")
    efficiencies: list[float] | None = Field(
        None,
        min_length=1,
        max_length=20,
        description="background efficiencies to cut at; default: those of 0.01, 0.003, 0.001 that keep 12 sideband "
        "events, or all three if none does",
    )
    fit_range: tuple[float, float] | None = Field(
        None, description="range of the fit; default: for mjj 2.4 to 6.4 TeV, for a column mass all events"
    )
    width: float | None = Field(
        None,
        ge=WIDTH_RANGE[0],
        le=WIDTH_RANGE[1],
        description="relative standard deviation of the resonance in the mass, if known; otherwise several are tested",
    )


class CutResult(BaseModel):
    """Fit after one cut. `signal` counts passing events, or is their sum of weights."""

    model_config = ConfigDict(frozen=True)
    efficiency: float = Field(description="background efficiency asked for")
    kept: float | None = Field(
        None, description="background efficiency of the cut: above the one asked for if many scores are equal"
    )
    mass: float = Field(description="in the unit of the events")
    mass_error: float
    signal: float = Field(description="events behind this cut")
    signal_error: float
    width: float = Field(description="relative standard deviation of the core")
    width_error: float = Field(description="0 if the width was given")
    degree: int = Field(description="degree of the transfer factor, chosen on signal-free events")
    delta: float = Field(description="relative error of the background under a bump, besides statistics")
    z: float = Field(description="local significance in standard deviations")
    p_value: float = Field(description="local, one-sided")
    deviance: float = Field(description="deviance of the fit; comparable with `bins` where counts are large")
    bins: int
    valid: bool
    smooth_p: float | None = Field(
        None,
        description="p-value for a passing fraction beside the window that is smooth in the mass; below 0.01 do not "
        "trust a bump",
    )


class ScanResult(Result):
    """Results of all cuts, the most significant of them, and its global p-value."""

    cuts: list[CutResult]
    best: int = Field(description="index into `cuts` of the most significant cut")
    p_global: float = Field(
        description="global p-value of the best cut, over these masses, widths and cuts, from pseudo-experiments"
    )


@tool("bumphunt.scan")
def scan(request: ScanRequest) -> ScanResult:
    """Bump hunt: keep the events of highest score (at fixed background efficiencies) and fit a resonance on a smooth
    background in the mass with a profile likelihood. Returns mass, width, passing signal and local p-value for every
    cut. p_global does not account for how many windows and trainings were tried before.
    """
    cuts, spectra = bumps(request)
    found = global_p([Hunt(spectra, hypotheses(*request.window, request.width))], n_toys=TOYS)
    return ScanResult(cuts=cuts, best=int(np.argmax([cut.z for cut in cuts])), p_global=found.p_global)


def bumps(request: ScanRequest) -> tuple[list[CutResult], list[Spectrum]]:
    """Return the results of all cuts, and the spectra behind them. Raises ToolError."""
    mjj, score, weight = load_weighted(request.events, request.scores)
    fit_range = low, high = request.fit_range or default_range(request.events, mjj)
    if not 0 < low < high <= WIDEST * low:
        allowed = f"two edges above 0 in the unit of the mass, increasing, at most a factor of {WIDEST:g} apart"
        raise ToolError("fit_range", fit_range, allowed)
    if not low < request.window[0] < request.window[1] < high:
        raise ToolError("window", request.window, f"must be increasing and lie inside the fit range {fit_range}")
    if not np.any((mjj >= low) & (mjj < high)):
        seen = f"masses run from {mjj.min():.4g} to {mjj.max():.4g}"
        raise ToolError("fit_range", fit_range, f"a range with events; it has no events: {seen}")
    cuts: list[CutResult] = []
    spectra: list[Spectrum] = []
    for efficiency in request.efficiencies or usable(EFFICIENCIES, mjj, request.window, score, weight):
        try:
            cut = measure(mjj, score, request.window, efficiency, fit_range, width=request.width, weight=weight)
            cuts.append(checked(cut, mjj, score, request.window, weight))
            spectra.append(cut.spectrum)
        except ValueError as error:
            raise ToolError("efficiencies", efficiency, str(error)) from None
        print(f"efficiency {efficiency:g}: z = {cuts[-1].z:.2f}", file=sys.stderr)
    return cuts, spectra


def default_range(events: str, mass: Floats) -> tuple[float, float]:
    """Return the range of a fit if none is given: that of dijets, or that of all masses in the file."""
    import pyarrow.parquet as pq  # slow to import

    names = pq.read_schema(events).names
    return RANGE if mass_column(names) == "mjj" else (float(mass.min()), float(np.nextafter(mass.max(), np.inf)))


def checked(
    cut: Cut, mjj: Floats, score: Floats, window: tuple[float, float], weight: Floats | None = None
) -> CutResult:
    """Return `summary` with the sculpting test on signal-free events, if at least 10 of them pass and 10 fail.

    The test leaves out the window. If that has a bump, it leaves out the bump's zone and, of the passing events beyond,
    as many as the fit assigns to its far tails.
    """
    is_bump = cut.fit.z > LEAST_Z
    low, high = zone(window, cut.fit.mass, cut.fit.width) if is_bump else window
    passed = score >= threshold(score, mjj, window, cut.efficiency, weight)
    side = (mjj < window[0]) | (mjj >= window[1])
    kept = float(np.average(passed[side], weights=of_rows(weight, side)))
    if kept > SAME * cut.efficiency:
        print(f"note: many scores are equal: the cut at {cut.efficiency:g} keeps {kept:.3g}", file=sys.stderr)
    beside = (mjj < low) | (mjj >= high)
    if is_bump:
        beside &= ~(passed & tails(cut, mjj))
    try:
        smooth = sculpting(mjj[beside], passed[beside], weight=of_rows(weight, beside)).smooth_p
    except ValueError:  # equal scores
        smooth = None
    return summary(cut).model_copy(update={"smooth_p": smooth, "kept": kept})


def tails(cut: Cut, mjj: Floats, seed: int = 1) -> NDArray[np.bool_]:
    """Mark events (n,) at random, each with the probability that a passing event of its mass is signal."""
    spectrum, fit = cut.spectrum, cut.fit
    signal = fit.signal * spectrum.shapes(one(fit.mass, fit.width))[0]
    share = signal / np.maximum(signal + fit.background, 1e-300)
    bins = np.clip(np.searchsorted(spectrum.edges, mjj, side="right") - 1, 0, len(share) - 1)
    return np.asarray(np.random.default_rng(seed).uniform(size=len(mjj)) < share[bins])


def distrust(cuts: Sequence[CutResult], best: int, window: tuple[float, float]) -> str | None:
    """Return why the bump behind the best cut must not be trusted, or None if there is no reason.

    Where too few events pass this cut for the test, that of the next looser one counts: all cut on the same score.
    """
    looser = sorted((c for c in cuts if c.efficiency >= cuts[best].efficiency), key=lambda c: c.efficiency)
    cut = next((c for c in looser if c.smooth_p is not None), None)
    if cut is None or cut.smooth_p is None or cut.smooth_p >= NOT_SMOOTH:
        return None
    return (
        f"The score sculpts the mass (p = {cut.smooth_p:.1g}): after the cut at background efficiency "
        f"{cut.efficiency:g} the passing fraction of the sidebands is not smooth. The cut itself may have produced the "
        "bump." + leak(cuts[best], window)
    )


def leak(cut: CutResult, window: tuple[float, float]) -> str:
    """Return that the fitted peak reaches over an edge of the window, and which; '' if it does not."""
    low, high = (cut.mass * (1 + side * CORE * cut.width) for side in (-1, 1))
    over = [f"{edge:g}" for edge, beyond in zip(window, (low < window[0], high > window[1]), strict=True) if beyond]
    if not over:
        return ""
    return (
        f" But the peak, {low:.4g} to {high:.4g}, leaks over the edge of the window at {' and '.join(over)}: "
        "its own flank beside the window may be what is not smooth. Move or widen the window, and test again."
    )


def summary(cut: Cut) -> CutResult:
    fit = cut.fit
    return CutResult(
        efficiency=cut.efficiency,
        mass=fit.mass,
        mass_error=fit.mass_error,
        signal=fit.signal,
        signal_error=fit.signal_error,
        width=fit.width,
        width_error=fit.width_error,
        degree=cut.spectrum.degree,
        delta=cut.spectrum.delta,
        z=fit.z,
        p_value=fit.p_value,
        deviance=fit.deviance,
        bins=fit.bins,
        valid=fit.valid,
    )
