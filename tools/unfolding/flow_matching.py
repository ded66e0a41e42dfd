"""Unfolding with conditional flow matching: noise flows to the particle level, given the measured event.

The network learns the velocity of straight paths from noise to the particle level of simulated events, with their
detector level as condition (Lipman et al., arXiv:2210.02747; as a reference for unfolding: arXiv:2411.02495), in
coordinates of the difference of both (`coordinates.Residuals`). The noise is that of the best linear prediction,
x ~ N(A y, S), with A and S from the training events, and the network is added to the velocity
(2t - 1)/(t^2 + (1 - t)^2) x that keeps it: nothing is left to learn where the posterior is normal with a linear mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.field import midpoint, straight_losses
from tools.training import to_tensor
from tools.unfolding.coordinates import Levels, Residuals
from tools.unfolding.generative import Generative

FLOOR = 1e-4  # least variance of what is left of a coordinate


class FlowMatching(Generative):
    """Conditional flow matching: the posterior of each measured event, from noise."""

    coordinates: ClassVar[type[Levels | Residuals]] = Residuals
    kind: Literal["flow_matching"] = "flow_matching"
    steps: SkipJsonSchema[int] = Field(20, ge=1, le=1000, description="integration steps, two evaluations each")

    def conditions(self, dimensions: int) -> int:
        return dimensions

    def build(self, dimensions: int, conditions: int = 1) -> Any:
        """Return the network, with the linear prediction: slope A (conditions, d), and root of S (d, d)."""
        import torch

        model = super().build(dimensions, conditions)
        model.register_buffer("slope", torch.zeros(conditions, dimensions))
        model.register_buffer("root", torch.eye(dimensions))
        return model

    def prepare(self, model: Any, gen: Any, reco: Any, weight: Any) -> None:
        import torch

        each = weight[:, None].sqrt()
        model.slope.copy_(torch.linalg.lstsq(each * reco, each * gen).solution)
        rest = each * (gen - reco @ model.slope)
        model.root.copy_(
            torch.linalg.cholesky(rest.T @ rest / weight.sum() + FLOOR * torch.eye(gen.shape[1], device=gen.device))
        )

    def losses(self, model: Any, gen: Any, reco: Any) -> Any:
        import torch

        rest = torch.linalg.solve_triangular(model.root, (gen - reco @ model.slope).T, upper=False).T
        return straight_losses(_beyond(model), rest, reco)

    def draw(self, model: Any, reco: Any, generator: Any) -> Any:
        import torch

        noise = torch.randn(reco.shape, generator=generator, device=reco.device)
        rest = to_tensor(midpoint(_beyond(model), noise, reco, np.linspace(0, 1, self.steps + 1)), str(reco.device))
        return reco @ model.slope + rest @ model.root.T


def _beyond(model: Any) -> Callable[[Any, Any, Any], Any]:
    """Return the velocity (x, t, c) -> (n, d): the network's, and that of standard normal noise to itself."""

    def velocity(x: Any, t: Any, c: Any) -> Any:
        return model(x, t, c) + (2 * t - 1) / (t * t + (1 - t) ** 2) * x

    return velocity
