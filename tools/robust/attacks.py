"""Inputs moved against a network: FGSM and PGD, in units of each input's spread.

An attack raises the loss L(x) as far as moves of at most epsilon allow, |z_i - x_i| <= epsilon r_i, where r, the reach,
is 0 for what must not move (padding, one-hot and whole-number columns). For a linear model z.w the worst case is known:
the loss is that of a margin smaller by epsilon sum_i r_i |w_i|, and both attacks reach it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tools.contract import Frozen
from tools.types import Floats

Reach = Callable[[Any], Any]  # inputs x -> non-negative tensor that broadcasts to x: how far epsilon = 1 moves each


class Fgsm(Frozen):
    """Inputs move once by epsilon along the sign of the gradient (Goodfellow et al., arXiv:1412.6572)."""

    kind: Literal["fgsm"] = "fgsm"
    epsilon: float = Field(0.015, gt=0, le=10, description="move of each input, in units of its spread")
    share: float = Field(
        0.8, gt=0, le=1, description="fraction of the events that are moved in the end; grows linearly from 0"
    )

    def move(self, x: Any, loss: Callable[[Any], Any], reach: Any) -> Any:
        """Return the moved inputs; `loss(z)` is a scalar."""
        bound = self.epsilon * reach
        return climb(x, x, loss, bound, bound, 1)


class Pgd(Frozen):
    """Inputs start at random within epsilon and climb in steps (Madry et al., arXiv:1706.06083)."""

    kind: Literal["pgd"] = "pgd"
    epsilon: float = Field(0.007, gt=0, le=10, description="largest move of an input, in units of its spread")
    step: float = Field(0.01, gt=0, le=10, description="length of a step, cut off at epsilon")
    steps: int = Field(5, ge=1, le=100)
    share: float = Field(
        0.8, gt=0, le=1, description="fraction of the events that are moved in the end; grows linearly from 0"
    )

    def move(self, x: Any, loss: Callable[[Any], Any], reach: Any) -> Any:
        """Return the moved inputs; `loss(z)` is a scalar."""
        import torch

        bound = self.epsilon * reach
        start = x + (2 * torch.rand_like(x) - 1) * bound
        return climb(start, x, loss, bound, self.step * reach, self.steps)


def climb(z: Any, x: Any, loss: Callable[[Any], Any], bound: Any, step: Any, steps: int) -> Any:
    """Return z after `steps` steps along the sign of the gradient, never farther than `bound` from x."""
    import torch

    for _ in range(steps):
        z = z.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(z), z)
        moved = x + (z + step * gradient.sign() - x).clamp(-bound, bound)
        z = torch.where((bound > 0).expand_as(x), moved, x)  # also where the gradient is not a number
    return z.detach()


def movable(x: Floats) -> NDArray[np.bool_]:
    """Return which columns of x (n, d) may move: those with values that are no whole numbers.

    Counts, charges, flags and one-hot columns have no values in between.

    >>> movable(np.array([[1.0, 0.5, 0.0], [3.0, 2.0, 1.0]]))
    array([False,  True, False])
    """
    return np.asarray((x != np.round(x)).any(axis=0))
