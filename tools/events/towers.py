"""Calorimeter towers and energy flow: the response of a layer of towers, combined with tracks.

Formulas and granularity are those of the CMS card of Delphes 3.4.1 (arXiv:1307.6346); the code is our own. A layer adds
up the true energy in each tower, smears the sum (log-normal, so that it stays positive) and sets it to zero if it is
not significant. The sum is then compared with the tracks that point to the tower: a significant excess becomes a
neutral particle at a random position in the tower; otherwise the tracks of the tower are rescaled to the
inverse-variance-weighted mean of both measurements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.types import Floats

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Layer:
    """A layer of the calorimeter.

    `eta_edges` bound the rings of towers, and ring i has `n_phi[i]` towers; `resolution(eta, energy)` is sigma(E) in
    GeV. Towers below `energy_min` GeV or below `significance_min` sigma count as empty.
    """

    eta_edges: Floats
    n_phi: Ints
    resolution: Callable[[Floats, Floats], Floats]
    energy_min: float
    significance_min: float

    def towers_of(self, event: Ints, eta: Floats, phi: Floats) -> Ints:
        """Return the tower number of each hit, unique across events; hits must lie within `eta_edges`."""
        ring = np.clip(np.searchsorted(self.eta_edges, eta) - 1, 0, len(self.n_phi) - 1)
        turn = np.mod(phi + np.pi, 2 * np.pi) / (2 * np.pi)
        sector = np.minimum((turn * self.n_phi[ring]).astype(np.int64), self.n_phi[ring] - 1)
        width = int(self.n_phi.max())
        return (event * len(self.n_phi) + ring) * width + sector

    def edges_of(self, tower: Ints) -> tuple[Ints, Floats, Floats, Floats, Floats]:
        """Return event, lower edge and width in eta, and lower edge and width in phi of towers."""
        width = int(self.n_phi.max())
        ring = tower // width % len(self.n_phi)
        d_phi = 2 * np.pi / self.n_phi[ring]
        return (
            tower // (width * len(self.n_phi)),
            self.eta_edges[ring],
            np.diff(self.eta_edges)[ring],
            tower % width * d_phi - np.pi,
            d_phi,
        )


@dataclass(frozen=True)
class Flow:
    """Energy flow of a layer: neutrals (event, energy [GeV], eta, phi) and a factor for each track's momentum."""

    event: Ints
    energy: Floats
    eta: Floats
    phi: Floats
    track_factor: Floats


def energy_flow(
    layer: Layer,
    hits: tuple[Ints, Floats],
    tracks: tuple[Ints, Floats, Floats],
    rng: np.random.Generator,
) -> Flow:
    """Return the neutral particles and the factors for the tracks of one layer.

    `hits`: tower (numbered by `Layer.towers_of`) and true energy of each particle that deposits here. `tracks`: tower,
    measured energy and relative resolution of each track of such a particle.
    """
    tower, index = np.unique(np.concatenate([hits[0], tracks[0]]), return_inverse=True)
    of_hit, of_track = index[: len(hits[0])], index[len(hits[0]) :]
    truth = np.bincount(of_hit, weights=hits[1], minlength=len(tower)).astype(np.float64)
    track_energy = np.bincount(of_track, weights=tracks[1], minlength=len(tower)).astype(np.float64)
    track_variance = np.bincount(of_track, weights=(tracks[1] * tracks[2]) ** 2, minlength=len(tower))

    event, eta, d_eta, phi, d_phi = layer.edges_of(tower)
    centre = eta + 0.5 * d_eta
    energy = log_normal(truth, layer.resolution(centre, truth), rng)
    sigma = layer.resolution(centre, energy)
    energy[(energy < layer.energy_min) | (energy < layer.significance_min * sigma)] = 0.0

    excess = energy - track_energy
    is_neutral = (excess > layer.energy_min) & (excess > layer.significance_min * np.sqrt(track_variance + sigma**2))
    # Inverse-variance mean of both measurements, over that of the tracks alone.
    shared = np.flatnonzero(~is_neutral & (track_energy > 0))
    factor = np.ones(len(tower))
    ratio = energy[shared] / track_energy[shared]
    factor[shared] += (ratio - 1) * track_variance[shared] / (track_variance[shared] + sigma[shared] ** 2)

    where = rng.random((2, len(tower)))
    return Flow(
        event[is_neutral],
        excess[is_neutral],
        (eta + where[0] * d_eta)[is_neutral],
        (phi + where[1] * d_phi)[is_neutral],
        factor[of_track],
    )


def log_normal(mean: Floats, sigma: Floats, rng: np.random.Generator) -> Floats:
    """Draw log-normal values with the given mean and standard deviation; 0 where the mean is not positive."""
    normal = rng.standard_normal(len(mean))
    safe = np.where(mean > 0, mean, 1.0)
    spread = np.sqrt(np.log1p((sigma / safe) ** 2))
    return np.where(mean > 0, safe * np.exp(spread * normal - 0.5 * spread**2), 0.0)
