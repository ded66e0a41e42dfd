"""How much energy each layer gets and how many points: what a point cloud needs to know before its points.

A conditional neural spline flow (zuko; as AllShowers' and L2LFlows' first stages) of two numbers a layer, given E_inc:
log(E_layer/threshold), and the logit of (number + u)/(voxels + 1) with u uniform. An empty layer is dequantised below
threshold: its first number is uniform in (-1, 0), so it is empty again whenever that comes out negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tools.anomaly.training import Training, train
from tools.calorimeter.generators.base import Arrays, Floats, Losses, Progress
from tools.calorimeter.showers import Showers

DEGREE = 4  # of the polynomials in log E_inc that are taken off


@dataclass
class Totals:
    """A flow of (y - mean(x))/std(x), `shape` their polynomials (D, DEGREE + 1) of x = (log E_inc - centre)/width."""

    flow: Any
    shape: Arrays
    voxels: Floats  # of each layer (L,)
    threshold: float

    @staticmethod
    def build(layers: int) -> Any:
        """The untrained flow of 2 L numbers."""
        import zuko

        return zuko.flows.NSF(2 * layers, context=1, transforms=2, bins=8, hidden_features=(64, 64))

    @staticmethod
    def fit(
        showers: Showers,
        threshold: float,
        rows: tuple[Any, Any],
        settings: Training,
        seed: int,
        progress: Progress | None,
    ) -> tuple[Totals, Losses]:
        """Maximum likelihood on the showers of rows[0], the epoch chosen on those of rows[1]."""
        import torch

        voxels = np.array([layer.n_voxels for layer in showers.geometry.layers], np.float64)
        rng = np.random.default_rng([seed, 5])
        energy = showers.layer_energies
        number = np.stack([(showers.voxels[:, s] > 0).sum(axis=1) for s in showers.geometry.slices], axis=1)
        log_energy = np.where(number > 0, np.log(energy.clip(threshold) / threshold), -rng.random(energy.shape))
        share = (number + rng.random(number.shape)) / (voxels + 1)
        y = np.concatenate([log_energy, np.log(share / (1 - share))], axis=1)
        logs = np.log(showers.incident)
        centre, width = logs.mean(), max(logs.std(), 1e-3)
        degree = min(DEGREE, len(np.unique(logs)) - 1)
        powers = np.vander((logs - centre) / width, DEGREE + 1, increasing=True)
        powers[:, degree + 1 :] = 0
        mean = np.linalg.lstsq(powers, y, rcond=None)[0].T
        rest = np.log(np.abs(y - powers @ mean.T) + 1e-3)
        log_std = np.linalg.lstsq(powers, rest, rcond=None)[0].T
        log_std[:, 0] += 0.635  # E log|N(0, s)| = log s - 0.635
        shape = {"mean": mean, "log_std": log_std, "incident": np.array([centre, width])}
        made = Totals(Totals.build(len(voxels)), shape, voxels, threshold)
        x, centred, std = made._coordinates(logs)
        data = torch.from_numpy((y - centred) / std).float(), torch.from_numpy(x).float()[:, None]

        def loss(y: Any, x: Any) -> Any:
            return -made.flow(x).log_prob(y).mean()

        training, validation = (tuple(t[part] for t in data) for part in rows)
        return made, train(made.flow, loss, training, validation, settings, seed, progress)[0]

    def draw(self, log_incident: Floats, seed: int) -> tuple[Floats, Any]:
        """Energies [MeV] (N, L) and numbers of points (N, L) of layers, at most as many as there are thresholds."""
        import torch

        x, mean, std = self._coordinates(log_incident)
        noise = np.random.default_rng([seed, 6]).standard_normal(mean.shape)
        with torch.no_grad():
            y = self.flow(torch.from_numpy(x).float()[:, None]).transform.inv(torch.from_numpy(noise).float()).numpy()
        log_energy, share = np.split(y.astype(np.float64) * std + mean, 2, axis=1)
        number = np.floor((self.voxels + 1) / (1 + np.exp(-share))).clip(1, self.voxels)
        filled = log_energy >= 0
        energy = np.where(filled, self.threshold * np.exp(log_energy.clip(0, 50)), 0.0)
        return energy, np.minimum(number, np.floor(energy / self.threshold)).astype(np.int64)

    def _coordinates(self, log_incident: Floats) -> tuple[Floats, Floats, Floats]:
        """x (N,), and mean and standard deviation (N, 2 L) there."""
        centre, width = self.shape["incident"]
        x = (log_incident - centre) / width
        powers = np.vander(x, DEGREE + 1, increasing=True)
        return x, powers @ self.shape["mean"].T, np.exp((powers @ self.shape["log_std"].T).clip(-7, 3))
