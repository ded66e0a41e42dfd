"""Showers as sequences of tokens: a token is a voxel and an energy level, which is learned from showers.

OmniJet-alpha_C (arXiv:2501.05534) learns its tokens with a vector-quantised autoencoder of hits. Voxels are already
discrete, so only the energy is quantised here: e = log((E - threshold + d)/E_inc), standardised by the trend of its
voxel with E_inc (`trend.py`), falls between two of the voxel's quantiles. A token is decoded to an energy drawn
log-uniformly between them: never below threshold, and finer where showers are similar.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.calorimeter.generators.base import Arrays
from tools.calorimeter.generators.trend import ENOUGH, Trend
from tools.calorimeter.showers import Showers
from tools.types import Floats

Ints = NDArray[np.int64]

TAIL = 1e-4  # quantile of the outermost edges
EXCESS = 1e-2  # d, as a fraction of the threshold, to keep logarithms finite


@dataclass(frozen=True)
class Tokenizer:
    """The trend of e in each voxel, and level edges (V, levels + 1) of its standardised residual."""

    trend: Trend
    edges: Floats
    threshold: float

    @property
    def levels(self) -> int:
        return int(self.edges.shape[1]) - 1

    @staticmethod
    def fit(showers: Showers, levels: int, threshold: float) -> Tokenizer:
        """Fit the levels to showers that are not all empty."""
        shower, voxel = np.nonzero(showers.voxels)
        logs, v = np.log(showers.incident)[shower], showers.geometry.n_voxels
        e = _excess(showers.voxels[shower, voxel].astype(np.float64), logs, threshold)
        trend = Trend.fit(logs, e, voxel, v)
        mean, std = trend.at(logs, voxel)
        rest, quantiles = (e - mean) / std, probabilities(levels)
        parts = np.split(np.argsort(voxel, kind="stable"), np.cumsum(np.bincount(voxel, minlength=v))[:-1])
        everything = np.quantile(rest, quantiles)
        edges = [np.quantile(rest[p], quantiles) if len(p) >= ENOUGH else everything for p in parts]
        return Tokenizer(trend, np.array(edges), threshold)

    def level(self, voxel: Ints, energy: Floats, log_incident: Floats) -> Ints:
        """Return the levels (M,) of energies [MeV] (M,) in voxels (M,) of showers with log E_inc (M,)."""
        mean, std = self.trend.at(log_incident, voxel)
        rest = (_excess(energy, log_incident, self.threshold) - mean) / std
        return np.asarray((rest[:, None] >= self.edges[voxel, 1:-1]).sum(axis=1), np.int64)

    def energy(self, voxel: Ints, level: Ints, log_incident: Floats, uniform: Floats) -> Floats:
        """Return energies [MeV] (M,) of tokens, from `uniform` random numbers (M,); at least the threshold."""
        mean, std = self.trend.at(log_incident, voxel)
        low, high = self.edges[voxel, level], self.edges[voxel, level + 1]
        e = mean + std * (low + (high - low) * uniform)
        return np.asarray(self.threshold + (np.exp(e + log_incident) - EXCESS * self.threshold).clip(0))

    def arrays(self, prefix: str) -> Arrays:
        """Return the arrays to store in a file."""
        rest = {"edges": self.edges, "threshold": np.array([self.threshold])}
        return self.trend.arrays(prefix) | {prefix + name: array for name, array in rest.items()}

    @staticmethod
    def of(arrays: Arrays, prefix: str) -> Tokenizer:
        """Return the tokenizer stored in arrays: the inverse of `arrays`."""
        return Tokenizer(Trend.of(arrays, prefix), arrays[prefix + "edges"], float(arrays[prefix + "threshold"][0]))


def _excess(energy: Floats, log_incident: Floats, threshold: float) -> Floats:
    return np.asarray(np.log((energy - threshold).clip(0) + EXCESS * threshold) - log_incident)


def probabilities(levels: int) -> Floats:
    """Return the cumulative probabilities of the levels' edges.

    Their density is that of the cube root of a Gaussian, which is optimal (Panter and Dite, 1951).
    """
    from scipy.special import ndtr, ndtri

    return np.asarray(ndtr(np.sqrt(3) * ndtri(np.arange(levels + 1) / levels)).clip(TAIL, 1 - TAIL))
