"""Scaling of the held-out loss of taggers from scratch with labels and parameters: loss = floor + a n^-alpha."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.rows import Row


def power_law(n: Sequence[float], loss: Sequence[float], error: Sequence[float]) -> dict[str, float] | None:
    """Fit floor + a (n / n_1)^-alpha with floor, a, alpha >= 0 by weighted least squares; return it with errors.

    None if there are fewer than three points or the fit fails.
    """
    from scipy.optimize import curve_fit

    x, y, sigma = (np.asarray(values, dtype=float) for values in (n, loss, error))
    if len(x) < 3:
        return None

    def law(x: Any, floor: float, a: float, alpha: float) -> Any:
        return floor + a * (x / x_1) ** -alpha

    x_1 = x[0]
    start = [0.5 * y.min(), max(y[0] - 0.5 * y.min(), 1e-6), 0.3]
    try:
        found, covariance = curve_fit(law, x, y, start, sigma, absolute_sigma=True, bounds=(0, [np.inf, np.inf, 5]))
    except RuntimeError:
        return None
    chi2 = float(np.sum(((y - law(x, *found)) / sigma) ** 2))
    errors = np.sqrt(np.diag(covariance))
    return {
        "alpha": float(found[2]),
        "alpha_error": float(errors[2]),
        "floor": float(found[0]),
        "floor_error": float(errors[0]),
        "chi2": chi2,
        "degrees_of_freedom": len(x) - 3,
    }


def summarise(rows: Sequence[Row], along: str) -> dict[str, Any]:
    """Fit along a column of the rows, `count` or `parameters`; errors are those of means over seeds."""
    groups = {n: [row["loss"] for row in rows if row[along] == n] for n in sorted({row[along] for row in rows})}
    if not groups or min(map(len, groups.values())) < 2:
        return {}
    mean = [float(np.mean(losses)) for losses in groups.values()]
    error = [float(np.std(losses, ddof=1) / len(losses) ** 0.5) for losses in groups.values()]
    # With few seeds per point the errors themselves are uncertain: all points get their mean square.
    common = [float(np.sqrt(np.mean(np.square(error))))] * len(groups)
    key = {"count": "data", "parameters": "parameters"}[along]
    fit = power_law(list(groups), mean, common)
    return {f"scaling_{key}_loss": dict(zip(map(str, groups), mean, strict=True)), f"scaling_{key}": fit}
