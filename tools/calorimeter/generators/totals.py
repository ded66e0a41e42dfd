"""Flow for the energy and the number of points of each layer, on which a point cloud is conditioned.

It is a conditional neural spline flow (zuko; as in the first stages of AllShowers and L2LFlows) for two numbers per
layer, given E_inc: log(E_layer/threshold), and the logit of (number + u)/(voxels + 1) with u uniform. An empty layer is
dequantised below threshold: its first number is uniform in (-1, 0), and a negative one means an empty layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tools.calorimeter.generators.base import Losses, Progress
from tools.calorimeter.generators.trend import Trend
from tools.calorimeter.showers import Showers
from tools.training import Training, train
from tools.types import Floats


@dataclass
class Totals:
    """A flow for a shower's layer totals, each standardised by its trend with E_inc."""

    flow: Any
    trend: Trend
    voxels: Floats  # of each layer (L,)
    threshold: float

    @staticmethod
    def build(layers: int) -> Any:
        """Return an untrained flow for 2 L numbers."""
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
        """Train by maximum likelihood on the showers rows[0], choosing the epoch on rows[1]."""
        import torch

        voxels = np.array([layer.n_voxels for layer in showers.geometry.layers], np.float64)
        rng = np.random.default_rng([seed, 5])
        energy = showers.layer_energies
        number = np.stack([(showers.voxels[:, s] > 0).sum(axis=1) for s in showers.geometry.slices], axis=1)
        log_energy = np.where(number > 0, np.log(energy.clip(threshold) / threshold), -rng.random(energy.shape))
        share = (number + rng.random(number.shape)) / (voxels + 1)
        y = np.concatenate([log_energy, np.log(share / (1 - share))], axis=1)
        logs, columns = np.log(showers.incident), np.tile(np.arange(y.shape[1]), len(y))
        trend = Trend.fit(np.repeat(logs, y.shape[1]), y.reshape(-1), columns, y.shape[1])
        made = Totals(Totals.build(len(voxels)), trend, voxels, threshold)
        x, mean, std = made._coordinates(logs)
        data = torch.from_numpy((y - mean) / std).float(), torch.from_numpy(x).float()[:, None]

        def loss(y: Any, x: Any) -> Any:
            return -made.flow(x).log_prob(y).mean()

        training, validation = (tuple(t[part] for t in data) for part in rows)
        return made, train(made.flow, loss, training, validation, settings, seed, progress)[0]

    def draw(self, log_incident: Floats, seed: int) -> tuple[Floats, Any]:
        """Draw layer energies [MeV] (N, L) and numbers of points (N, L), at most one per threshold of energy."""
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
        """Return standardised log E_inc (N,), and the trends' mean and standard deviation (N, 2 L) there."""
        n, d = len(log_incident), 2 * len(self.voxels)
        mean, std = self.trend.at(np.repeat(log_incident, d), np.tile(np.arange(d), n))
        x = (log_incident - self.trend.scale[0]) / self.trend.scale[1]
        return x, mean.reshape(n, d), std.reshape(n, d)
