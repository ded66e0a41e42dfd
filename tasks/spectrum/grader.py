"""The harness's own fit of the spectrum, with the settings that the crew chose.

The crew chooses the range of the fit and may know the width; resonances, their numbers and p-values are the harness's.
Every graded choice counts as a trial. What steers is whether the fit describes the spectrum at all. Its p-value has no
error from resampled events: a resampled spectrum fluctuates twice as much, and no smooth fit describes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from tasks.score import Score
from tasks.spectrum.submission import SpectrumSubmission
from tools.contract import ToolError
from tools.nuisances import Nuisance, background_error, together
from tools.spectrum.hunt import FittedResonance, HuntRequest, background, columns_of, described, hunted
from tools.spectrum.limits import CORE
from tools.spectrum.search import Spectrum
from tools.spectrum.window import CountRequest, count_window

METRIC = "p-value of the fit, at most 0.1"
ENOUGH = 0.1  # a better fit is no better description
ERROR = 0.02  # gain that counts
SHOWN = 160  # bins of the plot, about
SUMMED = {"count": "count", "fit": "fit", "smooth": "background"}


def grade(
    submission: SpectrumSubmission,
    common: dict[str, Any],
    search: tuple[float, float] | None,
    n_graded: int,
    nuisances: Sequence[Nuisance] = (),
) -> Score:
    """Return the score of one choice.

    `common`: events, unit, sqrt_s, weights and blind; `search`: masses that must be covered; `nuisances`: their
    errors are added to those of masses and yields.
    """
    low, high = submission.fit_range
    if search and not low <= search[0] < search[1] <= high:
        return Score(metric=METRIC, value=None, reason=f"fit_range={submission.fit_range} must contain {search}")
    try:
        request = HuntRequest(**common, fit_range=submission.fit_range, search=search, width=submission.width)
        sample = request.sample()
        found, spectrum = hunted(sample, request)
    except (ToolError, ValueError) as error:
        return Score(metric=METRIC, value=None, reason=str(error))
    result = described(found, spectrum, sample, request)
    resonances = [_counted(r, n_graded, nuisances, spectrum, background(found)) for r in result.resonances]
    numbers = {
        f"{name}_{k}": {"value": value, "error": error}
        for k, r in enumerate(resonances, 1)
        for name, value, error in (("mass", r.mass, r.mass_error), ("events", r.n_signal, r.n_signal_error))
    }
    said = ", ".join(f"{r.mass:.4g} {request.unit} (z = {r.z:.1f})" for r in resonances) or "none"
    return Score(
        metric=METRIC,
        value=ENOUGH if result.fit_p is None else min(result.fit_p, ENOUGH),
        error=ERROR,
        reason=f"{result.events} events in {low:g} to {high:g} {request.unit}; resonances: {said}",
        details=result.model_dump(exclude={"events", "resonances", "spectrum"})
        | {
            "numbers": numbers,
            "resonances": [r.model_dump() for r in resonances],
            "trials": n_graded,
            "blind": common.get("blind"),
            "spectrum": plotted(columns_of(found, spectrum)),
        },
    )


def _counted(
    found: FittedResonance, n_graded: int, nuisances: Sequence[Nuisance], spectrum: Spectrum, smooth: Any
) -> FittedResonance:
    """Return a resonance with all choices counted, and systematic errors in those of mass and yield."""
    core = np.abs(spectrum.bins.centres / found.mass - 1) < CORE * found.width
    under = float((smooth / spectrum.bins.per)[core].sum())
    changed = {
        "p_global": min(1.0, n_graded * found.p_global),
        "mass_error": float(np.hypot(found.mass_error, together(nuisances, "mass") * found.mass)),
        "n_signal_error": float(np.hypot(found.n_signal_error, background_error(nuisances) * under)),
    }
    return found.model_copy(update=changed)


def count(common: dict[str, Any], submission: SpectrumSubmission, window: tuple[float, float]) -> dict[str, Any]:
    """Return the excess in the operator's window. Raises ToolError."""
    request = CountRequest(**common, fit_range=submission.fit_range, window=window)
    return count_window.run(request).model_dump()


def plotted(columns: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the spectrum of `columns_of` in few enough bins to look at; none has a gap in it."""
    low, high = columns["low"], columns["high"]
    each = -(-len(low) // SHOWN)
    breaks = 1 + np.flatnonzero(high[:-1] != low[1:])
    starts = np.concatenate([np.arange(a, b, each) for a, b in pairwise([0, *breaks, len(low)])])
    sums = {name: np.add.reduceat(columns[of], starts).tolist() for name, of in SUMMED.items()}
    error = np.sqrt(np.add.reduceat(columns["error"] ** 2, starts)).tolist()
    return {"low": low[starts].tolist(), "high": high[[*(starts[1:] - 1), -1]].tolist(), **sums, "error": error}
