"""Energy response and resolution as functions of incident energy: mean and relative spread of E_dep/E_inc."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tools.calorimeter.showers import Showers
from tools.contract import ToolError
from tools.types import Floats

MAX_LEVELS = 20  # up to this many distinct incident energies get a bin each; more share BINS bins
BINS = 12
MIN_SHOWERS = 10  # per bin


@dataclass(frozen=True)
class Response:
    """A bin of incident energies [MeV]: mean of E_dep/E_inc, relative standard deviation (resolution), and errors."""

    incident_low: float
    incident_high: float
    showers: int
    mean: float
    mean_error: float
    resolution: float
    resolution_error: float


def energy_bins(incident: Floats) -> Floats:
    """Return edges (b + 1,) of bins of incident energy: between up to MAX_LEVELS distinct ones, or else logarithmic."""
    levels = np.unique(incident)
    if len(levels) == 0:
        raise ToolError("incident", [], "at least one shower")
    if len(levels) <= MAX_LEVELS:
        middles = np.sqrt(levels[1:] * levels[:-1])
        return np.concatenate([[levels[0] * 0.999], middles, [levels[-1] * 1.001]])
    return np.geomspace(levels[0] * 0.999, levels[-1] * 1.001, BINS + 1)


def response(showers: Showers, edges: Floats) -> list[Response]:
    """Return one entry for each bin with at least MIN_SHOWERS showers."""
    ratio = showers.deposited / showers.incident
    found = []
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        x = ratio[(showers.incident >= low) & (showers.incident < high)]
        n = len(x)
        if n < MIN_SHOWERS or x.mean() <= 0:
            continue
        mean, variance = float(x.mean()), float(x.var(ddof=1))
        # Variance of a sample variance, from the fourth moment: responses have tails.
        fourth = float(np.mean((x - mean) ** 4))
        spread = max((fourth - variance**2 * (n - 3) / (n - 1)) / n, 0.0)
        sigma = np.sqrt(variance)
        error = np.sqrt(spread) / (2 * sigma) if sigma > 0 else 0.0
        found.append(Response(low, high, n, mean, float(sigma / np.sqrt(n)), float(sigma / mean), float(error / mean)))
    return found
