"""Propagation of particles through the solenoid, from the beam to the calorimeters around it."""

from __future__ import annotations

import numpy as np

from tools.types import Floats

FIELD = 3.8  # T
RADIUS, HALF_LENGTH = 1.29, 3.0  # m
CURVATURE = 0.299792458  # 1/m, for a track of charge 1 and pt 1 GeV in 1 T


def propagate(pt: Floats, eta: Floats, phi: Floats, charge: Floats) -> tuple[Floats, Floats]:
    """Return eta and phi of the point where particles from the beam leave the field.

    `pt` in GeV. With the curvature k = CURVATURE charge FIELD / pt, a particle that leaves through the barrel does so
    at phi - arcsin(k RADIUS / 2). One that is too soft for that, or too far forward, leaves through an endcap.
    """
    half = 0.5 * CURVATURE * FIELD * charge / pt
    sine = np.abs(half) * RADIUS
    # Path length in the transverse plane: an arc over the chord RADIUS.
    to_side = np.where(sine < 1, RADIUS / np.sinc(np.arcsin(np.minimum(sine, 1.0)) / np.pi), np.inf)
    to_end = HALF_LENGTH / np.maximum(np.abs(np.sinh(eta)), 1e-9)
    length = np.minimum(to_side, to_end)
    turn = half * length
    chord = length * np.sinc(turn / np.pi)  # negative after more than a full turn of the half angle
    at_phi = np.arctan2(chord * np.sin(phi - turn), chord * np.cos(phi - turn))
    return np.arcsinh(np.sinh(eta) * length / np.maximum(np.abs(chord), 1e-9)), at_phi
