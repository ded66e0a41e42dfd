"""Jet pairs of LHCO events for the audit: described by observables without mjj, and with scaled momenta."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tools.jet_model.jets import LOG_E, LOG_PT, Jets
from tools.jet_model.observables import observables
from tools.types import Floats

SHAPES = ("multiplicity", "dispersion", "d2")  # observables of a jet's particles other than mass and momentum


def shapes(pairs: Jets) -> dict[str, Floats]:
    """Return observables (n,) of the particles of both jets, without mass and momentum."""
    found = observables(pairs)
    return {f"{name}_j{j + 1}": found[name][j::2] for name in SHAPES for j in (0, 1)}


def scaled_pairs(pairs: Jets, by: Floats, order: NDArray[np.int64]) -> Jets:
    """Return both jets of each event with momenta and masses multiplied by `by`, events in this order."""
    assert pairs.jet is not None
    twice = np.repeat(by, 2)
    particles, jet = pairs.particles.copy(), pairs.jet.copy()
    for column in (LOG_PT, LOG_E):
        particles[:, :, column] += np.where(pairs.mask, np.log(twice)[:, None], 0.0).astype(particles.dtype)
    jet[:, [0, 3]] *= twice[:, None].astype(jet.dtype)
    return replace(pairs, particles=particles, jet=jet).take(np.stack([2 * order, 2 * order + 1], axis=1).ravel())
