"""Joint fit of background and resonances with masses, widths and yields free, and its average over functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from tools.spectrum.background import Candidate, averaged
from tools.spectrum.families import Function
from tools.spectrum.likelihood import Model, maximise
from tools.spectrum.shapes import Bins, Name, resonance
from tools.types import Floats

NUDGE = 1e-4  # relative, for numerical derivatives of the shape


class Start(Protocol):
    """Where the fit of a resonance starts."""

    @property
    def mass(self) -> float: ...
    @property
    def width(self) -> float: ...


class Resonance(NamedTuple):
    """A fitted resonance; `width` is the relative width of its core, its error 0 if it was given."""

    mass: float
    mass_error: float
    width: float
    width_error: float
    n_signal: float
    n_signal_error: float


class Signal(NamedTuple):
    """What is fitted: so many resonances of one shape, widths bounded or one for all."""

    bins: Bins
    resonances: int
    shape: Name
    bounds: tuple[float, float]  # of the relative width; equal ones fix it
    common: bool


def fit_together(counts: Floats, at: Candidate, signal: Signal, starts: Sequence[Start]) -> Candidate:
    """Return the fit of one background function with everything free, started from fixed masses and widths."""
    logs = np.log([[start.mass, start.width] for start in starts]).reshape(-1, 2)
    first = [at.fit.parameters, logs[:, 0], logs[:1, 1] if signal.common else logs[:, 1]]
    return Candidate(at.function, maximise(counts, with_resonances(at.function, signal), np.concatenate(first)))


def with_resonances(function: Function, signal: Signal) -> Model:
    """Return the model whose parameters are theta, the yields, the log masses, and the log widths or a common one."""
    k, n, bounds = function.basis.shape[1], signal.resonances, np.log(signal.bounds)

    def shapes(mass: Floats, width: Floats) -> Floats:
        return resonance(signal.bins, mass, width, signal.shape)

    def model(parameters: Floats) -> tuple[Floats, Floats]:
        theta, amounts, logs, log_widths = np.split(parameters, [k, k + n, k + 2 * n])
        mass, width = np.exp(logs), np.exp(np.clip(log_widths, *bounds))
        free = (bounds[0] < log_widths) & (log_widths < bounds[1])
        at, more, less = shapes(mass, width), 1 + NUDGE, 1 - NUDGE
        by_mass = amounts[:, None] * (shapes(mass * more, width) - shapes(mass * less, width)) / (2 * NUDGE)
        by_width = amounts[:, None] * (shapes(mass, width * more) - shapes(mass, width * less)) / (2 * NUDGE)
        by_width = free[:, None] * (by_width.sum(axis=0, keepdims=True) if signal.common else by_width)
        smooth = function.smooth(theta)
        columns = [smooth[:, None] * function.basis, at.T, by_mass.T, by_width.T]
        return smooth + amounts @ at, np.concatenate(columns, axis=1)

    return model


def average(fits: Sequence[Candidate], signal: Signal) -> list[Resonance]:
    """Return the resonances averaged over background functions with weights exp(-Lambda / 2)."""
    n = signal.resonances
    if not n:
        return []
    values, variances = [], []
    for function, found in fits:
        k = function.basis.shape[1]
        values.append(_by_resonance(found.parameters[k:], n))
        variances.append(_by_resonance(np.diag(found.covariance)[k:], n))
    each = np.array(values)
    each[:, 2] = np.clip(each[:, 2], *np.log(signal.bounds))
    mean, spread = averaged([c.penalised for c in fits], each, np.array(variances))
    return [
        Resonance(
            m := float(np.exp(mass)), float(m * dm), w := float(np.exp(width)), float(w * dw), float(n), float(dn)
        )
        for (n, mass, width), (dn, dm, dw) in zip(mean.T, spread.T, strict=True)
    ]


def _by_resonance(parameters: Floats, n: int) -> Floats:
    """Return yields, log masses and log widths as (3, n); a common width belongs to all."""
    amounts, masses, widths = np.split(parameters, [n, 2 * n])
    return np.stack([amounts, masses, np.broadcast_to(widths, n)])
