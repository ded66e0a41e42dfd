"""Mixture of experts by material: a feed-forward network for each, chosen by what the calorimeter is made of.

As in Shazeer et al., arXiv:1701.06538, but the gate is known, not learned: the material picks the expert. A new
material gets a copy of an old expert, which is trained alone; nothing that an old material uses is touched.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn


class Experts(nn.Module):
    """Two layers, dim -> 4 dim -> dim, for each material."""

    def __init__(self, dim: int, material: str) -> None:
        super().__init__()
        network = nn.Sequential(nn.Linear(dim, 4 * dim), nn.SiLU(), nn.Linear(4 * dim, dim))
        self.experts = nn.ModuleDict({material: network})

    def grow(self, material: str, like: str) -> None:
        """An expert for a new material, which begins as that of `like`."""
        self.experts[material] = copy.deepcopy(self.experts[like])

    def forward(self, x: Tensor, material: str) -> Tensor:
        """(..., dim) -> (..., dim)."""
        y: Tensor = self.experts[material](x)
        return y


def add_material(model: nn.Module, material: str, like: str) -> list[nn.Parameter]:
    """Give every mixture in `model` an expert for `material`; the parameters to train, all others frozen."""
    model.requires_grad_(False)
    grown: list[nn.Parameter] = []
    for module in model.modules():
        if isinstance(module, Experts):
            module.grow(material, like)
            grown += module.experts[material].requires_grad_(True).parameters()
    return grown
