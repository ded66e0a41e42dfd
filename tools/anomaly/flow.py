"""p(features | mjj) from conditional normalizing flows (zuko): CATHODE's density (Hallin et al., arXiv:2109.00546).

log p(x|m) = log N(z; 0, 1) + log |det dz/dx| with an autoregressive z = f(x; m): rational-quadratic
splines (Durkan et al., arXiv:1906.04032), or affine (MAF; Papamakarios et al., arXiv:1705.07057) as in the paper.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.anomaly.conditional import Fitted, fit_conditional
from tools.anomaly.data import Sidebands
from tools.training import CHUNK, Progress, Training, to_tensor
from tools.types import Floats


@dataclass
class ConditionalFlow(Fitted):
    """A trained flow that maps features to unit Gaussians, given mjj, and back; losses in nats per event."""

    def sample(self, mjj: Floats, seed: int) -> Floats:
        """Return one event per entry of `mjj`: (n, d) features within the range seen in training."""
        z = np.random.default_rng(seed).standard_normal((len(mjj), len(self.coordinates.scaler.low)))
        return self.features(z, mjj)

    def latent(self, features: Floats, mjj: Floats) -> Floats:
        """Return z (n, d): unit Gaussian and independent of mjj for events from the learned density."""
        x = self.coordinates.forward(features, mjj)
        return self._through(x, mjj, lambda transform, part: transform(part))

    def features(self, z: Floats, mjj: Floats) -> Floats:
        """Return the features (n, d) of z at `mjj`: the inverse of `latent`."""
        x = self._through(z, mjj, lambda transform, part: transform.inv(part))
        return self.coordinates.inverse(x, mjj)

    def _through(self, values: Floats, mjj: Floats, apply: Any) -> Floats:
        import torch

        c, x = self.coordinates.context(mjj, self.device), to_tensor(values, self.device)
        with torch.no_grad():
            parts = zip(torch.split(c, CHUNK), torch.split(x, CHUNK), strict=True)
            done = [apply(self.model(context).transform, part).cpu().numpy() for context, part in parts]
        return np.concatenate(done).astype(np.float64)


class Flow(Training):
    """Settings common to both flows."""

    transforms: int = Field(3, ge=1, le=30)
    hidden: int = Field(64, ge=4, le=1024)

    @abstractmethod
    def build(self, dimensions: int) -> Any:
        """Return the untrained zuko flow."""

    def fit(self, sidebands: Sidebands, seed: int, progress: Progress | None = None) -> ConditionalFlow:
        """Train by maximum likelihood; on a CPU the same seed gives the same flow. ToolError when training diverges."""

        def loss(model: Any, x: Any, c: Any) -> Any:
            return -model(c).log_prob(x)

        return ConditionalFlow(**vars(fit_conditional(self.build, loss, sidebands, self, seed, progress)))


class SplineFlow(Flow):
    """CATHODE with a neural spline flow: the default, fast and accurate."""

    kind: Literal["spline_flow"] = "spline_flow"
    transforms: int = Field(2, ge=1, le=30)
    bins: int = Field(8, ge=2, le=64)
    # Larger batches are faster, but close worse in the window.
    epochs: int = Field(12, ge=1, le=1000)
    batch: SkipJsonSchema[int] = Field(512, ge=16)
    learning_rate: SkipJsonSchema[float] = Field(2e-3, gt=0, lt=1)

    def build(self, dimensions: int) -> Any:
        import zuko

        hidden = (self.hidden, self.hidden)
        return zuko.flows.NSF(dimensions, context=1, transforms=self.transforms, bins=self.bins, hidden_features=hidden)


class MaskedFlow(Flow):
    """CATHODE with the paper's flow: 15 affine MADE blocks of 128 units (without its batch normalisation). Slow."""

    kind: Literal["maf"] = "maf"
    transforms: int = Field(15, ge=1, le=30)
    hidden: int = Field(128, ge=4, le=1024)
    epochs: int = Field(100, ge=1, le=1000)
    batch: SkipJsonSchema[int] = Field(256, ge=16)
    learning_rate: SkipJsonSchema[float] = Field(1e-4, gt=0, lt=1)
    patience: SkipJsonSchema[int] = Field(
        100, ge=1, description="epochs without improvement in validation before training stops"
    )

    def build(self, dimensions: int) -> Any:
        import zuko

        return zuko.flows.MAF(
            dimensions, context=1, transforms=self.transforms, hidden_features=(self.hidden,), randperm=True
        )
