"""Low-rank adaptation (Hu et al., arXiv:2106.09685): linear maps that learn new particles without forgetting old ones.

y = W x + b + (1/r) B_p A_p x for particle p, with A (r, in), B (out, r); B = 0 before training, so that a new particle
starts as the old one. W, b and the adapters of other particles are frozen while p is learned, and are used without its
adapter: known particles stay the same, bit for bit.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class AdaptedLinear(nn.Module):
    """A linear map with an adapter for each particle but the first."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.base = nn.Linear(inputs, outputs)
        self.adapters = nn.ModuleDict()

    def grow(self, particle: str, rank: int) -> None:
        """Add an adapter for a particle."""
        down = nn.Linear(self.base.in_features, rank, bias=False)
        up = nn.Linear(rank, self.base.out_features, bias=False)
        nn.init.zeros_(up.weight)
        self.adapters[particle] = nn.Sequential(down, up).to(self.base.weight.device)

    def forward(self, x: Tensor, particle: str) -> Tensor:
        """Apply the map: (..., in) -> (..., out); without an adapter, the particle is that of the base."""
        y: Tensor = self.base(x)
        if particle in self.adapters:
            adapter: Any = self.adapters[particle]
            y = y + adapter(x) / adapter[0].out_features
        return y


def adapt(model: nn.Module, particle: str, rank: int) -> list[nn.Parameter]:
    """Add an adapter for `particle` to every adapted map in `model`; return its parameters, with all others frozen."""
    model.requires_grad_(False)
    grown: list[nn.Parameter] = []
    for module in model.modules():
        if isinstance(module, AdaptedLinear):
            module.grow(particle, rank)
            grown += module.adapters[particle].requires_grad_(True).parameters()
    return grown
