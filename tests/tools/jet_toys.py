"""Jets of one or two prongs, and small networks, for the tests of the jet model."""

from __future__ import annotations

from typing import Any

import numpy as np

from tools.jet_model.jets import Jets, from_momenta
from tools.jet_model.model import Architecture, JetModel, Scales, build, conditions_of

KINDS = ("one", "two")
SMALL = {"dim": 16, "blocks": 2, "head_blocks": 1, "heads": 2, "neighbours": 4}


def prongs(n: int, seed: int = 1, mean_particles: float = 20) -> Jets:
    """Half the jets have one core, half have two, 0.6 apart; massless particles, 500 GeV in all, any eta."""
    rng = np.random.default_rng(seed)
    pid = np.arange(n) % 2
    slots = 40
    there = np.arange(slots) < np.clip(rng.poisson(mean_particles, n), 3, slots)[:, None]
    pt = np.where(there, rng.exponential(1.0, (n, slots)) + 1e-3, 0.0)
    pt *= 500 / pt.sum(axis=1, keepdims=True)
    angle = rng.uniform(0, 2 * np.pi, n)
    side = np.where(pid[:, None] == 1, rng.choice([-0.3, 0.3], (n, slots)), 0.0)
    eta = rng.normal(0, 1, n)[:, None] + side * np.cos(angle)[:, None] + rng.normal(0, 0.1, (n, slots))
    phi = side * np.sin(angle)[:, None] + rng.normal(0, 0.1, (n, slots))
    return from_momenta(pt, eta, phi, pt * np.cosh(eta), pid=pid.astype(np.int64), kinds=KINDS)


def network(jets: Jets, seed: int = 1, kinds: tuple[str, ...] = KINDS, **others: Any) -> JetModel:
    """Small, untrained; with conditions unless mode is `classifier`."""
    conditions = None if others.get("mode") == "classifier" else conditions_of(jets)
    architecture = Architecture(
        kinds=kinds, **{**SMALL, "conditions": 0 if conditions is None else conditions.shape[1], **others}
    )
    return build(architecture, Scales.of(jets, conditions), seed)
