"""Excess of events in one window of a mass spectrum over the background that its sidebands predict.

The window counts as one bin, so the shape of a signal in it does not matter. The background functions are fitted to the
sidebands, with and without the window's count; z^2 = Lambda with it - Lambda without it, each at its best function.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tools.spectrum.background import Candidate, averaged, start
from tools.spectrum.families import Function
from tools.spectrum.likelihood import Model, maximise
from tools.types import Floats


class Count(NamedTuple):
    """Events in the window, predicted background, and the significance, negative for a deficit."""

    observed: int
    background: float
    background_error: float  # statistical, and from the choice of the function
    z: float
    best: Function


def count(counts: Floats, inside: NDArray[np.bool_], functions: Sequence[Function]) -> Count:
    """Return the excess in the bins where `inside` (n,) is true; raises ValueError if no event lies outside."""
    if not counts[~inside].sum():
        raise ValueError("no event outside the window to fit a background to")
    observed = float(counts[inside].sum())
    blind = sorted((_fit(counts, inside, f, window=False) for f in functions), key=lambda c: c.penalised)
    seen = min((_fit(counts, inside, f, window=True) for f in functions), key=lambda c: c.penalised)
    predicted, variance = np.array([_predicted(c, inside) for c in blind]).T
    background, error = map(float, averaged([c.penalised for c in blind], predicted, variance))
    z = float(np.sqrt(max(seen.penalised - blind[0].penalised, 0.0)))
    return Count(int(observed), background, error, float(np.copysign(z, observed - background)), blind[0].function)


def _fit(counts: Floats, mask: NDArray[np.bool_], function: Function, window: bool) -> Candidate:
    """Fit one function to the bins outside the window and, with `window`, to the sum of those inside."""
    sums = np.eye(len(counts))[~mask]
    if window:
        sums = np.concatenate([sums, mask[None, :].astype(float)])
    first = start(counts[~mask], function.among(~mask))
    return Candidate(function, maximise(sums @ counts, summed(function, sums), first))


def summed(function: Function, sums: Floats) -> Model:
    """Return the model of a smooth function whose bins are added up by `sums` (m, n)."""

    def model(theta: Floats) -> tuple[Floats, Floats]:
        smooth = function.smooth(theta)
        return sums @ smooth, sums @ (smooth[:, None] * function.basis)

    return model


def _predicted(candidate: Candidate, mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the background in the window and its statistical variance."""
    inside = candidate.function.among(mask)
    smooth = inside.smooth(candidate.fit.parameters)
    slope = smooth @ inside.basis
    return float(smooth.sum()), float(slope @ candidate.fit.covariance @ slope)
