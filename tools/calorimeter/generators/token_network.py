"""The network of `tokens.py`: next voxel, then its level, given all previous hits; and sampling of showers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tools.calorimeter.generators.base import Domain
from tools.calorimeter.generators.lora import AdaptedLinear
from tools.calorimeter.generators.transformer import Block, Cache

LOG_CENTRE, LOG_WIDTH = 10.0, 3.0  # of log E_inc in MeV: 22 GeV, and from GeV to TeV


class TokenNetwork(nn.Module):
    """Network over tokens. Voxels are places 0..V-1 in the tree's order; V is the end and, as an input, the start."""

    def __init__(self, voxels: int, levels: int, dim: int, heads: int, blocks: int, material: str) -> None:
        super().__init__()
        self.voxels, self.levels = voxels, levels
        self.voxel, self.level = nn.Embedding(voxels + 1, dim), nn.Embedding(levels + 1, dim)
        self.incident = nn.Sequential(nn.Linear(2, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.blocks = nn.ModuleList(Block(dim, heads, material) for _ in range(blocks))
        self.norm = nn.LayerNorm(dim)
        self.to_voxel, self.to_level = AdaptedLinear(dim, voxels + 1), AdaptedLinear(dim, levels)
        self.chosen = nn.Embedding(voxels + 1, dim)

    def log_prob(self, levels: Tensor, log_incident: Tensor, domain: Domain) -> Tensor:
        """Return the mean log density per token, in nats, of showers as levels (B, V), -1 for empty voxels."""
        filled = levels >= 0
        n = filled.sum(1)
        most = int(n.max())
        places = torch.argsort((~filled).byte(), dim=1, stable=True)[
            :, :most
        ]  # of hits, ascending, then of empty voxels
        hit = torch.arange(most + 1, device=n.device) < n[:, None]  # (B, most + 1), excluding the end
        level = levels.gather(1, places).long().clamp_min(0)
        start = torch.full_like(n, self.voxels)[:, None]
        before = torch.cat([start, torch.where(hit[:, :-1], places, self.voxels)], 1)
        level_before = torch.cat([torch.full_like(start, self.levels), level], 1)
        h = self._hidden(before, level_before, log_incident, domain, None)
        target = torch.cat([torch.where(hit[:, :-1], places, self.voxels), start], 1)
        # The row after the last hit predicts the end; later ones are padding.
        asked = torch.arange(most + 1, device=n.device) <= n[:, None]
        logits = self._voxel_logits(h[asked], self._last(before, level_before)[asked], domain)
        voxel_loss = nn.functional.cross_entropy(logits, target[asked], reduction="sum")
        level_logits = self._level_logits(h[hit], target[hit], domain)
        level_loss = nn.functional.cross_entropy(level_logits, level[hit[:, :-1]], reduction="sum")
        return -(voxel_loss + level_loss) / asked.sum()

    @torch.no_grad()
    def draw(self, log_incident: Tensor, domain: Domain, generator: torch.Generator) -> Tensor:
        """Draw new showers as levels (B, V), -1 for empty voxels."""
        b = len(log_incident)
        drawn = torch.full((b, self.voxels), -1, dtype=torch.int16, device=log_incident.device)
        rows = torch.arange(b, device=log_incident.device)
        voxel, level = torch.full_like(rows, self.voxels), torch.full_like(rows, self.levels)
        caches = [Cache() for _ in self.blocks]
        while len(rows):
            h = self._hidden(voxel[:, None], level[:, None], log_incident[rows], domain, caches)[:, 0]
            voxel = _sample(self._voxel_logits(h, self._last(voxel, level), domain), generator)
            level = _sample(self._level_logits(h, voxel, domain), generator)
            more = voxel < self.voxels
            for cache in caches:
                cache.keep(more)
            rows, voxel, level = rows[more], voxel[more], level[more]
            drawn[rows, voxel] = level.short()
        return drawn

    def _hidden(
        self, voxel: Tensor, level: Tensor, log_incident: Tensor, domain: Domain, caches: list[Cache] | None
    ) -> Tensor:
        """Return the transformer's output (B, T, dim) for tokens (B, T); with caches, T = 1 for the last token."""
        x = ((log_incident - LOG_CENTRE) / LOG_WIDTH)[:, None]
        h: Tensor = self.voxel(voxel) + self.level(level) + self.incident(torch.cat([x, x**2], 1))[:, None]
        for i, block in enumerate(self.blocks):
            h = block(h, domain, causal=caches is None, cache=caches[i] if caches else None)
        return self.norm(h)  # type: ignore[no-any-return]

    def _last(self, voxel: Tensor, level: Tensor) -> Tensor:
        """Return the place of the last hit, -1 at the start."""
        return torch.where(level == self.levels, -1, voxel)

    def _voxel_logits(self, h: Tensor, last: Tensor, domain: Domain) -> Tensor:
        """Return logits (M, V + 1) of the next voxel or the end; only voxels after `last` (M,) are possible."""
        logits = self.to_voxel(h, domain.particle)
        possible = torch.arange(self.voxels + 1, device=last.device) > last[:, None]
        return torch.where(possible, logits, -torch.inf)

    def _level_logits(self, h: Tensor, voxel: Tensor, domain: Domain) -> Tensor:
        """Return logits (M, levels), given the voxel (M,)."""
        logits: Tensor = self.to_level(nn.functional.silu(h + self.chosen(voxel)), domain.particle)
        return logits


def _sample(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Sample one index per row with the Gumbel trick, which uses the same random numbers whatever the logits are."""
    uniform = torch.rand(logits.shape, generator=generator, device=logits.device).clamp_(1e-20, 1 - 1e-7)
    return (logits - (-uniform.log()).log()).argmax(-1)
