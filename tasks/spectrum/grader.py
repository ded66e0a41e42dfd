"""The harness's own fit of the spectrum, with the settings that the crew chose.

The crew chooses the range of the fit and may know the width; resonances, their numbers and p-values are the harness's.
Every graded choice counts as a trial. What steers is whether the fit describes the spectrum at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.score import Score
from tasks.spectrum.submission import SpectrumSubmission
from tools.contract import ToolError
from tools.spectrum.hunt import HuntRequest, background, described, hunted
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
        found, edges, counts = hunted(request.masses(), request)
    except (ToolError, ValueError) as error:
        return Score(metric=METRIC, value=None, reason=str(error))
    result = described(found, counts, request)
    resonances = [r.model_copy(update={"p_global": min(1.0, n_graded * r.p_global)}) for r in result.resonances]
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
