"""Test whether a generator repeats its training showers: a library of them would pass every other test.

The distance of generated showers to the nearest training shower is compared with that of reference showers that were
not used in training. Distances use observables that neither an energy scale nor a rotation around the axis changes.
"""

from __future__ import annotations

import numpy as np

from tools.calorimeter.observables import LOG_FLOOR, observables
from tools.calorimeter.prdc import distances
from tools.calorimeter.showers import Showers
from tools.metrics import auc, auc_error
from tools.types import Floats

CHUNK = 1000  # rows of distances at a time


def memorised(training: Showers, reference: Showers, generated: Showers) -> tuple[float, float]:
    """Return P(a generated shower is nearer to a training shower than a reference shower is), with its error.

    It is one half if nothing is repeated and 1 if everything is; below one half, generated showers resemble no training
    shower.
    """
    ours, theirs = nearness(training, reference, generated)
    value = auc(theirs, ours)
    return value, auc_error(value, len(theirs), len(ours))


def nearness(training: Showers, reference: Showers, generated: Showers) -> tuple[Floats, Floats]:
    """Return minus the distance to the nearest training shower of each reference (n,) and generated shower (m,)."""
    known = shapes(training)
    mean, std = known.mean(axis=0), known.std(axis=0)
    varies = std > 0
    scaled = [((x - mean) / np.maximum(std, 1e-30))[:, varies] for x in (known, shapes(reference), shapes(generated))]
    ours, theirs = (-nearest(x, scaled[0]) for x in scaled[1:])
    return ours, theirs


def shapes(showers: Showers) -> Floats:
    """Return observables (N, d) that do not change when a shower is scaled or rotated around its axis."""
    columns = []
    for name, values in observables(showers).items():
        if name.startswith("E_layer"):
            columns.append(np.log10(np.maximum(values / showers.incident, LOG_FLOOR / showers.incident)))
        elif not name.startswith(("centre_x", "centre_y", "width_x", "width_y")):
            columns.append(values)
    return np.column_stack(columns)


def nearest(points: Floats, known: Floats) -> Floats:
    """Return the distance of each of `points` (N, d) to the nearest of `known` (M, d)."""
    parts = (points[i : i + CHUNK] for i in range(0, len(points), CHUNK))
    return np.concatenate([distances(part, known).min(axis=1) for part in parts])
