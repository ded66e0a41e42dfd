"""Low-rank adaptation (Hu et al., arXiv:2106.09685): a linear map that learns new particles without losing old ones.

y = W x + b + (1/r) B_p A_p x for particle p, A (r, in), B (out, r); B = 0 before training, so that a new particle
begins as the old one. W, b and adapters of other particles are frozen while p is learned, and those who do not ask for
p never meet it: what was known stays as it was, bit by bit.
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
        """Room for a particle."""
        down = nn.Linear(self.base.in_features, rank, bias=False)
        up = nn.Linear(rank, self.base.out_features, bias=False)
        nn.init.zeros_(up.weight)
        self.adapters[particle] = nn.Sequential(down, up).to(self.base.weight.device)

    def forward(self, x: Tensor, particle: str) -> Tensor:
        """(..., in) -> (..., out); a particle without an adapter is the one that the base has learned."""
        y: Tensor = self.base(x)
        if particle in self.adapters:
            adapter: Any = self.adapters[particle]
            y = y + adapter(x) / adapter[0].out_features
        return y


def adapt(model: nn.Module, particle: str, rank: int) -> list[nn.Parameter]:
    """Give every adapted map in `model` an adapter for `particle`; the parameters to train, all others frozen."""
    model.requires_grad_(False)
    grown: list[nn.Parameter] = []
    for module in model.modules():
        if isinstance(module, AdaptedLinear):
            module.grow(particle, rank)
            grown += module.adapters[particle].requires_grad_(True).parameters()
    return grown
