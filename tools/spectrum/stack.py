"""Fits of one background function to many spectra at once, by the Fisher scoring of `likelihood.py`.

Nuisances of a peak of given yield, if there are any, float with it; each adds eta^2 to the deviance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tools.spectrum.families import Function
from tools.spectrum.likelihood import HALVINGS, STEPS, TINY, TOLERANCE
from tools.spectrum.peak import Moved
from tools.types import Floats

NEAR = 1e-4  # in -2 log L; enough where nuisances float


class Stack(NamedTuple):
    """Fits to t spectra."""

    parameters: Floats  # (t, p): theta, then the yield if a shape was given, or the nuisances of a peak
    penalised: Floats  # (t,): the deviance plus one for each parameter of the background


class _Spectra(NamedTuple):
    """Counts (t, n), resonances of free yield (t, n) or none, and a peak of given yields besides."""

    function: Function
    counts: Floats
    shape: Floats | None
    peak: Moved | None

    def rows(self, chosen: NDArray[np.int64]) -> _Spectra:
        shape = None if self.shape is None else self.shape[chosen]
        peak = None if self.peak is None else self.peak.rows(chosen)
        return self._replace(counts=self.counts[chosen], shape=shape, peak=peak)

    def expect(self, parameters: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the smooth and all expected counts (t, n), and the deviance (t,)."""
        k, counts = self.function.basis.shape[1], self.counts
        with np.errstate(over="ignore", invalid="ignore"):
            smooth = self.function.widths * np.exp(parameters[:, :k] @ self.function.basis.T)
            all_ = smooth if self.shape is None else smooth + parameters[:, k:] * self.shape
            all_ = np.maximum(all_ if self.peak is None else all_ + self.peak.counts(parameters[:, k:]), TINY)
            terms = np.where(counts > 0, counts * np.log(np.maximum(counts, TINY) / all_), 0.0)
            total = 2 * np.sum(all_ - counts + terms, axis=1)
            if self.peak is not None:
                total += np.sum(parameters[:, k:] ** 2, axis=1)
        return smooth, all_, np.where(np.isfinite(total), total, np.inf)

    def step(self, at: Floats, squares: Floats) -> tuple[Floats, Floats]:
        """Return the step (t, p) from parameters `at`, and what it should gain in -2 log L (t,)."""
        smooth, all_, _ = self.expect(at)
        basis, off, ratio = self.function.basis, self.counts / all_ - 1, smooth / all_
        k, score = basis.shape[1], (off * smooth) @ basis
        information = ((smooth * ratio) @ squares).reshape(-1, k, k)
        more, prior = self._besides(at[:, k:])
        if more is not None:
            cross = basis.T @ (ratio[:, :, None] * more)
            own = more.transpose(0, 2, 1) @ (more / all_[:, :, None]) + prior * np.eye(more.shape[2])
            score = np.append(score, (off[:, None] @ more)[:, 0] - prior * at[:, k:], axis=1)
            below = np.concatenate([cross.transpose(0, 2, 1), own], axis=2)
            information = np.concatenate([np.concatenate([information, cross], axis=2), below], axis=1)
        move = (np.linalg.pinv(information, rcond=1e-12, hermitian=True) @ score[:, :, None])[:, :, 0]
        return move, np.sum(score * move, axis=1)

    def _besides(self, at: Floats) -> tuple[Floats | None, float]:
        """Return derivatives (t, n, m) by the parameters besides theta, None if there are none, and what holds them."""
        if self.shape is not None:
            return self.shape[:, :, None], 0.0
        return (self.peak.slopes(at), 1.0) if self.peak is not None and at.shape[1] else (None, 0.0)


def fit_stack(
    counts: Floats, function: Function, start: Floats, shape: Floats | None = None, peak: Moved | None = None
) -> Stack:
    """Return the fits of a function to counts (t, n), from parameters `start` (p,).

    `shape` (t, n): a resonance in each spectrum, whose yield floats; or `peak`: one of given yields, whose nuisances
    float.
    """
    spectra = _Spectra(function, counts, shape, peak)
    squares = np.einsum("ni,nj->nij", function.basis, function.basis).reshape(len(function.basis), -1)
    at = np.broadcast_to(start, (len(counts), len(start))).copy()
    reached, moving = spectra.expect(at)[2], np.arange(len(counts))
    enough = TOLERANCE if peak is None or at.shape[1] == function.degree + 1 else NEAR
    for _ in range(STEPS):
        move, gain = spectra.rows(moving).step(at[moving], squares)
        moving, move = moving[gain > enough], move[gain > enough]
        if not len(moving):
            break
        waiting = np.arange(len(moving))
        for halving in range(HALVINGS):
            chosen = moving[waiting]
            tried = at[chosen] + move[waiting] / 2**halving
            found = spectra.rows(chosen).expect(tried)[2]
            better = found <= reached[chosen]
            at[chosen[better]], reached[chosen[better]] = tried[better], found[better]
            waiting = waiting[~better]
            if not len(waiting):
                break
        moving = np.delete(moving, waiting)  # no step helps: the maximum is reached within rounding
    return Stack(at, reached + function.degree + 1)
