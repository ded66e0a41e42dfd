"""Mixture of experts: one feed-forward network per calorimeter material.

As in Shazeer et al., arXiv:1701.06538, but the gate is not learned: the material selects the expert. A new material
gets a copy of an existing expert, and only the copy is trained; nothing that an old material uses changes.
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
        """Add an expert for a new material, as a copy of that of `like`."""
        self.experts[material] = copy.deepcopy(self.experts[like])

    def forward(self, x: Tensor, material: str) -> Tensor:
        """Apply the material's expert: (..., dim) -> (..., dim)."""
        y: Tensor = self.experts[material](x)
        return y


def add_material(model: nn.Module, material: str, like: str) -> list[nn.Parameter]:
    """Add an expert for `material` to every mixture in `model`; return its parameters, with all others frozen."""
    model.requires_grad_(False)
    grown: list[nn.Parameter] = []
    for module in model.modules():
        if isinstance(module, Experts):
            module.grow(material, like)
            grown += module.experts[material].requires_grad_(True).parameters()
    return grown
