"""Events in which there is nothing to find where a recipe claims something, made of those that it claims it of.

With sidebands: all masses multiplied by one factor, and by a little noise that dissolves whatever is narrower than it,
so that other events lie in the window, and what was claimed lies outside it, its place known and left out. Features
keep moving with mjj as they did. Whatever makes a bump now makes bumps: by mjj, by memory, or by features that follow
mjj. With a background reference: data and reference pooled and dealt anew, so that both hold the same, and what excess
is left is memory. Rows come in another order, so that their numbers tell nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from tools.bumphunt.background import reach
from tools.bumphunt.counting import count, sidak
from tools.bumphunt.fit import scan_spectrum
from tools.bumphunt.measure import measure
from tools.bumphunt.spectrum import Hypotheses, hypotheses
from tools.types import Floats

Columns = dict[str, Floats]
NOISE = 0.03  # relative, on masses: more than the resolution of a narrow resonance
SPREAD = 0.05  # relative: the factor is drawn from a range as wide, so that nobody can reckon with it
ENOUGH = 0.2  # of the events in the window, that must be there after the masses went down
DELTA = 0.01  # relative error of a reference's count


@dataclass(frozen=True)
class Move:
    """What happens to masses: `factor`, and `zone` (TeV), where the claimed signal lies afterwards."""

    factor: float
    zone: tuple[float, float]


def plan_move(mjj: Floats, window: tuple[float, float], mass: float, width: float, rng: np.random.Generator) -> Move:
    """A factor that takes a resonance at `mass` [TeV], of a relative width, and its tails out of the window.

    Down, as all masses below the window stay populated; up, where so few would come into the window by that.
    """
    low, high = window
    far, share = reach(width), rng.uniform()

    def inside(factor: float) -> int:
        return int(((mjj * factor >= low) & (mjj * factor < high)).sum())

    down = low / (mass * (1 + far)) * (1 - SPREAD * share)
    up = high / (mass * (1 - far)) * (1 + SPREAD * share)
    factor = down if inside(down) >= ENOUGH * inside(1.0) else up
    return Move(factor, (factor * mass * (1 - far), factor * mass * (1 + far)))


def moved(mjj: Floats, move: Move, rng: np.random.Generator) -> Floats:
    """(n,): by what each event's mass is multiplied; what scales with mjj goes with it."""
    return np.asarray(move.factor * np.exp(NOISE * rng.standard_normal(len(mjj))))


def dealt(events: Mapping[str, Floats], reference: Mapping[str, Floats], rng: np.random.Generator) -> list[Columns]:
    """Data and reference of the sizes they had, drawn from all events of both."""
    names = [name for name in events if name in reference]
    pooled = {name: np.concatenate([events[name], reference[name]]) for name in names}
    first, second = np.split(rng.permutation(len(pooled[names[0]])), [len(events[names[0]])])
    return [{name: values[rows] for name, values in pooled.items()} for rows in (first, second)]


@dataclass(frozen=True)
class Excess:
    """The most significant excess of a decoy: z, where [TeV], and its p-value, corrected for all places looked at."""

    z: float
    mass: float | None
    p_value: float


def bump(
    mjj: Floats,
    score: Floats,
    window: tuple[float, float],
    efficiency: float,
    search: tuple[float, float],
    zone: tuple[float, float],
) -> Excess:
    """The largest bump in the window or anywhere else in `search`, without the events in `zone`.

    Sidak's correction for all masses and widths tried, as if independent, makes p too large rather than too small.
    Raises ValueError where a cut of this efficiency keeps too few events.
    """
    kept = (mjj < zone[0]) | (mjj >= zone[1])
    cut = measure(mjj[kept], score[kept], window, efficiency)
    places = hypotheses(*search)
    beyond = [(places.masses < low) | (places.masses > high) for low, high in (zone, window)]
    elsewhere = Hypotheses(*(values[beyond[0] & beyond[1]] for values in (places.masses, places.widths)))
    masses, z = cut.tested.masses, cut.z
    if len(elsewhere):
        masses = np.concatenate([masses, elsewhere.masses])
        z = np.concatenate([z, scan_spectrum(cut.spectrum, elsewhere)[0]])
    best = int(np.argmax(z))
    return Excess(float(z[best]), float(masses[best]), sidak(float(norm.sf(z[best])), len(masses)))


def surplus(score: Floats, reference: Floats, efficiency: float) -> Excess:
    """How many more events than the reference predicts pass the cut that keeps `efficiency` of it; one place, one test.

    Raises ValueError where that is less than one event.
    """
    found = count(score, reference, efficiency, DELTA)
    return Excess(found.z, None, found.p_value)
