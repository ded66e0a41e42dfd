"""Decoy events: made from the events of a claim, with nothing to find where the recipe claims something.

With sidebands, all masses are multiplied by one factor, and by a little noise that smears out anything narrower, so
that other events lie in the window and the claimed signal lies outside it, at a known place that is left out. Features
keep varying with mjj as before. A recipe that still gives a bump makes bumps: from mjj, from memory, or from features
that follow mjj. With a background reference, data and reference are pooled and redrawn, so that both have the same
composition, and any excess is memory. Rows come in another order, so that row numbers say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tasks.lhco.spectrum_ends import SPARE
from tasks.lhco.variable import Variable
from tools.anomaly.data import MIN_EVENTS
from tools.bumphunt.background import reach
from tools.bumphunt.counting import count, sidak
from tools.bumphunt.fit import scan_spectrum
from tools.bumphunt.measure import measure
from tools.bumphunt.spectrum import Hypotheses, hypotheses
from tools.events.weights import of_rows
from tools.normal import p_value
from tools.types import Floats

Columns = dict[str, Floats]
NOISE = 0.03  # relative, on masses: more than the resolution of a narrow resonance
SPREAD = 0.05  # relative width of the range that the factor is drawn from, so that nobody can predict it
ENOUGH = 0.2  # fraction of the events in the window that must be left after scaling down
DELTA = 0.01  # relative error of a reference's count


@dataclass(frozen=True)
class Move:
    """The scaling of masses by `factor`; afterwards the claimed signal lies in `zone`."""

    factor: float
    zone: tuple[float, float]


def plan_move(mjj: Floats, window: tuple[float, float], mass: float, width: float, rng: np.random.Generator) -> Move:
    """Choose a factor that moves a resonance at `mass` of a relative width, tails included, out of the window.

    Downwards, so that all masses below the window stay populated; upwards if that would leave too few in the window, or
    fewer than the tools need in it or beside it.
    """
    low, high = window
    far, share = reach(width), rng.uniform()

    def held(factor: float) -> list[int]:
        return [int(n) for n in np.histogram(mjj * factor, [0.0, low, high, np.inf])[0]]

    down = low / (mass * (1 + far)) * (1 - SPREAD * share)
    up = high / (mass * (1 - far)) * (1 + SPREAD * share)
    enough = held(down)[1] >= ENOUGH * held(1.0)[1] and min(held(down)) >= SPARE * MIN_EVENTS
    factor = down if enough else up
    return Move(factor, (factor * mass * (1 - far), factor * mass * (1 + far)))


def moved(mjj: Floats, move: Move, rng: np.random.Generator) -> Floats:
    """Return the factor (n,) for each event's mass and for all that scales with mjj."""
    return np.asarray(move.factor * np.exp(NOISE * rng.standard_normal(len(mjj))))


def dealt(events: Mapping[str, Floats], reference: Mapping[str, Floats], rng: np.random.Generator) -> list[Columns]:
    """Redraw data and reference, in their original sizes, from the pooled events of both."""
    names = [name for name in events if name in reference]
    pooled = {name: np.concatenate([events[name], reference[name]]) for name in names}
    first, second = np.split(rng.permutation(len(pooled[names[0]])), [len(events[names[0]])])
    return [{name: values[rows] for name, values in pooled.items()} for rows in (first, second)]


@dataclass(frozen=True)
class Excess:
    """The most significant excess of a decoy: z, its mass, its p-value, corrected for all places tested, and the mass
    that its events had before they were moved.
    """

    z: float
    mass: float | None
    p_value: float
    origin: float | None = None


def bump(
    mjj: Floats,
    score: Floats,
    window: tuple[float, float],
    efficiency: float,
    variable: Variable,
    move: Move,
    weight: Floats | None = None,
) -> Excess:
    """Find the largest bump in the window or anywhere else in its search range, without the events in the zone
    of the `move`.

    Sidak's correction treats all masses and widths tried as independent, so p is too large rather than too small.
    Raises ValueError if a cut of this efficiency keeps too few events.
    """
    kept = (mjj < move.zone[0]) | (mjj >= move.zone[1])
    cut = measure(mjj[kept], score[kept], window, efficiency, variable.fit_range, weight=of_rows(weight, kept))
    places = hypotheses(*variable.search)
    beyond = [(places.masses < low) | (places.masses > high) for low, high in (move.zone, window)]
    elsewhere = Hypotheses(*(values[beyond[0] & beyond[1]] for values in (places.masses, places.widths)))
    masses, z = cut.tested.masses, cut.z
    if len(elsewhere):
        masses = np.concatenate([masses, elsewhere.masses])
        z = np.concatenate([z, scan_spectrum(cut.spectrum, elsewhere)[0]])
    best = int(np.argmax(z))
    mass = float(masses[best])
    return Excess(float(z[best]), mass, sidak(p_value(z[best]), len(masses)), mass / move.factor)


def surplus(score: Floats, reference: Floats, efficiency: float) -> Excess:
    """Return the excess of events above the reference's prediction at the cut that keeps `efficiency` of it: one test.

    Raises ValueError if the cut keeps less than one reference event.
    """
    found = count(score, reference, efficiency, DELTA)
    return Excess(found.z, None, found.p_value)
