"""Fits of one background function to many spectra at once, by the Fisher scoring of `likelihood.py`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tools.spectrum.families import Function
from tools.spectrum.likelihood import HALVINGS, STEPS, TINY, TOLERANCE
from tools.types import Floats


class Stack(NamedTuple):
    """Fits to t spectra."""

    parameters: Floats  # (t, p): theta, and the yield if a shape was given
    penalised: Floats  # (t,): the deviance plus one for each parameter of the background


class _Spectra(NamedTuple):
    """Counts (t, n), resonances of free yield (t, n) or none, and expected counts besides (t, n)."""

    function: Function
    counts: Floats
    shape: Floats | None
    added: Floats | None

    def rows(self, chosen: NDArray[np.int64]) -> _Spectra:
        shape, added = (None if each is None else each[chosen] for each in (self.shape, self.added))
        return self._replace(counts=self.counts[chosen], shape=shape, added=added)

    def expect(self, parameters: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the smooth and all expected counts (t, n), and the deviance (t,)."""
        k, counts = self.function.basis.shape[1], self.counts
        with np.errstate(over="ignore", invalid="ignore"):
            smooth = self.function.widths * np.exp(parameters[:, :k] @ self.function.basis.T)
            all_ = smooth if self.added is None else smooth + self.added
            all_ = np.maximum(all_ if self.shape is None else all_ + parameters[:, k:] * self.shape, TINY)
            terms = np.where(counts > 0, counts * np.log(np.maximum(counts, TINY) / all_), 0.0)
            total = 2 * np.sum(all_ - counts + terms, axis=1)
        return smooth, all_, np.where(np.isfinite(total), total, np.inf)

    def step(self, smooth: Floats, all_: Floats, squares: Floats) -> tuple[Floats, Floats]:
        """Return the step (t, p), and what it should gain in -2 log L (t,)."""
        basis, off, ratio = self.function.basis, self.counts / all_ - 1, smooth / all_
        k, score = basis.shape[1], (off * smooth) @ basis
        information = ((smooth * ratio) @ squares).reshape(-1, k, k)
        if self.shape is not None:
            cross = ((ratio * self.shape) @ basis)[:, :, None]
            own = np.sum(self.shape**2 / all_, axis=1)[:, None, None]
            score = np.append(score, np.sum(off * self.shape, axis=1)[:, None], axis=1)
            below = np.concatenate([cross.transpose(0, 2, 1), own], axis=2)
            information = np.concatenate([np.concatenate([information, cross], axis=2), below], axis=1)
        move = (np.linalg.pinv(information, rcond=1e-12, hermitian=True) @ score[:, :, None])[:, :, 0]
        return move, np.sum(score * move, axis=1)


def fit_stack(
    counts: Floats, function: Function, start: Floats, shape: Floats | None = None, added: Floats | None = None
) -> Stack:
    """Return the fits of a function to counts (t, n), from parameters `start` (p,).

    `shape` (t, n): a resonance in each spectrum, whose yield floats; `added` (t, n): expected counts besides.
    """
    spectra = _Spectra(function, counts, shape, added)
    squares = np.einsum("ni,nj->nij", function.basis, function.basis).reshape(len(function.basis), -1)
    at = np.broadcast_to(start, (len(counts), len(start))).copy()
    reached, moving = spectra.expect(at)[2], np.arange(len(counts))
    for _ in range(STEPS):
        rows = spectra.rows(moving)
        move, gain = rows.step(*rows.expect(at[moving])[:2], squares)
        moving, move = moving[gain > TOLERANCE], move[gain > TOLERANCE]
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
