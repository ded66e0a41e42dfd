"""Significance, mass, width and yield of a bump in data that come with a signal-free reference sample.

The reference has the same background as the data and no signal, in the same range of mjj, which need not extend beyond
the signal. A cut keeps the same fraction of both in every bin of mjj: the reference's counts are further bins of the
pass-fail likelihood (`profile.py`), with the same transfer factor and without signal. They fix how many background
events pass, and the failing data fix their distribution, so that even a signal nearly as wide as the range can be told
from background. The degree of the transfer factor is chosen on the reference alone.
"""

from __future__ import annotations

import numpy as np

from tools.bumphunt.background import choose_degree
from tools.bumphunt.measure import Cut, fitted
from tools.bumphunt.spectrum import Hypotheses, Spectrum, hypotheses, make_edges
from tools.types import Floats

Scored = tuple[Floats, Floats]  # mjj and score of the same events
DEGREES = (1, 2, 3)
CLOSURE = 0.01  # relative error of the reference's passing fraction, besides its statistics
MARGIN = 0.1  # fraction of the range at either end where no mass is tested: a bump at the edge is hardly visible
LEAST = 5  # minimum number of reference events that a cut keeps


def reference_threshold(reference: Floats, efficiency: float) -> float:
    """Return the score that keeps the fraction `efficiency` of the reference; ValueError if it keeps fewer than LEAST
    events or all of them.
    """
    kept = round(efficiency * len(reference))
    if not LEAST <= kept < len(reference):
        allowed = f"between {LEAST} and {len(reference) - 1}"
        raise ValueError(f"efficiency={efficiency} keeps {kept} of {len(reference)} reference events; {allowed} needed")
    return float(np.sort(reference)[-kept])


def with_reference(data: Scored, reference: Scored, cut: float, edges: Floats, closure: float = CLOSURE) -> Spectrum:
    """Return the spectra of data and reference that pass and fail the score `cut`."""
    counts = [
        np.histogram(mjj[chosen], edges)[0].astype(np.float64)
        for mjj, score in (data, reference)
        for chosen in (score >= cut, score < cut)
    ]
    passed, failed, *pair = counts
    degree = choose_degree(pair[0], pair[1], edges, DEGREES)
    return Spectrum(edges, passed, failed, degree, closure, (pair[0], pair[1]))


def region_edges(mjj: Floats) -> Floats:
    """Return bin edges from the smallest to the largest mjj."""
    return make_edges(float(mjj.min()), float(np.nextafter(mjj.max(), np.inf)))


def measure_with_reference(
    data: Scored,
    reference: Scored,
    efficiency: float,
    tested: Hypotheses | None = None,
    width: float | None = None,
    closure: float = CLOSURE,
) -> Cut:
    """Cut on the score at the reference's `efficiency`, test resonances inside the region and fit at the best of them.

    Raises ValueError if the cut keeps too few reference events.
    """
    edges = region_edges(data[0])
    spectrum = with_reference(data, reference, reference_threshold(reference[1], efficiency), edges, closure)
    inner = MARGIN * (edges[-1] - edges[0])
    masses = (float(edges[0] + inner), float(edges[-1] - inner))
    tested = hypotheses(*masses, width) if tested is None else tested
    return fitted(efficiency, spectrum, tested, masses, width)
