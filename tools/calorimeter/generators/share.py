"""The density of how two halves share an energy; either may get nothing: three outcomes, and a spline.

p(share) = p_left, p_right, or p_both p(z) with z = log((E_left - e) / (E_right - e)): a half that is not empty holds at
least the read-out threshold e, so no energy below it is ever made and no noise is needed to fill the gap. p(z) is a
unit Gaussian behind an affine map and a rational-quadratic spline (Durkan et al., arXiv:1906.04032); a network gives
their parameters from what is known when the energy is shared.
"""

from __future__ import annotations

import math
from typing import Any

LEFT, RIGHT, BOTH = 0, 1, 2  # who gets the energy
FLOOR = 1e-3  # of the threshold: logarithms are taken of excesses at least as large
LOG_SCALE = 7.0  # bound of |log scale|


def n_parameters(bins: int) -> int:
    """Numbers that fix the density of one share."""
    return 3 + 2 + 3 * bins - 1


class ShareDensity:
    """Densities of M shares by parameters (M, n_parameters), in coordinates with `mean` and `std` of z, (M,) each."""

    def __init__(self, parameters: Any, mean: Any, std: Any) -> None:
        import torch
        from zuko.transforms import MonotonicRQSTransform

        bins = (parameters.shape[1] - 4) // 3
        self.logits, affine, spline = torch.split(parameters, [3, 2, 3 * bins - 1], dim=1)
        self.shift = affine[:, 0] * std + mean
        self.log_scale = LOG_SCALE * torch.tanh(affine[:, 1] / LOG_SCALE) + std.log()
        self.spline = MonotonicRQSTransform(*torch.split(spline, [bins, bins, bins - 1], dim=1))

    def log_prob(self, outcome: Any, z: Any) -> Any:
        """(M,) nats: log p(outcome), plus log p(z) where the outcome is BOTH (elsewhere z is not looked at)."""
        import torch

        result = torch.log_softmax(self.logits, 1).gather(1, outcome[:, None])[:, 0]
        normal, ladj = self.spline.call_and_ladj((z - self.shift) * torch.exp(-self.log_scale))
        density = -0.5 * normal.square() - 0.5 * math.log(2 * math.pi) + ladj - self.log_scale
        return result + torch.where(outcome == BOTH, density, 0.0)

    def sample(self, may_share: Any, generator: Any) -> tuple[Any, Any]:
        """(outcome, z), (M,) each; BOTH only where `may_share`."""
        import torch

        logits = self.logits.clone()
        logits[~may_share, BOTH] = -torch.inf
        uniform = torch.rand(logits.shape, generator=generator, device=logits.device).clamp_(1e-20, 1 - 1e-7)
        outcome = (logits - (-uniform.log()).log()).argmax(1)  # Gumbel
        normal = torch.randn(len(logits), generator=generator, device=logits.device)
        return outcome, self.spline.inv(normal) * torch.exp(self.log_scale) + self.shift


def to_z(left: Any, right: Any, least: tuple[Any, Any], threshold: float) -> Any:
    """z of two energies [MeV], not below `least`: the threshold, or 0 for what is not seen. Float64."""
    floor = FLOOR * threshold
    return ((left - least[0]).clamp_min(floor) / (right - least[1]).clamp_min(floor)).log()


def to_energies(energy: Any, z: Any, least: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return the two energies that share `energy` [MeV], the inverse of `to_z`."""
    free = (energy - least[0] - least[1]).clamp_min(0)
    return least[0] + free * z.sigmoid(), least[1] + free * (-z).sigmoid()


def network(features: int, nodes: int, hidden: int, depth: int, bins: int) -> Any:
    """A module (x (M, features), node (M,)) -> parameters (M, n_parameters): a perceptron that every node shifts.

    h_0 = silu(g_node * (A x) + b_node), h_k = silu(h_{k-1} + W h_{k-1} + b_k,node), out = V h + c_node; out = 0, a
    standard Gaussian, before training.
    """
    import torch
    from torch import nn

    class ShareNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter = nn.Linear(features, hidden)
            self.gate = nn.Embedding(nodes, hidden)
            self.inner = nn.ModuleList(nn.Linear(hidden, hidden, bias=False) for _ in range(depth))
            self.shift = nn.ModuleList(nn.Embedding(nodes, hidden) for _ in range(depth + 1))
            self.leave = nn.Linear(hidden, n_parameters(bins), bias=False)
            self.offset = nn.Embedding(nodes, n_parameters(bins))
            nn.init.ones_(self.gate.weight)
            for name, weight in self.named_parameters():
                if name.startswith("shift"):
                    nn.init.normal_(weight, std=0.3)
            nn.init.zeros_(self.leave.weight)
            nn.init.zeros_(self.offset.weight)

        def forward(self, x: Any, node: Any) -> Any:
            h = nn.functional.silu(self.gate(node) * self.enter(x) + self.shift[0](node))
            for inner, shift in zip(self.inner, self.shift[1:], strict=True):
                h = nn.functional.silu(h + inner(h) + shift(node))
            return self.leave(h) + self.offset(node)

    module: torch.nn.Module = ShareNetwork()
    return module
