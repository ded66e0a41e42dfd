"""How sharp a minimum is, in weights and in inputs: the rise of the loss under ascent, and the largest curvature.

Curvatures are eigenvalues of the Hessian, by power iteration v <- H v / |H v| on Hessian-vector products (Pearlmutter,
Neural Comput. 6 (1994) 147): known for a quadratic loss w.A.w/2, the largest of A, and for a logistic model z = x.w,
p(1 - p) |w|^2 in the inputs of an event and the largest of mean p(1 - p) x x^T in the weights. Ascents take steps of
fixed relative length, so that the scale of weights does not count: a network of ReLUs whose layers are multiplied by c
and 1/c is the same function, and as sharp (Dinh et al., arXiv:1703.04933); eigenvalues in weights lack that property.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

ITERATIONS, TOLERANCE = 500, 1e-6


def weight_ascent(module: Any, loss: Callable[[], Any], steps: int = 50, size: float = 0.01) -> float:
    """Return how much the loss rises when each tensor of weights w climbs by `size` |w| a step along its gradient.

    The module is unchanged in the end. The loss is a scalar of the module's present weights.
    """
    import torch

    weights = [p for p in module.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in weights]
    first = float(loss().detach())
    for _ in range(steps):
        gradients = torch.autograd.grad(loss(), weights)
        with torch.no_grad():
            for p, gradient in zip(weights, gradients, strict=True):
                p.add_(size * p.norm() * gradient / gradient.norm().clamp_min(1e-30))
    with torch.no_grad():
        rise = float(loss().detach()) - first
        for p, old in zip(weights, before, strict=True):
            p.copy_(old)
    return rise


def input_ascent(x: Any, loss: Callable[[Any], Any], reach: Any, steps: int = 50, size: float = 0.001) -> float:
    """Return how much the mean loss of the events rises when each climbs by `size` a step, in units of `reach`.

    loss(x) has one entry per event (n,). Inputs with reach 0 stay.
    """
    import torch

    z = x.detach()
    first = float(loss(z).mean().detach())
    for _ in range(steps):
        z = z.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(z).sum(), z)
        direction = gradient * reach  # the gradient in units of reach
        length = direction.flatten(1).norm(dim=1).clamp_min(1e-30)
        z = z + size * reach * direction / length.view(-1, *[1] * (x.dim() - 1))
    with torch.no_grad():
        return float(loss(z).mean()) - first


def weight_curvature(
    loss: Callable[[], Any], weights: Sequence[Any], iterations: int = ITERATIONS, seed: int = 0
) -> float:
    """Return the largest eigenvalue of the Hessian of a scalar loss in the weights, all tensors together."""
    import torch

    gradients = torch.autograd.grad(loss(), weights, create_graph=True)
    gradient = torch.cat([g.flatten() for g in gradients])

    def product(v: Any) -> Any:
        found = torch.autograd.grad(gradient @ v[0], weights, retain_graph=True, allow_unused=True)
        parts = [torch.zeros_like(w) if h is None else h for w, h in zip(weights, found, strict=True)]
        return torch.cat([part.flatten() for part in parts])[None]

    return float(_largest(product, _start(gradient[None], seed), iterations))


def input_curvature(x: Any, loss: Callable[[Any], Any], iterations: int = ITERATIONS, seed: int = 0) -> Any:
    """Return for each event (n,) the largest eigenvalue of the Hessian of its loss in its inputs.

    loss(x) has one entry per event (n,), which depends on that event only.
    """
    import torch

    z = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(z).sum(), z, create_graph=True)

    def product(v: Any) -> Any:
        (found,) = torch.autograd.grad((gradient.flatten(1) * v).sum(), z, retain_graph=True)
        return found.flatten(1)

    return _largest(product, _start(gradient.flatten(1), seed), iterations)


def _largest(product: Callable[[Any], Any], start: Any, iterations: int) -> Any:
    """Return the largest eigenvalues (n,) of n symmetric matrices, given by their products with vectors (n, d).

    The iteration finds the eigenvalue of largest size; where that is negative, the largest of all is found after a
    shift by it.
    """
    import torch

    size = _dominant(product, start, iterations)
    if bool((size >= 0).all()):
        return size
    shift = size.clamp_max(0)[:, None]
    shifted = _dominant(lambda v: product(v) - shift * v, start, iterations) + shift[:, 0]
    return torch.where(size >= 0, size, shifted)


def _dominant(product: Callable[[Any], Any], v: Any, iterations: int) -> Any:
    import torch

    value = torch.full_like(v[:, 0], torch.inf)
    for _ in range(iterations):
        w = product(v)
        before, value = value, (v * w).sum(dim=1)
        v = w / w.norm(dim=1, keepdim=True).clamp_min(1e-30)
        if bool(((value - before).abs() <= TOLERANCE * value.abs()).all()):
            break
    return value.detach()


def _start(like: Any, seed: int) -> Any:
    """Return random unit vectors of this shape (n, d)."""
    import torch

    v = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed)).to(like)
    return v / v.norm(dim=1, keepdim=True)
