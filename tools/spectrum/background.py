"""Fits of a smooth background, with resonances on top, by every function of the families that the data allow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tools.spectrum.families import Function
from tools.spectrum.likelihood import Fit, Model, maximise
from tools.types import Floats

CLOSE = 10.0  # functions whose Lambda is farther from the smallest are not considered any more


class Candidate(NamedTuple):
    """A background function and its fit."""

    function: Function
    fit: Fit

    @property
    def penalised(self) -> float:
        """Lambda of discrete profiling: the deviance plus one for each parameter of the background."""
        return self.fit.deviance + self.function.degree + 1


def averaged(penalised: Sequence[float], values: Floats, variances: Floats) -> tuple[Floats, Floats]:
    """Return mean and error of `values` (c, ...) with `variances`, averaged over c fits with weights exp(-Lambda / 2).

    The error contains how much the fits differ.
    """
    weights = np.exp(-(np.array(penalised) - min(penalised)) / 2)
    weights /= weights.sum()
    mean = np.tensordot(weights, values, 1)
    variance = np.tensordot(weights, variances + (values - mean) ** 2, 1)
    return np.asarray(mean), np.asarray(np.sqrt(np.maximum(variance, 0.0)))


def fit_all(counts: Floats, functions: Sequence[Function], shapes: Floats | None = None) -> list[Candidate]:
    """Return the fits of all functions to `counts` (n,), the smallest Lambda first, without those that are not CLOSE.

    `shapes` (s, n): resonances of known mass and width, whose yields float.
    """
    found = sorted((Candidate(f, fit(counts, f, shapes)) for f in functions), key=lambda c: c.penalised)
    return [c for c in found if c.penalised - found[0].penalised < CLOSE]


def fit(counts: Floats, function: Function, shapes: Floats | None = None) -> Fit:
    """Return the fit of one function, and of the yields of `shapes`, which may be negative."""
    shapes = np.empty((0, len(counts))) if shapes is None else shapes
    return maximise(counts, on_top(function, shapes), start(counts, function, len(shapes)))


def start(counts: Floats, function: Function, n_shapes: int = 0) -> Floats:
    """Return parameters to start from: least squares in log(counts + 1/2), and no signal."""
    weights = np.sqrt(counts + 0.5)
    logs = np.log((counts + 0.5) / function.widths)
    theta = np.linalg.lstsq(function.basis * weights[:, None], logs * weights, rcond=None)[0]
    return np.concatenate([theta, np.zeros(n_shapes)])


def on_top(function: Function, shapes: Floats) -> Model:
    """Return the model of a background with resonances on top; the parameters are theta, then the yields."""
    k = function.basis.shape[1]

    def model(parameters: Floats) -> tuple[Floats, Floats]:
        smooth = function.smooth(parameters[:k])
        return smooth + parameters[k:] @ shapes, np.concatenate([smooth[:, None] * function.basis, shapes.T], axis=1)

    return model
