"""Sparse sharpness-aware minimisation (Mi et al., arXiv:2210.05177): SAM that moves only the weights of a mask.

fisher    the weights with the largest mean squared gradient over the last steps: near the minimum, where mean gradients
          vanish, that of batches is proportional to the diagonal of the Fisher information, and only its order counts
dynamic   every EVERY steps the mask drops the weights with the smallest gradients and takes in as many others at
          random, ever fewer: DROP (1 + cos(pi t)) / 2 of the mask at the fraction t of the training

What the mask needs lies in the first parameter group, and so in the optimiser's saved state. Importing this file needs
torch and pytorch_optimizer.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pytorch_optimizer import SAM

MEMORY = 0.99  # of the mean squared gradient, per step
EVERY, DROP = 50, 0.5


class SparseSAM(SAM):
    """SAM around an optimiser of the class `make` that leaves the fraction `sparsity` of all weights where they are."""

    def __init__(self, groups: Any, make: Any, sparsity: float, mask: str, total: int, **options: Any) -> None:
        super().__init__(groups, make, **options)
        self.sparsity, self.kind, self.total = sparsity, mask, total

    @torch.no_grad()
    def first_step(self, zero_grad: bool = False) -> None:
        """Move the weights of the mask; the others stay."""
        there = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        mask = self._mask(torch.cat([p.grad.flatten() for p in there]))
        super().first_step()
        for p, moves in zip(there, mask.split([p.numel() for p in there]), strict=True):
            p.copy_(torch.where(moves.view_as(p), p, self.state[p]["old_p"]))
        if zero_grad:
            self.zero_grad()

    def _mask(self, gradient: Any) -> Any:
        """Return which of all weights move, from the gradients of all."""
        kept, there = self.param_groups[0], max(1, round((1 - self.sparsity) * len(gradient)))
        taken = kept["taken"] = kept.get("taken", -1) + 1
        if self.kind == "fisher":
            squared = gradient.square()
            kept["fisher"] = squared if taken == 0 else torch.lerp(squared, kept["fisher"], MEMORY)
            return _marked(torch.topk(kept["fisher"], there).indices, gradient)
        if taken == 0:
            kept["mask"] = _marked(torch.randperm(len(gradient), device=gradient.device)[:there], gradient)
        elif taken % EVERY == 0:
            kept["mask"] = self._renewed(kept["mask"], gradient, taken)
        return kept["mask"]

    def _renewed(self, mask: Any, gradient: Any, taken: int) -> Any:
        n = round(DROP * (1 + math.cos(math.pi * min(taken / self.total, 1.0))) / 2 * int(mask.sum()))
        flattest = torch.topk(gradient.abs().masked_fill(~mask, math.inf), n, largest=False).indices
        left = mask & ~_marked(flattest, gradient)
        outside = torch.nonzero(~left)[:, 0]
        return left | _marked(outside[torch.randperm(len(outside), device=outside.device)[:n]], gradient)


def _marked(rows: Any, like: Any) -> Any:
    mask = torch.zeros(len(like), dtype=torch.bool, device=like.device)
    mask[rows] = True
    return mask
