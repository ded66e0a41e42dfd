"""Unfolding with conditional flow matching: noise flows to the particle level, given the measured event.

The network learns the velocity of straight paths from noise to the particle level of simulated events, with their
detector level as condition (Lipman et al., arXiv:2210.02747; as a reference for unfolding: arXiv:2411.02495).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.field import midpoint, straight_losses
from tools.unfolding.generative import Generative


class FlowMatching(Generative):
    """Conditional flow matching: the posterior of each measured event, from noise."""

    kind: Literal["flow_matching"] = "flow_matching"
    steps: SkipJsonSchema[int] = Field(20, ge=1, le=1000, description="integration steps, two evaluations each")

    def conditions(self, dimensions: int) -> int:
        return dimensions

    def losses(self, model: Any, gen: Any, reco: Any) -> Any:
        return straight_losses(model, gen, reco)

    def draw(self, model: Any, reco: Any, generator: Any) -> Any:
        import torch

        noise = torch.randn(reco.shape, generator=generator, device=reco.device)
        return torch.as_tensor(midpoint(model, noise, reco, np.linspace(0, 1, self.steps + 1)))
