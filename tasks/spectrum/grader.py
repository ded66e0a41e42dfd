"""The harness's own fit of the spectrum, with the settings that the crew chose.

The crew chooses the range of the fit and may know the width; resonances, their numbers and p-values are the harness's.
Every graded choice counts as a trial. What steers is whether the fit describes the spectrum at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tasks.score import Score
from tasks.spectrum.submission import SpectrumSubmission
from tools.contract import ToolError
from tools.spectrum.hunt import HuntRequest, background, goodness, hunted, listed, warning
from tools.spectrum.window import CountRequest, count_window

METRIC = "p-value of the fit, at most 0.1"
ENOUGH = 0.1  # a better fit is no better description
ERROR = 0.02  # gain that counts
SHOWN = 160  # bins of the plot, at most


def grade(
    submission: SpectrumSubmission, common: dict[str, Any], search: tuple[float, float] | None, n_graded: int
) -> Score:
    """Return the score of one choice. `common`: events, unit and sqrt_s; `search`: masses that must be covered."""
    low, high = submission.fit_range
    if search and not low <= search[0] < search[1] <= high:
        return Score(metric=METRIC, value=None, reason=f"fit_range={submission.fit_range} must contain {search}")
    try:
        request = HuntRequest(**common, fit_range=submission.fit_range, search=search, width=submission.width)
        masses = request.masses()
        found, edges, counts = hunted(masses, request)
    except (ToolError, ValueError) as error:
        return Score(metric=METRIC, value=None, reason=str(error))
    fit_p = goodness(counts, found.fits[0].fit)
    resonances = [r.model_copy(update={"p_global": min(1.0, n_graded * r.p_global)}) for r in listed(found)]
    numbers = {
        f"{name}_{k}": {"value": value, "error": error}
        for k, r in enumerate(resonances, 1)
        for name, value, error in (("mass", r.mass, r.mass_error), ("events", r.n_signal, r.n_signal_error))
    }
    said = ", ".join(f"{r.mass:.4g} {request.unit} (z = {r.z:.1f})" for r in resonances) or "none"
    return Score(
        metric=METRIC,
        value=ENOUGH if fit_p is None else min(fit_p, ENOUGH),
        error=ERROR,
        reason=f"{len(masses)} events in {low:g} to {high:g} {request.unit}; resonances: {said}",
        details={
            "numbers": numbers,
            "resonances": [r.model_dump() for r in resonances],
            "fit_p": fit_p,
            "unit": request.unit,
            "background": str(found.fits[0].function),
            "one_width": found.way.common,
            "shape": found.way.shape,
            "left": found.left and {"mass": found.left.mass, "z": found.left.z, "p_global": found.left.p_global},
            "warning": warning(found, fit_p, submission.width is not None),
            "trials": n_graded,
            "spectrum": plotted(edges, counts, found.fits[0].fit.expected, background(found)),
        },
    )


def count(common: dict[str, Any], submission: SpectrumSubmission, window: tuple[float, float]) -> dict[str, Any]:
    """Return the excess in the operator's window. Raises ToolError."""
    request = CountRequest(**common, fit_range=submission.fit_range, window=window)
    return count_window.run(request).model_dump()


def plotted(edges: Any, counts: Any, fit: Any, smooth: Any) -> dict[str, list[float]]:
    """Return the spectrum in few enough bins to look at."""
    each = -(-len(counts) // SHOWN)
    starts = np.arange(0, len(counts), each)
    sums = {
        name: np.add.reduceat(v, starts).tolist() for name, v in (("count", counts), ("fit", fit), ("smooth", smooth))
    }
    return {"edges": [*edges[starts].tolist(), float(edges[-1])], **sums}


def events_in(inputs: Path) -> str:
    """Return the path of the event table."""
    return str(inputs / "events.parquet")
