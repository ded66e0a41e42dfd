"""Showers as sequences of tokens: a token is a voxel and a level of its energy, learned from showers.

OmniJet-alpha_C (arXiv:2501.05534) learns its tokens with a vector-quantised autoencoder of hits. Voxels are discrete as
they are, so only the energy is quantised here: e = log((E - threshold + d)/E_inc), less its mean and over its standard
deviation, both polynomials of log E_inc learned for each voxel, falls between two of the voxel's quantiles. A token
gives back an energy drawn log-uniformly between them: never below threshold, and finer where showers are alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.calorimeter.generators.base import Arrays, Floats
from tools.calorimeter.showers import Showers

Ints = NDArray[np.int64]

DEGREE = 3
MIN_HITS = 200  # a voxel with fewer takes the values of all voxels
MIN_STD = 0.02
TAIL = 1e-4  # quantile of the outermost edges
EXCESS = 1e-2  # d, over the threshold: logarithms are finite


@dataclass(frozen=True)
class Tokenizer:
    """`mean` and `log_std` (V, DEGREE + 1) polynomials of x = (log E_inc - centre)/width; `edges` (V, levels + 1)."""

    mean: Floats
    log_std: Floats
    edges: Floats
    centre: float
    width: float
    threshold: float

    @property
    def levels(self) -> int:
        return int(self.edges.shape[1]) - 1

    @staticmethod
    def fit(showers: Showers, levels: int, threshold: float) -> Tokenizer:
        """From showers that have some energy."""
        logs = np.log(showers.incident)
        centre, width = float(logs.mean()), float(max(logs.std(), 1e-3))
        shower, voxel = np.nonzero(showers.voxels)
        energy = showers.voxels[shower, voxel].astype(np.float64)
        e = np.log((energy - threshold).clip(0) + EXCESS * threshold) - logs[shower]
        x = (logs - centre) / width
        degree = min(DEGREE, len(np.unique(showers.incident)) - 1)
        order = np.argsort(voxel, kind="stable")
        parts = np.split(order, np.cumsum(np.bincount(voxel, minlength=showers.voxels.shape[1]))[:-1])
        quantiles = probabilities(levels)
        everything = _learn(x[shower], e, degree, quantiles)
        learned = [_learn(x[shower[p]], e[p], degree, quantiles) if len(p) >= MIN_HITS else everything for p in parts]
        mean, log_std, edges = (np.array(values) for values in zip(*learned, strict=True))
        return Tokenizer(mean, log_std, edges, centre, width, threshold)

    def level(self, voxel: Ints, energy: Floats, log_incident: Floats) -> Ints:
        """The level (M,) of energies [MeV] (M,) in voxels, of showers with these incident energies."""
        mean, std = self._scale(voxel, log_incident)
        e = np.log((energy - self.threshold).clip(0) + EXCESS * self.threshold) - log_incident
        inner = self.edges[voxel, 1:-1]
        return np.asarray((((e - mean) / std)[:, None] >= inner).sum(axis=1), np.int64)

    def energy(self, voxel: Ints, level: Ints, log_incident: Floats, uniform: Floats) -> Floats:
        """Energies [MeV] (M,) of tokens, drawn with `uniform` numbers from 0 to 1; at least the threshold."""
        mean, std = self._scale(voxel, log_incident)
        low, high = self.edges[voxel, level], self.edges[voxel, level + 1]
        e = mean + std * (low + (high - low) * uniform)
        return np.asarray(self.threshold + (np.exp(e + log_incident) - EXCESS * self.threshold).clip(0))

    def _scale(self, voxel: Ints, log_incident: Floats) -> tuple[Floats, Floats]:
        x = np.vander((log_incident - self.centre) / self.width, DEGREE + 1, increasing=True)
        mean = np.einsum("md,md->m", self.mean[voxel], x)
        return mean, np.exp(np.einsum("md,md->m", self.log_std[voxel], x)).clip(MIN_STD, 10.0)

    def arrays(self, prefix: str) -> Arrays:
        """What a file keeps of it."""
        numbers = np.array([self.centre, self.width, self.threshold])
        found = {"mean": self.mean, "log_std": self.log_std, "edges": self.edges, "numbers": numbers}
        return {prefix + name: array for name, array in found.items()}

    @staticmethod
    def of(arrays: Arrays, prefix: str) -> Tokenizer:
        """The inverse of `arrays`."""
        numbers = [float(x) for x in arrays[prefix + "numbers"]]
        mean, log_std, edges = (arrays[prefix + name] for name in ("mean", "log_std", "edges"))
        return Tokenizer(mean, log_std, edges, *numbers)


def probabilities(levels: int) -> Floats:
    """Of the edges of levels: as dense as the cube root of a Gaussian, which is best (Panter and Dite, 1951)."""
    from scipy.special import ndtr, ndtri

    return np.asarray(ndtr(np.sqrt(3) * ndtri(np.arange(levels + 1) / levels)).clip(TAIL, 1 - TAIL))


def _learn(x: Floats, e: Floats, degree: int, quantiles: Floats) -> tuple[Floats, Floats, Floats]:
    """Polynomials of mean and log standard deviation, and quantiles of the standardised rest."""
    degree = min(degree, len(np.unique(x)) - 1)
    mean, log_std = np.zeros(DEGREE + 1), np.zeros(DEGREE + 1)
    mean[: degree + 1] = np.polynomial.polynomial.polyfit(x, e, degree)
    rest = e - np.polynomial.polynomial.polyval(x, mean)
    # E log|N(0, s)| = log s - 0.635
    log_std[: degree + 1] = np.polynomial.polynomial.polyfit(x, np.log(np.abs(rest) + MIN_STD / 10), degree)
    log_std[0] += 0.635
    std = np.exp(np.polynomial.polynomial.polyval(x, log_std)).clip(MIN_STD, 10.0)
    return mean, log_std, np.quantile(rest / std, quantiles)
