"""Adam (Kingma and Ba, arXiv:1412.6980) on all parameters as one vector, with the one-cycle rate and momentum of Smith
and Topin (arXiv:1708.07120).

The numbers are those of torch.optim.Adam with OneCycleLR, which import torch's compiler on first use: two to three
seconds in every process, as long as a quick training takes.
"""

from __future__ import annotations

import math
from typing import Any

RISE = 0.3  # share of the steps in which the rate rises
START, END = 25.0, 25e4  # the largest rate over the first and the last
MOMENTUM = 0.95, 0.85  # at the smallest and at the largest rate
SECOND = 0.999  # decay of the second moment
SMALL = 1e-8
LONGEST = 1.0  # norm to which gradients are clipped


class OneCycle:
    """Takes `steps` steps with a learning rate of at most `rate`.

    Until `release`, the parameters of the model, and their gradients, are views of one vector each.
    """

    def __init__(self, model: Any, rate: float, steps: int) -> None:
        import torch

        self.parameters = list(model.parameters())
        self.values = torch.cat([p.detach().flatten() for p in self.parameters])
        self.gradient, self.first, self.second = (torch.zeros_like(self.values) for _ in range(3))
        sizes = [p.numel() for p in self.parameters]
        views = zip(self.parameters, self.values.split(sizes), self.gradient.split(sizes), strict=True)
        for parameter, value, gradient in views:
            parameter.data, parameter.grad = value.view_as(parameter), gradient.view_as(parameter)
        self.rate, self.steps, self.done = rate, steps, 0

    def release(self) -> None:
        """Give the parameters memory of their own again, and drop their gradients."""
        for parameter in self.parameters:
            parameter.data, parameter.grad = parameter.detach().clone(), None

    def step(self, loss: Any) -> None:
        """Move against the gradient of a loss."""
        import torch

        self.gradient.zero_()
        loss.backward()
        rate, momentum = one_cycle(self.done, self.steps)
        self.done += 1
        with torch.no_grad():
            self.gradient *= (LONGEST / (self.gradient.norm() + 1e-6)).clamp(max=1.0)
            self.first.lerp_(self.gradient, 1 - momentum)
            self.second.lerp_(self.gradient.square(), 1 - SECOND)
            spread = (self.second / (1 - SECOND**self.done)).sqrt_().add_(SMALL)
            self.values.addcdiv_(self.first, spread, value=-self.rate * rate / (1 - momentum**self.done))


def one_cycle(step: int, steps: int) -> tuple[float, float]:
    """Return (rate over its maximum, momentum) of a step, counted from 0: half cosines up and down."""
    top = RISE * steps - 1
    if step <= top:
        along, rates, momenta = step / top, (1 / START, 1.0), MOMENTUM
    else:
        along, rates, momenta = (step - top) / (steps - 1 - top), (1.0, 1 / END), MOMENTUM[::-1]
    share = (1 - math.cos(math.pi * along)) / 2
    return rates[0] + share * (rates[1] - rates[0]), momenta[0] + share * (momenta[1] - momenta[0])
