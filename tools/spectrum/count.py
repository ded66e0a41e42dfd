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
from tools.spectrum.filled import Counts
from tools.spectrum.likelihood import Model, maximise
from tools.types import Floats


class Prediction(NamedTuple):
    """Background that the bins outside the window predict inside, in units of weight."""

    background: float
    error: float  # statistical, and from the choice of the function
    fits: list[Candidate]  # the best first


class Count(NamedTuple):
    """Events in the window in units of weight, predicted background, significance, negative for a deficit."""

    observed: float
    observed_error: float
    predicted: Prediction
    z: float


def predict(spectrum: Counts, inside: NDArray[np.bool_], functions: Sequence[Function]) -> Prediction:
    """Return the background where `inside` (n,) is true; raises ValueError if no event lies outside."""
    counts = spectrum.counts
    if not counts[~inside].sum():
        raise ValueError("no event outside the window to fit a background to")
    fits = sorted((_fit(counts, inside, f, window=False) for f in functions), key=lambda c: c.penalised)
    values, variances = np.array([_predicted(c, inside, spectrum.bins.per) for c in fits]).T
    background, error = map(float, averaged([c.penalised for c in fits], values, variances))
    return Prediction(background, error, fits)


def count(spectrum: Counts, inside: NDArray[np.bool_], predicted: Prediction) -> Count:
    """Return the excess in the bins where `inside` (n,) is true over what the others predict."""
    (counts, per), each = (spectrum.counts, spectrum.bins.per), [c.function for c in predicted.fits]
    seen = min((_fit(counts, inside, f, window=True) for f in each), key=lambda c: c.penalised)
    z = float(np.sqrt(max(seen.penalised - predicted.fits[0].penalised, 0.0)))
    observed, variance = (float((counts / per**k)[inside].sum()) for k in (1, 2))
    return Count(observed, float(np.sqrt(variance)), predicted, float(np.copysign(z, observed - predicted.background)))


def needed(spectrum: Counts, inside: NDArray[np.bool_], predicted: Prediction, z: float) -> float:
    """Return the signal in the window, in units of weight, with which a significance of `z` is to be expected."""
    from scipy.optimize import brentq  # slow to import

    smooth = predicted.fits[0].function.smooth(predicted.fits[0].fit.parameters)
    share = spectrum.bins.per * inside / inside.sum()

    def short(signal: float) -> float:
        expected = np.where(inside, smooth + signal * share, spectrum.counts)
        return count(spectrum._replace(counts=expected), inside, predicted).z - z

    top = (z + 1) * predicted.error + z * z + z * float(np.sqrt(max(predicted.background, 1.0)))
    while short(top) < 0:
        top *= 2
    return float(brentq(short, 0.0, top, rtol=1e-3))


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


def _predicted(candidate: Candidate, mask: NDArray[np.bool_], per: Floats) -> tuple[float, float]:
    """Return the background in the window and its statistical variance, in units of weight."""
    inside = candidate.function.among(mask)
    smooth = inside.smooth(candidate.fit.parameters) / per[mask]
    slope = smooth @ inside.basis
    return float(smooth.sum()), float(slope @ candidate.fit.covariance @ slope)
