"""Pre-norm transformer (Vaswani et al., arXiv:1706.03762) that can be extended by material and by particle.

Attention uses adapted linear maps (`lora.py`), and the feed-forward network is a mixture of experts (`experts.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tools.calorimeter.generators.base import Domain
from tools.calorimeter.generators.experts import Experts
from tools.calorimeter.generators.lora import AdaptedLinear


class Cache:
    """Keys and values of one block for the previous tokens, so that each token is processed only once."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def add(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values; return all so far (B, heads, T, dim / heads)."""
        self.keys = keys if self.keys is None else torch.cat([self.keys, keys], 2)
        self.values = values if self.values is None else torch.cat([self.values, values], 2)
        return self.keys, self.values

    def keep(self, rows: Tensor) -> None:
        """Keep only these showers."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[rows], self.values[rows]


class Block(nn.Module):
    """x + attention(norm(x)), then x + experts(norm(x))."""

    def __init__(self, dim: int, heads: int, material: str) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.enter, self.leave = AdaptedLinear(dim, 3 * dim), AdaptedLinear(dim, dim)
        self.experts = Experts(dim, material)

    def forward(
        self, x: Tensor, domain: Domain, mask: Tensor | None = None, causal: bool = False, cache: Cache | None = None
    ) -> Tensor:
        """Apply the block: (B, T, dim) -> (B, T, dim); `mask` (B, 1, 1, T) is true for tokens to attend to."""
        b, t, dim = x.shape
        parts = self.enter(self.norms[0](x), domain.particle).view(b, t, 3, self.heads, dim // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        if cache is not None:
            k, v = cache.add(k, v)
        seen = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        x = x + self.leave(seen.transpose(1, 2).reshape(b, t, dim), domain.particle)
        y: Tensor = x + self.experts(self.norms[1](x), domain.material)
        return y
