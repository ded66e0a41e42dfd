"""The likelihood of a limit on a peak as a pyhf workspace (HistFactory in JSON, Heinrich et al., JOSS 6 (2021) 2823).

It is that of `limits.py` for the best background function alone: HistFactory cannot choose among functions. The
function floats along the independent directions of its fit, as `histosys` whose priors are LOOSE standard deviations
wide, which narrows no error by more than 0.6%. A nuisance of the signal is a `normsys` for its efficiency and a
`histosys` for mass and width, under one name; an error of the background under the peak is a sample of its own. Bins
further than NEAR widths from the mass are merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.nuisances import Nuisance
from tools.spectrum.background import Candidate
from tools.spectrum.filled import Counts
from tools.spectrum.peak import Peak
from tools.spectrum.shapes import Bins, resonance
from tools.types import Floats

POI = "signal_strength"
LOOSE = 10.0
NEAR, MERGED = 4.0, 4  # widths of the resonance within which bins stay as they are; bins merged into one elsewhere


def workspace(
    data: Counts, best: Candidate, peak: Peak, nuisances: Sequence[Nuisance], events: float, under: float
) -> dict[str, Any]:
    """Return the workspace; strength 1 is a signal of so many `events`.

    `best`: fit of a function to `data` without signal; `under`: background under the peak.
    """
    starts = _starts(data.bins, peak)

    def merged(values: Floats) -> list[float]:
        return [float(each) for each in np.add.reduceat(values, starts)]

    smooth = best.function.smooth(best.fit.parameters)
    values, vectors = np.linalg.eigh(best.fit.covariance)
    modifiers = []
    for k, direction in enumerate((vectors * np.sqrt(np.maximum(values, 0.0))).T):
        step = LOOSE * best.function.basis @ direction
        sides = {"hi_data": merged(smooth * np.exp(step)), "lo_data": merged(smooth * np.exp(-step))}
        modifiers.append(_modifier(f"background_{k}", "histosys", sides))
    shape = resonance(data.bins, *peak)
    samples = [_sample("background", merged(smooth), modifiers)]
    samples.append(_sample("signal", merged(events * shape), _of_signal(data.bins, peak, nuisances, events, merged)))
    for each in nuisances:
        if each.background:
            moved = each.background * under * shape
            sides = {"hi_data": merged(moved), "lo_data": merged(-moved)}
            samples.append(_sample(f"under_{each.name}", merged(0 * moved), [_modifier(each.name, "histosys", sides)]))
    parameters = [{"name": POI, "inits": [1.0], "bounds": [[0.0, 10.0]]}]
    return {
        "channels": [{"name": "spectrum", "samples": samples}],
        "observations": [{"name": "spectrum", "data": merged(data.counts)}],
        "measurements": [{"name": "limit", "config": {"poi": POI, "parameters": parameters}}],
        "version": "1.0.0",
    }


def _of_signal(bins: Bins, peak: Peak, nuisances: Sequence[Nuisance], events: float, merged: Any) -> list[Any]:
    """Return the modifiers of the signal."""
    found = [_modifier(POI, "normfactor", None)]
    for each in nuisances:
        down, up = each.efficiency
        if down != 1 or up != 1:
            found.append(_modifier(each.name, "normsys", {"hi": up, "lo": down}))
        pairs = zip(each.mass, each.width, strict=True)
        moved = [peak._replace(mass=peak.mass * m, width=peak.width * w) for m, w in pairs]
        if any(side != peak for side in moved):
            low, high = (merged(events * resonance(bins, *side)) for side in moved)
            found.append(_modifier(each.name, "histosys", {"hi_data": high, "lo_data": low}))
    return found


def _starts(bins: Bins, peak: Peak) -> NDArray[np.int64]:
    """Return the first bin of each bin of the workspace."""
    far = np.abs(bins.centres / peak.mass - 1) > NEAR * peak.width
    begins = ~far | np.append(True, ~far[:-1])  # the bin after the last near one starts a merged one
    return np.flatnonzero(begins | (np.arange(len(far)) % MERGED == 0))


def _sample(name: str, data: list[float], modifiers: list[Any]) -> dict[str, Any]:
    return {"name": name, "data": data, "modifiers": modifiers}


def _modifier(name: str, kind: str, data: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "data": data}
