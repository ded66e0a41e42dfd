"""Toy jets: background of one prong, tops of three with an invariant mass near 173 GeV."""

from __future__ import annotations

import numpy as np

from tools.jet_model.jets import Jets, from_momenta


def toy_jets(n: int = 1600, seed: int = 0, particles: int = 12, tops: float = 0.34) -> Jets:
    """Kinds `quark`, `gluon` and `top`; overlapping, so that no tagger is perfect."""
    rng = np.random.default_rng(seed)
    pid = np.where(rng.random(n) < tops, 2, rng.integers(0, 2, n))
    angle = rng.uniform(0, 2 * np.pi, (n, 1)) + rng.choice([0, 2.1, 4.2], (n, particles))
    opening = np.where(pid[:, None] == 2, rng.normal(0.3, 0.12, (n, 1)), rng.exponential(0.1, (n, 1)))
    eta = rng.uniform(-1, 1, (n, 1)) + opening * np.cos(angle) + 0.04 * rng.standard_normal((n, particles))
    phi = opening * np.sin(angle) + 0.04 * rng.standard_normal((n, particles))
    pt = rng.exponential(50, (n, particles)) + 1
    pt[np.arange(particles) >= rng.integers(6, particles + 1, (n, 1))] = 0
    return from_momenta(pt, eta, phi, pt * np.cosh(eta), pid=pid.astype(np.int64), kinds=("quark", "gluon", "top"))
