"""Unfolding with bridges: each measured event moves to a true one, beginning where it was measured.

A Brownian bridge of noise g joins the particle level x0 and the detector level x1 of a simulated event:

    x_t = (1 - t) x0 + t x1 + sqrt(g t (1 - t)) eps.

A network learns E[x0 | x_t] and, with `conditional`, E[x0 | x_t, x1]. An event at t moves to s < t by

    x_s = (t - s)/t E[x0 | ...] + s/t x_t + sqrt(g s (t - s)/t) eps,

here with the mean of E at both ends (Heun's rule with the same eps), which needs a fifth of the steps. Without the
condition the marginal is right if data and simulation agree at detector level, but not the posterior: for g = 0, every
event becomes a function of x1. With it, events are drawn from p(x0 | x1) for any g > 0; for g = 0 they would all be
E[x0 | x1], which is refused (arXiv:2411.02495), and for little noise it takes long training to be far from that.

Direct Diffusion (arXiv:2308.12351) takes t uniformly and learns (x_t - x0)/t, here over its spread sqrt(1 + g/t): for
small t it would diverge, and the same E is learned. I2SB (arXiv:2302.05872, 2308.12351) diffuses at a rate beta that
rises to the middle of the way and falls again, and learns (x_t - x0)/sigma_t; with t = sigma^2(u)/sigma^2(1) and
g = sigma^2(1) it is the same bridge, passed in its own time u.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from tools.unfolding.generative import Generative

RISE = 0.366  # of sqrt(beta) to the middle, relative to its start: I2SB with beta from 0.1 to 0.3


class Bridge(Generative):
    """What both bridges share: the way, its steps and what is learned."""

    conditional: bool = Field(True, description="whether the posterior of each event is right, or the marginal only")
    steps: SkipJsonSchema[int] = Field(40, ge=2, le=1000, description="steps of the bridge, two evaluations each")
    noise: float

    @model_validator(mode="after")
    def _spread(self) -> Bridge:
        if self.conditional and self.noise == 0:
            raise ValueError(
                "noise=0 with conditional=true gives every event the mean of its posterior, without spread: "
                "set noise above 0, or conditional=false"
            )
        return self

    def time(self, u: Any) -> Any:
        """Return the time t of the bridge at the method's own time u, both from 0 to 1."""
        raise NotImplementedError

    def scale(self, t: Any) -> Any:
        """Return the size of x_t - x0, which the network's output is multiplied by."""
        raise NotImplementedError

    def conditions(self, dimensions: int) -> int:
        return dimensions if self.conditional else 0

    def losses(self, model: Any, gen: Any, reco: Any) -> Any:
        import torch

        u = 1 - torch.rand_like(gen[:, :1])  # above 0
        t = self.time(u)
        away = t * (reco - gen) + torch.sqrt(self.noise * t * (1 - t)) * torch.randn_like(gen)
        return (model(gen + away, u, reco[:, : self.conditions(reco.shape[1])]) - away / self.scale(t)).square()

    def draw(self, model: Any, reco: Any, generator: Any) -> Any:
        import torch

        condition = reco[:, : self.conditions(reco.shape[1])]

        def truth(x: Any, u: float) -> Any:
            at = torch.full_like(x[:, :1], u)
            return x - self.scale(self.time(at)) * model(x, at, condition)

        x = reco
        for u, v in pairwise(self._grid()):
            t, s = float(self.time(u)), float(self.time(v))
            noise = torch.randn(x.shape, generator=generator, device=x.device) * (self.noise * s * (t - s) / t) ** 0.5
            first = truth(x, u)
            moved = (t - s) / t * first + s / t * x + noise
            if s > 0:
                moved = moved + (t - s) / t * (truth(moved, v) - first) / 2
            x = moved
        return x

    def _grid(self) -> list[float]:
        """Return the method's times of the steps, from 1 to 0: close at both ends, where the bridge is narrow."""
        return [float(u) for u in (1 + np.cos(np.pi * np.linspace(0, 1, self.steps + 1))) / 2]


class DirectDiffusion(Bridge):
    """Direct Diffusion: measured events diffuse to true ones."""

    kind: Literal["direct_diffusion"] = "direct_diffusion"
    noise: float = Field(
        0.1,
        ge=0,
        le=10,
        description="variance of the bridge's noise, in that of the observables; conditional: 0.05 or more, "
        "or posteriors come out too narrow",
    )

    def time(self, u: Any) -> Any:
        return u

    def scale(self, t: Any) -> Any:
        return (t * t + self.noise * t) ** 0.5


class SchroedingerBridge(Bridge):
    """Schroedinger bridge, I2SB: as Direct Diffusion, with little noise at both ends."""

    kind: Literal["schroedinger_bridge"] = "schroedinger_bridge"
    noise: float = Field(
        0.1,
        gt=0,
        le=10,
        description="variance of the bridge's noise, in that of the observables; conditional: 0.05 or more, "
        "or posteriors come out too narrow",
    )

    def time(self, u: Any) -> Any:
        # Integral of (1 + 2 RISE min(u, 1 - u))^2 over u.
        half = 0.5 - abs(u - 0.5)
        way = ((1 + 2 * RISE * half) ** 3 - 1) / (6 * RISE)
        all_of_it = ((1 + RISE) ** 3 - 1) / (3 * RISE)
        first = way / all_of_it
        return first + (u > 0.5) * (1 - 2 * first)

    def scale(self, t: Any) -> Any:
        return (self.noise * t) ** 0.5
