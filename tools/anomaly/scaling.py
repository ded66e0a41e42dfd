"""Coordinates in which networks learn: features on the whole real line, standardised, and the standardised log of mjj.

A straight line in mjj is fitted to the lower edge of each feature and subtracted: the edge of a feature that shifts as
a whole then stays fixed, and so does the edge of one whose mean alone shifts. (A moving edge is the hardest for a flow
to learn: with the trend of the mean subtracted, templates closed worse than with none, unless whole features shifted.)
Each feature is then scaled to (0, 1) by its range in training, mapped to logits and standardised, as in CATHODE
(arXiv:2109.00546); the context is c = (log mjj - mean) / std.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tools.training import to_tensor
from tools.types import Floats

EDGE = 0.01  # quantile of a feature taken as its lower edge
SLICES = 20  # slices in mjj with equal numbers of events, in which the edge is measured
ROUNDS = 3
MARGIN = 1e-3  # features are scaled to (MARGIN, 1 - MARGIN), so that the logit stays finite


@dataclass
class Scaler:
    """x -> (logit(scaled x) - mean) / std, invertible within the range seen in training."""

    low: Floats
    high: Floats
    mean: Floats
    std: Floats

    @staticmethod
    def of(x: Floats) -> Scaler:
        scaler = Scaler(x.min(axis=0), x.max(axis=0), np.zeros(x.shape[1]), np.ones(x.shape[1]))
        z = scaler.forward(x)
        scaler.mean, scaler.std = z.mean(axis=0), z.std(axis=0)
        return scaler

    def forward(self, x: Floats) -> Floats:
        u = MARGIN + (1 - 2 * MARGIN) * (x - self.low) / (self.high - self.low)
        u = np.clip(u, MARGIN / 2, 1 - MARGIN / 2)
        return (np.log(u) - np.log1p(-u) - self.mean) / self.std

    def inverse(self, z: Floats) -> Floats:
        """Return x; values beyond the range seen in training are clipped to it."""
        u = 1 / (1 + np.exp(-np.clip(z * self.std + self.mean, -30, 30)))
        x = self.low + (self.high - self.low) * (u - MARGIN) / (1 - 2 * MARGIN)
        return np.clip(x, self.low, self.high)


@dataclass
class Coordinates:
    """Features without the shift of their edge, scaled, and standardised log(mjj), all fixed by the training events."""

    scaler: Scaler
    slope: Floats  # of each feature's edge, per TeV
    centre: float  # mjj where nothing is subtracted
    seen: tuple[Floats, Floats]  # smallest and largest features
    mean: float
    std: float

    @staticmethod
    def of(features: Floats, mjj: Floats) -> Coordinates:
        log_m, centre = np.log(mjj), float(mjj.mean())
        slope = _edge_slope(features, mjj)
        scaler = Scaler.of(features - slope * (mjj - centre)[:, None])
        seen = (features.min(axis=0), features.max(axis=0))
        return Coordinates(scaler, slope, centre, seen, float(log_m.mean()), float(log_m.std()) or 1.0)

    def forward(self, features: Floats, mjj: Floats) -> Floats:
        return self.scaler.forward(features - self.slope * (mjj - self.centre)[:, None])

    def inverse(self, x: Floats, mjj: Floats) -> Floats:
        """Return the features at `mjj`; values beyond the range seen in training are clipped to it."""
        return np.clip(self.scaler.inverse(x) + self.slope * (mjj - self.centre)[:, None], *self.seen)

    def tensors(self, features: Floats, mjj: Floats, device: str) -> tuple[Any, Any]:
        """Return float32 tensors x (n, d) and c (n, 1)."""
        return to_tensor(self.forward(features, mjj), device), self.context(mjj, device)

    def context(self, mjj: Floats, device: str) -> Any:
        return to_tensor(((np.log(mjj) - self.mean) / self.std)[:, None], device)


def _edge_slope(features: Floats, mjj: Floats) -> Floats:
    """Return the slope, per unit of mass, of the line through the EDGE quantiles of each feature in slices of mjj.

    The fit is repeated on the residuals, because a slice smears an edge that moves within it.
    """
    slices = [rows for rows in np.array_split(np.argsort(mjj), SLICES) if len(rows)]
    at = np.array([mjj[rows].mean() for rows in slices])
    away = at - at.mean()
    slope = np.zeros(features.shape[1])
    for _ in range(ROUNDS):
        left = features - slope * mjj[:, None]
        slope += away @ np.array([np.quantile(left[rows], EDGE, axis=0) for rows in slices]) / (away @ away or 1.0)
    return slope
