"""A potential g(z|c) that is convex in z, whatever the context c: a partially input-convex network (arXiv:1609.07152).

    h1 = softplus(A1(c) z + b1(c)),    h2 = softplus(W (s(c) h1) + A2(c) z + b2(c)),
    g = w(c) h2 + q(c) |z|^2 / 2 + r(c) z

W, s, w and q are positive; A, b, s, w, q, r are networks of c. Gradient (the map) and Hessian are in closed form.
"""

from __future__ import annotations

from typing import Any

CONTEXT = 24  # units of the networks of the context
SHARP = 3.0  # how quickly the first functions of the context change, at the start: a peak is narrower than its range
STEPS = 12  # Newton steps at most
CLOSE = 1e-3  # of the solution, in units of z
FARTHEST = 2.0  # one step

Parts = dict[str, Any]


def potential(dimensions: int, context: int, hidden: int) -> Any:
    """Return the untrained potential of z (n, d), c (n, p): nearly |z|^2 / 2, whose gradient changes nothing."""
    import torch
    from torch import nn
    from torch.nn.functional import softplus

    sizes = {"a1": hidden * dimensions, "b1": hidden, "s": hidden}
    sizes |= {"a2": hidden * dimensions, "b2": hidden, "w": hidden, "q": 1, "r": dimensions}

    class Potential(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            first = nn.Linear(context, CONTEXT)
            self.body = nn.Sequential(first, nn.Tanh(), nn.Linear(CONTEXT, CONTEXT), nn.Tanh())
            self.heads = nn.Linear(CONTEXT, sum(sizes.values()))
            self.between = nn.Parameter(torch.full((hidden, hidden), -4.0) + 0.1 * torch.randn(hidden, hidden))
            start = {"a1": 1.5, "b1": 1.5, "a2": 0.7, "b2": 1.5}
            with torch.no_grad():
                first.weight.mul_(SHARP)
                first.bias.mul_(SHARP)
                self.heads.weight.mul_(0.3)
                at = [torch.randn(size) * start.get(name, 0.0) for name, size in sizes.items()]
                for name, part in zip(sizes, at, strict=True):
                    part += {"s": 0.5, "w": -3.0, "q": 0.3}.get(name, 0.0)
                self.heads.bias.copy_(torch.cat(at))

        def at(self, c: Any) -> Parts:
            """Return the parameters of the potential at c (n, p): each (n, ...)."""
            parts = dict(zip(sizes, torch.split(self.heads(self.body(c)), list(sizes.values()), dim=1), strict=True))
            shape = (len(c), dimensions, hidden)
            found = parts | {name: parts[name].reshape(shape) for name in ("a1", "a2")}
            found |= {name: softplus(parts[name]) for name in ("s", "w", "q")}
            return found

        def _layers(self, z: Any, at: Parts) -> tuple[Any, Any]:
            first = (at["a1"] * z[:, :, None]).sum(dim=1) + at["b1"]
            between = (at["s"] * softplus(first)) @ softplus(self.between)
            return first, between + (at["a2"] * z[:, :, None]).sum(dim=1) + at["b2"]

        def value(self, z: Any, at: Parts) -> Any:
            """Return g (n,)."""
            _, second = self._layers(z, at)
            return (at["w"] * softplus(second)).sum(dim=1) + (at["q"] * z * z / 2 + at["r"] * z).sum(dim=1)

        def gradient(self, z: Any, at: Parts) -> Any:
            """Return grad g (n, d)."""
            return self.derivatives(z, at, False)[0]

        def derivatives(self, z: Any, at: Parts, second_order: bool = True) -> tuple[Any, Any]:
            """Return gradient (n, d) and Hessian (n, d, d)."""
            first, second = self._layers(z, at)
            one, two, weights = torch.sigmoid(first), torch.sigmoid(second), softplus(self.between)
            slope = (at["a1"] * (one * at["s"])[:, None]) @ weights + at["a2"]
            gradient = ((at["w"] * two)[:, None] * slope).sum(dim=2) + at["q"] * z + at["r"]
            if not second_order:
                return gradient, None
            bend = at["w"] * two * (1 - two)
            inner = ((at["w"] * two) @ weights.T) * at["s"] * one * (1 - one)
            rows = [
                (bend[:, None] * slope[:, [i]] * slope + inner[:, None] * at["a1"][:, [i]] * at["a1"]).sum(dim=2)
                for i in range(dimensions)
            ]
            return gradient, torch.stack(rows, dim=1) + at["q"][:, :, None] * torch.eye(dimensions)

    return Potential()


def conjugate_point(model: Any, y: Any, at: Parts) -> Any:
    """Return the z (n, d) that maximises y z - g(z|c), where grad g = y, by Newton steps that are halved as needed."""
    import torch

    def height(z: Any) -> Any:
        return (y * z).sum(dim=1) - model.value(z, at)

    z, reached = y, height(y)
    step = torch.ones(len(y), 1)
    for _ in range(STEPS):
        gradient, hessian = model.derivatives(z, at)
        move = (y - gradient) / hessian[:, 0] if y.shape[1] == 1 else torch.linalg.solve(hessian, y - gradient)
        if float(move.abs().mean()) < CLOSE:
            break
        move = move * (FARTHEST / move.norm(dim=1, keepdim=True).clamp(min=FARTHEST))
        tried = z + step * move
        there = height(tried)
        better = (there >= reached)[:, None]
        z, reached = torch.where(better, tried, z), torch.maximum(there, reached)
        step = torch.where(better, torch.clamp(2 * step, max=1.0), step / 2)
    return z
