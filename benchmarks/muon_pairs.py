"""Muon pairs whose invariance a detector breaks: Z decays against a falling spectrum, with a known best classifier.

Pairs with mass m0 (a Breit-Wigner, or exp(-m0/SLOPE), both in MASSES) and transverse momentum p0, flat in MOMENTA,
decay isotropically to massless muons. The detector multiplies both momenta by one and the same exp(g), where g is
normal with standard deviation RESOLUTION p0: masses are measured well at low pT only. Directions and the ratio of the
momenta stay, and are distributed alike for both kinds given p0/m0, so the best classifier depends on the measured
m = m0 e^g and pT = p0 e^g alone, with the densities

    p(m, pT) ~ int dp0 N(log(pT/p0); 0, RESOLUTION p0) p(m p0/pT) p0,

up to a common factor. A pT alone says nothing. After PRD 111 (2025) 072002, whose blur has no such closed form.
"""

from __future__ import annotations

import numpy as np

from tools.types import Floats

MASS, WIDTH, SLOPE = 91.2, 2.5, 30.0  # GeV
MASSES, MOMENTA = (60.0, 120.0), (20.0, 300.0)  # GeV
RESOLUTION = 5e-4  # per GeV
FEATURES = ["m", "pt", "log_pt1", "log_pt2", "eta1", "eta2", "phi1", "phi2"]  # 1 and 2 in random order
GRID = np.linspace(-6, 6, 161)  # standard deviations


def pairs(n: int, seed: int) -> tuple[Floats, np.ndarray]:
    """Return FEATURES (n, 8) as measured, in GeV, and which pairs are Z decays, about half."""
    rng = np.random.default_rng(seed)
    is_z, u = rng.uniform(size=n) < 0.5, rng.uniform(size=n)
    low, high = (np.arctan(2 * (edge - MASS) / WIDTH) for edge in MASSES)
    lowest, highest = (np.exp(-edge / SLOPE) for edge in MASSES)
    m0 = np.where(
        is_z, MASS + WIDTH / 2 * np.tan(low + u * (high - low)), -SLOPE * np.log(lowest - u * (lowest - highest))
    )
    p0 = rng.uniform(*MOMENTA, n)
    scale = np.exp(RESOLUTION * p0 * rng.normal(size=n))
    cos, rapidity = rng.uniform(-1, 1, n), rng.normal(size=n)
    azimuth, phi = rng.uniform(0, 2 * np.pi, (2, n))
    sin = np.sqrt(1 - cos**2)
    columns = [m0 * scale, p0 * scale]
    legs = []
    for sign in (1, -1):
        # In the frame of the pair, boosted along its transverse momentum and then along the beam.
        x, y, z = (sign * m0 / 2 * part for part in (sin * np.cos(azimuth), sin * np.sin(azimuth), cos))
        transverse = np.hypot(m0, p0)
        x = (transverse * x + p0 * m0 / 2) / m0
        pt = np.hypot(x, y)
        legs.append((pt * scale, np.arcsinh(z / pt) + rapidity, np.mod(np.arctan2(y, x) + phi, 2 * np.pi)))
    columns += [np.log(leg[0]) for leg in legs] + [leg[1] for leg in legs] + [leg[2] for leg in legs]
    return np.column_stack(columns), is_z


def best(m: Floats, pt: Floats) -> Floats:
    """Return the log likelihood ratio of Z decays to the others, the score that no classifier can beat."""
    p0 = pt[:, None] * np.exp(-GRID * RESOLUTION * pt[:, None])
    inside = (p0 > MOMENTA[0]) & (p0 < MOMENTA[1])
    blur = RESOLUTION * p0
    # dp0 = p0 RESOLUTION pT dz on this grid; the last two factors are common to all nodes.
    weight = np.where(inside, np.exp(-0.5 * (np.log(pt[:, None] / p0) / blur) ** 2) / blur * p0**2, 0.0)
    m0 = m[:, None] * p0 / pt[:, None]
    weight *= (m0 > MASSES[0]) & (m0 < MASSES[1])
    low, high = (np.arctan(2 * (edge - MASS) / WIDTH) for edge in MASSES)
    z = 2 / WIDTH / (1 + (2 * (m0 - MASS) / WIDTH) ** 2) / (high - low)
    lowest, highest = (np.exp(-edge / SLOPE) for edge in MASSES)
    other = np.exp(-m0 / SLOPE) / SLOPE / (lowest - highest)
    tiny = np.finfo(float).tiny
    return np.asarray(np.log((weight * z).sum(axis=1) + tiny) - np.log((weight * other).sum(axis=1) + tiny))
