"""Velocity of a point cloud: a transformer over points, given their layer, the time and the layer's totals."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tools.calorimeter.generators.base import Domain
from tools.calorimeter.generators.transformer import Block

FREQUENCIES = (1.0, 2.0, 4.0, 8.0)  # rad per unit of time
CENTRES, WIDTHS = (10.0, 7.0, 3.0), (3.0, 3.0, 1.5)  # rough scales of the context's three numbers


class Velocity(nn.Module):
    """Velocity (B, P, 3) of x (B, P, 3), layer (B, P), -1 for none, t (B,), context (B, L, 3); 0 before training."""

    frequencies: Tensor
    centre: Tensor
    width: Tensor

    def __init__(self, layers: int, dim: int, heads: int, blocks: int) -> None:
        super().__init__()
        self.domain = Domain()
        self.place = nn.Linear(3, dim)
        self.layer = nn.Embedding(layers, dim)
        self.known = nn.Sequential(nn.Linear(4 + 2 * len(FREQUENCIES), dim), nn.SiLU(), nn.Linear(dim, dim))
        self.blocks = nn.ModuleList(Block(dim, heads, self.domain.material) for _ in range(blocks))
        self.norm, self.leave = nn.LayerNorm(dim), nn.Linear(dim, 3)
        self.register_buffer("frequencies", torch.tensor(FREQUENCIES), persistent=False)
        self.register_buffer("centre", torch.tensor(CENTRES), persistent=False)
        self.register_buffer("width", torch.tensor(WIDTHS), persistent=False)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, layer: Tensor, t: Tensor, context: Tensor) -> Tensor:
        of = layer.clamp_min(0)
        waves = t[:, None] * self.frequencies
        time = torch.cat([t[:, None], waves.sin(), waves.cos()], 1)[:, None].expand(-1, context.shape[1], -1)
        known = self.known(torch.cat([(context - self.centre) / self.width, time], 2))  # (B, L, dim)
        mine = known.gather(1, of[..., None].expand(-1, -1, known.shape[2]))
        h = self.place(x) + self.layer(of) + mine
        mask = (layer >= 0)[:, None, None, :]
        # A shower without points attends to its padding; its output is not used.
        mask = mask | ~mask.any(-1, keepdim=True)
        for block in self.blocks:
            h = block(h, self.domain, mask)
        v: Tensor = self.leave(self.norm(h))
        return v
