"""How large a significance background alone gives somewhere in a search.

Each toy is drawn from the background fitted to the data and searched as the data are: of all functions that come close
the best one is found again, the field of local significances shows the most significant mass, width and shape, and the
profile likelihood there, at the best function with and without the signal, gives z. As all widths and shapes that any
way to search tests are in this field, the largest z of all ways is counted once, whatever the ways have in common:

    p_global = (1 + toys with z or more) / (1 + toys).

Beyond the reach of the toys, p_global = p(z) + <N(u0)> exp((u0^2 - z^2) / 2), with <N(u0)> the mean number of
upcrossings of a low level by the largest z at each mass (Gross and Vitells, arXiv:1005.1891), scaled up if toys show a
longer tail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tools.normal import p_value
from tools.spectrum.background import Candidate
from tools.spectrum.field import Field
from tools.spectrum.shapes import Bins, Name, resonance
from tools.spectrum.stack import fit_stack
from tools.trials import ENOUGH, tail
from tools.types import Floats

LEVEL = 2.0  # u0; well below a signal, and high enough that the widths at one mass count as one
TOYS = 200


class Trials(NamedTuple):
    """The largest significance in each toy (t,), and the mean number of upcrossings of LEVEL."""

    toys: Floats
    upcrossings: float

    def p_value(self, z: float) -> float:
        """Return the probability that background gives a significance of `z` or more anywhere in the search."""
        above = int((self.toys >= z).sum())
        if above >= ENOUGH:
            return (1 + above) / (1 + len(self.toys))
        return tail(self.toys, z, self._formula, LEVEL)

    def _formula(self, z: float) -> float:
        return p_value(z) + self.upcrossings * float(np.exp((LEVEL**2 - z**2) / 2))


class Kind(NamedTuple):
    """A kind of resonance that is tested at every mass."""

    width: float  # relative
    shape: Name


class Tested(NamedTuple):
    """All resonances that a search tests: each kind at each mass."""

    bins: Bins
    masses: Floats  # (M,), rising
    kinds: Sequence[Kind]

    def shapes(self, kind: int) -> Floats:
        """Return the counts (M, 1, n) of one kind."""
        return resonance(self.bins, self.masses, *self.kinds[kind])[:, None]

    def shape(self, kind: int, mass: int) -> Floats:
        """Return the counts (1, n) of one resonance."""
        return resonance(self.bins, self.masses[mass : mass + 1], *self.kinds[kind])


def calibrate(null: Sequence[Candidate], tested: Tested, seed: int, toys: int = TOYS) -> Trials:
    """Return the trials of a search; `null` are the fits of the functions that come close, the best first."""
    expected = null[0].fit.expected
    drawn = np.random.default_rng(seed).poisson(expected, (toys, len(expected))).astype(np.float64)
    places, crossings = _maxima(null, tested, drawn.T)
    return Trials(np.sort(_largest(drawn, null, tested, places)), crossings)


def _maxima(null: Sequence[Candidate], tested: Tested, drawn: Floats) -> tuple[NDArray[np.int64], float]:
    """Return kind and mass (c, 2, t) of the most significant resonance in toys (n, t) on top of each fit.

    Also returns the mean number of upcrossings on top of the first.
    """
    toys = drawn.shape[1]
    lines = np.full((len(null), len(tested.masses), toys), -np.inf)  # the largest z at each mass
    kinds = np.zeros(lines.shape, dtype=np.int64)
    for k in range(len(tested.kinds)):
        shapes = tested.shapes(k)
        z = np.stack([Field(each.fit, shapes).z(drawn)[:, 0] for each in null])
        kinds, lines = np.where(z > lines, k, kinds), np.maximum(z, lines)
    masses = lines.argmax(axis=1)
    first = lines[0]
    crossings = np.sum((first[1:] >= LEVEL) & (first[:-1] < LEVEL), axis=0) + (first[0] >= LEVEL)
    best = np.take_along_axis(kinds, masses[:, None], axis=1)[:, 0]
    return np.stack([best, masses], axis=1), float(np.mean(crossings))


def _largest(counts: Floats, null: Sequence[Candidate], tested: Tested, places: NDArray[np.int64]) -> Floats:
    """Return the significances (t,) of toys (t, n); `places` (c, 2, t): kind and mass that stand out over each fit."""
    alone = [fit_stack(counts, each.function, each.fit.parameters) for each in null]
    values = np.array([each.penalised for each in alone])
    best = values.argmin(axis=0)
    shapes = np.concatenate([tested.shape(*places[f, :, t]) for t, f in enumerate(best)])
    both = [fit_stack(counts, each.function, np.append(each.fit.parameters, 0.0), shapes) for each in null]
    with_it = np.array([each.penalised for each in both])
    chosen = with_it.argmin(axis=0), np.arange(len(counts))
    amounts = np.array([each.parameters[:, -1] for each in both])[chosen]
    gained = np.maximum(values.min(axis=0) - with_it[chosen], 0.0)
    return np.where(amounts > 0, np.sqrt(gained), 0.0)
