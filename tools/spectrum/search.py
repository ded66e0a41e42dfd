"""Search for resonances in a mass spectrum, the most significant first, and fit all that were found together.

Background functions and discrete profiling: `families.py`. At each round the field of local significances (`field.py`)
shows the most significant mass and width; the profile likelihood there, at the best background function with and
without the signal, gives z. A resonance is kept if its global p-value is small enough, and floats from then on. In the
end masses, widths, yields and background are fitted together by every close function; the results are averages with
weights exp(-Lambda / 2) over functions and ways to search, and the errors include how much these differ.

Narrow states have the detector's resolution as their width, and neighbours can look like one wide state. The search is
therefore made in several ways: with free widths, and with each width common to all, for each shape of a peak. What
describes the data best counts (smallest Lambda, parameters of the resonances included). Global p-values are those of
all ways together (`trials.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np

from tools.spectrum.background import Candidate, averaged, fit, fit_all
from tools.spectrum.families import Function
from tools.spectrum.field import Field
from tools.spectrum.joint import Resonance, Signal, average, fit_together
from tools.spectrum.shapes import SHAPES, Bins, Name, resonance
from tools.spectrum.trials import Kind, Tested, Trials, calibrate
from tools.types import Floats

MOST = 12  # resonances
APART = 2.5  # widths from one that was found: closer, its imperfect shape would be found again
BEYOND = 1.5  # a fitted width may leave the range of those tested by this factor
STEP = 0.5  # distance of neighbouring masses, in widths


class Spectrum(NamedTuple):
    """Counts (n,) in bins, and what they are searched for."""

    bins: Bins
    counts: Floats
    functions: Sequence[Function]  # backgrounds to consider
    masses: tuple[float, float]
    widths: Sequence[float]  # relative; a single one is taken as known
    hidden: Sequence[tuple[float, float]] = ()  # blind masses and gaps: no bins lie there

    def grid(self, narrowest: float) -> Floats:
        """Return the masses to test, close enough for resonances of this width."""
        low, high = self.masses
        grid = np.geomspace(low, high, 2 + int(np.log(high / low) / (STEP * narrowest)))
        for below, above in self.hidden:
            grid = grid[(grid < below) | (grid > above)]
        return grid


class Way(NamedTuple):
    """One way to search: widths to test, a single one being common to all resonances, and the shape of a peak."""

    widths: Sequence[float]
    shape: Name

    @property
    def common(self) -> bool:
        return len(self.widths) == 1


@dataclass(frozen=True)
class Bump:
    """A most significant mass and width, tested against everything found before it."""

    mass: float
    width: float
    z: float
    p_global: float


@dataclass(frozen=True)
class Found:
    """Resonances with their local significances and global p-values, the largest bump left, and the background fits."""

    resonances: list[Resonance]  # by rising mass
    bumps: list[Bump]  # those that they were found as
    left: Bump | None
    way: Way
    fits: list[Candidate]  # with the resonances, smallest Lambda first

    def penalised(self, alpha: float) -> float:
        """Return Lambda with all parameters. A further resonance must gain what a search at level `alpha` asks for:
        else several narrow ones would describe a wide one.
        """
        n = len(self.bumps)
        widths = min(n, 1) if self.way.common else n
        return self.fits[0].penalised + 2 * n + widths - 2 * n * float(np.log(alpha))


def trials(spectrum: Spectrum, seed: int = 1) -> Trials:
    """Return how large a significance background gives in this search, of all ways together."""
    kinds = [Kind(width, shape) for width, shape in product(spectrum.widths, SHAPES)]
    tested = Tested(spectrum.bins, spectrum.grid(min(spectrum.widths)), kinds)
    if not len(tested.masses):
        return Trials(np.zeros(1), 0.0)  # all masses are blind: nothing is tested
    return calibrate(fit_all(spectrum.counts, spectrum.functions), tested, seed)


def search(spectrum: Spectrum, alpha: float, seed: int = 1, known: Trials | None = None) -> Found:
    """Return all resonances with a global p-value below `alpha`; `known`: trials of the same search, if there are."""
    counted = trials(spectrum, seed) if known is None else known
    sets = [list(spectrum.widths), *([width] for width in spectrum.widths if len(spectrum.widths) > 1)]
    ways = [Way(widths, shape) for widths, shape in product(sets, SHAPES)]
    found = sorted((one_search(spectrum, way, alpha, counted) for way in ways), key=lambda each: each.penalised(alpha))
    alike = [each for each in found if len(each.bumps) == len(found[0].bumps)]
    left = max((each.left for each in alike if each.left), key=lambda bump: bump.z, default=None)
    resonances = blend(alike)
    if len(spectrum.widths) == 1:  # given
        resonances = [each._replace(width=spectrum.widths[0], width_error=0.0) for each in resonances]
    return replace(found[0], left=left, resonances=resonances)


def blend(found: Sequence[Found]) -> list[Resonance]:
    """Return the resonances of several ways, averaged with weights exp(-Lambda / 2): no way is known to be true."""
    values = np.array([each.resonances for each in found]).reshape(len(found), -1, 3, 2)  # value and error
    both = averaged([each.penalised(1.0) for each in found], values[..., 0], values[..., 1] ** 2)
    return [Resonance(*row) for row in np.stack(both, axis=-1).reshape(-1, 6).tolist()]


def one_search(spectrum: Spectrum, way: Way, alpha: float, counted: Trials) -> Found:
    """Return what is found in one way, the most significant first."""
    bumps: list[Bump] = []
    left = None
    while len(bumps) < MOST:
        left = most_significant(spectrum, way, bumps, counted)
        if left is None or left.p_global >= alpha:
            break
        bumps.append(left)
    fits = fit_all(spectrum.counts, spectrum.functions, shapes_of(spectrum, way, bumps))
    low, high = min(spectrum.widths), max(spectrum.widths)
    bounds = (low / BEYOND, high * BEYOND) if low < high else (low, high)
    signal = Signal(spectrum.bins, len(bumps), way.shape, bounds, way.common)
    if bumps:
        fits = [fit_together(spectrum.counts, each, signal, bumps) for each in fits]
    ranked = sorted(fits, key=lambda c: c.penalised)
    resonances = average(ranked, signal)
    order = np.argsort([each.mass for each in resonances])
    return Found([resonances[i] for i in order], [bumps[i] for i in order], left, way, ranked)


def most_significant(spectrum: Spectrum, way: Way, others: Sequence[Bump], counted: Trials) -> Bump | None:
    """Return the most significant mass and width beside `others`, or None if no mass is left to test.

    Trials are those of the search without others, which only take masses away.
    """
    grid = spectrum.grid(min(way.widths))
    for other in others:
        grid = grid[np.abs(grid / other.mass - 1) > APART * other.width]
    if not len(grid):
        return None
    null = fit_all(spectrum.counts, spectrum.functions, shapes_of(spectrum, way, others))
    tested = resonance(spectrum.bins, grid[:, None], np.asarray(way.widths)[None, :], way.shape)
    field = Field(null[0].fit, tested)
    i, j = divmod(int(np.argmax(field.z(spectrum.counts))), len(way.widths))
    bump = Bump(float(grid[i]), way.widths[j], 0.0, 1.0)
    z = significance(spectrum, way, null, [*others, bump])
    return replace(bump, z=z, p_global=counted.p_value(z))


def significance(spectrum: Spectrum, way: Way, null: Sequence[Candidate], bumps: Sequence[Bump]) -> float:
    """Return sqrt(Lambda without the last bump - Lambda with it), each at its best function; 0 for a deficit."""
    shapes = shapes_of(spectrum, way, bumps)
    fits = (Candidate(c.function, fit(spectrum.counts, c.function, shapes)) for c in null)
    best = min(fits, key=lambda c: c.penalised)
    q = null[0].penalised - best.penalised
    return float(np.sqrt(max(q, 0.0))) if best.fit.parameters[-1] > 0 else 0.0


def shapes_of(spectrum: Spectrum, way: Way, bumps: Sequence[Bump]) -> Floats:
    """Return the shapes (s, n) of resonances in every bin."""
    masses, widths = np.array([(bump.mass, bump.width) for bump in bumps]).reshape(-1, 2).T
    return resonance(spectrum.bins, masses, widths, way.shape)
