"""The likelihood of the limit that a report quotes, as a pyhf workspace."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.spectrum.details import SpectrumDetails
from tools.nuisances import Nuisance
from tools.spectrum.background import fit_all
from tools.spectrum.families import functions
from tools.spectrum.filled import Counts
from tools.spectrum.peak import Peak
from tools.spectrum.shapes import Bins
from tools.spectrum.workspace import workspace


def document(details: SpectrumDetails, sqrt_s: float | None) -> dict[str, Any]:
    """Return the workspace by its name; strength 1 is the observed limit. Nothing without one, as in blind runs."""
    found, at = details.limit_spectrum, details.limit_at
    if not found or not details.limit_width or "observed" not in at:
        return {}
    low, high, per, counts = (np.array(found[name], dtype=np.float64) for name in ("low", "high", "per", "count"))
    data = Counts(Bins(low, high, per), counts)
    best = fit_all(counts, list(functions(data.bins, counts.sum(), sqrt_s)))[0]
    peak, nuisances = Peak(at["mass"], details.limit_width), [Nuisance(**each) for each in details.nuisances]
    return {"workspace": workspace(data, best, peak, nuisances, at["observed"], at["background"])}
