"""Density of the split of an energy between two halves, either of which may get nothing: three outcomes and a spline.

p(share) = p_left, p_right, or p_both p(z) with z = log((E_left - e) / (E_right - e)). A half that is not empty has at
least the read-out threshold e, so energies below it never occur and no noise is needed to fill the gap. p(z) is a
unit Gaussian behind an affine map and a rational-quadratic spline (Durkan et al., arXiv:1906.04032); a network gives
their parameters from what is known at the split.
"""

from __future__ import annotations

import math
from typing import Any

LEFT, RIGHT, BOTH = 0, 1, 2  # which half gets the energy
FLOOR = 1e-3  # fraction of the threshold: lower bound on the excess in logarithms
LOG_SCALE = 7.0  # bound on |log scale|


def n_parameters(bins: int) -> int:
    """Return the number of parameters of the density of one split."""
    return 3 + 2 + 3 * bins - 1


class ShareDensity:
    """Densities of M splits, from parameters (M, n_parameters) and `mean` and `std` of z, (M,) each."""

    def __init__(self, parameters: Any, mean: Any, std: Any) -> None:
        import torch
        from zuko.transforms import MonotonicRQSTransform

        bins = (parameters.shape[1] - 4) // 3
        self.logits, affine, spline = torch.split(parameters, [3, 2, 3 * bins - 1], dim=1)
        self.shift = affine[:, 0] * std + mean
        self.log_scale = LOG_SCALE * torch.tanh(affine[:, 1] / LOG_SCALE) + std.log()
        self.spline = MonotonicRQSTransform(*torch.split(spline, [bins, bins, bins - 1], dim=1))

    def log_prob(self, outcome: Any, z: Any) -> Any:
        """Return log p(outcome), plus log p(z) if the outcome is BOTH (otherwise z is ignored), in nats (M,)."""
        import torch

        result = torch.log_softmax(self.logits, 1).gather(1, outcome[:, None])[:, 0]
        normal, ladj = self.spline.call_and_ladj((z - self.shift) * torch.exp(-self.log_scale))
        density = -0.5 * normal.square() - 0.5 * math.log(2 * math.pi) + ladj - self.log_scale
        return result + torch.where(outcome == BOTH, density, 0.0)

    def sample(self, may_share: Any, generator: Any) -> tuple[Any, Any]:
        """Draw (outcome, z), (M,) each; BOTH only where `may_share`."""
        import torch

        logits = self.logits.clone()
        logits[~may_share, BOTH] = -torch.inf
        uniform = torch.rand(logits.shape, generator=generator, device=logits.device).clamp_(1e-20, 1 - 1e-7)
        outcome = (logits - (-uniform.log()).log()).argmax(1)  # Gumbel
        normal = torch.randn(len(logits), generator=generator, device=logits.device)
        return outcome, self.spline.inv(normal) * torch.exp(self.log_scale) + self.shift


def to_z(left: Any, right: Any, least: tuple[Any, Any], threshold: float) -> Any:
    """Return z, float64, of two energies [MeV] of at least `least`: the threshold, or 0 for energy that is not seen."""
    floor = FLOOR * threshold
    return ((left - least[0]).clamp_min(floor) / (right - least[1]).clamp_min(floor)).log()


def to_energies(energy: Any, z: Any, least: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return the two energies that share `energy` [MeV], the inverse of `to_z`."""
    free = (energy - least[0] - least[1]).clamp_min(0)
    return least[0] + free * z.sigmoid(), least[1] + free * (-z).sigmoid()


def network(features: int, nodes: int, hidden: int, depth: int, bins: int) -> Any:
    """Return a module (x (M, features), node (M,)) -> parameters (M, n_parameters): a perceptron with shifts by node.

    h_0 = silu(g_node * (A x) + b_node), h_k = silu(h_{k-1} + W h_{k-1} + b_k,node), out = V h + c_node. Before training
    out = 0, a standard Gaussian.
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
