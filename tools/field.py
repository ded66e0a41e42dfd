"""Residual network f(x, t, c) for flow matching and diffusion, and an integrator for dx/dt = f.

The time t and the conditions c enter every block through a Fourier embedding, as in SIGMA (arXiv:2410.20537).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.training import CHUNK, Training
from tools.types import Floats

TIME_FREQUENCIES = (1.0, 2.0, 4.0, 8.0)  # rad per unit of time
# rad per standard deviation of a condition. Higher ones could oscillate where no data constrain them, as inside the
# window of a search.
CONDITION_FREQUENCIES = (0.5, 1.0)


class FieldTraining(Training):
    """Size and training of the network, and number of integration steps."""

    hidden: int = Field(64, ge=4, le=1024)
    blocks: SkipJsonSchema[int] = Field(3, ge=1, le=20)
    epochs: int = Field(30, ge=1, le=1000)
    batch: SkipJsonSchema[int] = Field(2048, ge=16)
    learning_rate: SkipJsonSchema[float] = Field(3e-3, gt=0, lt=1)
    patience: SkipJsonSchema[int] = Field(
        100, ge=1, description="epochs without improvement in validation before training stops"
    )
    steps: SkipJsonSchema[int] = Field(20, ge=1, le=1000, description="integration steps, two evaluations each")

    def build(self, dimensions: int, conditions: int = 1) -> Any:
        """Return a module (x (n, d), t (n, 1), c (n, conditions)) -> (n, d) whose output is zero before training."""
        return residual_network(dimensions, self.hidden, self.blocks, conditions)


def residual_network(dimensions: int, hidden: int, blocks: int, conditions: int) -> Any:
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(2 * hidden, hidden), nn.Linear(hidden, hidden)

        def forward(self, h: Any, embedded: Any) -> Any:
            inner = nn.functional.silu(self.first(torch.cat([h, embedded], 1)))
            return nn.functional.silu(h + self.second(inner))

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("time", torch.tensor(TIME_FREQUENCIES))
            self.register_buffer("condition", torch.tensor(CONDITION_FREQUENCIES))
            waves = 2 * len(TIME_FREQUENCIES) + 2 * len(CONDITION_FREQUENCIES) * conditions
            self.embed = nn.Linear(1 + conditions + waves, hidden)
            self.enter = nn.Linear(dimensions, hidden)
            self.blocks = nn.ModuleList(Block() for _ in range(blocks))
            self.leave = nn.Linear(hidden, dimensions)
            nn.init.zeros_(self.leave.weight)
            nn.init.zeros_(self.leave.bias)

        def forward(self, x: Any, t: Any, c: Any) -> Any:
            known = (c[:, :, None] * self.condition).flatten(1)
            waves = [f(a) for a in (t * self.time, known) for f in (torch.sin, torch.cos)]
            embedded = nn.functional.silu(self.embed(torch.cat([t, c, *waves], 1)))
            h = self.enter(x)
            for block in self.blocks:
                h = block(h, embedded)
            return self.leave(h)

    return Residual()


def straight_losses(model: Callable[[Any, Any, Any], Any], x: Any, c: Any) -> Any:
    """Return the loss of flow matching (n, d) for events x (n, d) with conditions c (n, k).

    The path is straight, x_t = (1 - t) noise + t x, and its velocity x - noise (Lipman et al., arXiv:2210.02747).
    """
    import torch

    noise, t = torch.randn_like(x), torch.rand_like(x[:, :1])
    return (model((1 - t) * noise + t * x, t, c) - (x - noise)).square()


def midpoint(velocity: Callable[[Any, Any, Any], Any], x: Any, c: Any, times: Floats) -> Floats:
    """Integrate dx/dt = velocity(x, t, c) along `times` with the midpoint rule, in chunks: (n, d) tensor -> array.

    Second order: x' = x + h v(x + h/2 v(x, t), t + h/2).
    """
    import torch

    done = []
    with torch.no_grad():
        for part, context in zip(torch.split(x, CHUNK), torch.split(c, CHUNK), strict=True):
            here = part
            for start, stop in pairwise(times):
                step = float(stop - start)
                t = torch.full_like(part[:, :1], float(start))
                middle = here + 0.5 * step * velocity(here, t, context)
                here = here + step * velocity(middle, t + 0.5 * step, context)
            done.append(here.cpu().numpy())
    return np.concatenate(done).astype(np.float64)
