"""Sideband events morphed to the window's mass: flows for flows (arXiv:2211.02487; CURTAINs F4F, arXiv:2305.04646).

In the papers a second flow, trained between two samples of the base density p(x|m), maps x at m1 to x' at m2.
Here the map uses the base flow f itself, which needs no second training and is exact where f is:

    x' = f^-1(f(x; m1); m2).

It is invertible, is the identity at m2 = m1, and moves every event along a line of constant quantiles. It is not
the papers' trained transport, which may move events less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from tools.anomaly.data import Sidebands
from tools.anomaly.flow import ConditionalFlow, SplineFlow
from tools.anomaly.sideband import cycle, neighbours
from tools.contract import Frozen
from tools.training import Losses, Progress
from tools.types import Floats


class Morphing(Frozen):
    """CURTAINs-like: neighbouring sideband events, morphed to the window's mass by a spline flow."""

    kind: Literal["morphing"] = "morphing"
    flow: SplineFlow = Field(SplineFlow(), json_schema_extra={"default": {}})
    width: float = Field(1.0, gt=0, description="width of each of the two neighbouring bands, in widths of the window")

    def fit(self, sidebands: Sidebands, seed: int, progress: Progress | None = None) -> Morph:
        """Train the flow on the sidebands. Raises ToolError for empty bands, or when training diverges."""
        rows = neighbours(sidebands, self.width)
        flow = self.flow.fit(sidebands, seed, progress)
        return Morph(flow, sidebands.features[rows], sidebands.mjj[rows], flow.losses, flow.device)


@dataclass
class Morph:
    """The base flow, and the events to morph."""

    flow: ConditionalFlow
    features: Floats
    mjj: Floats
    losses: Losses
    device: str

    def move(self, features: Floats, mjj: Floats, to: Floats) -> Floats:
        """Return the features (n, d) of events at `mjj`, morphed to the masses `to`."""
        return self.flow.features(self.flow.latent(features, mjj), to)

    def sample(self, mjj: Floats, seed: int) -> Floats:
        """Return one event morphed to each entry of `mjj`; none is used twice before all have been used."""
        rows = cycle(len(self.mjj), len(mjj), np.random.default_rng(seed))
        return self.move(self.features[rows], self.mjj[rows], mjj)
