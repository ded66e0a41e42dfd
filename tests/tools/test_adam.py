"""The optimiser takes the steps that torch's own takes."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest

from tools.adam import OneCycle, one_cycle

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("steps", [1, 3, 7, 40])
def test_the_steps_are_those_of_torch(steps: int) -> None:
    torch.manual_seed(1)
    ours = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()
    theirs = copy.deepcopy(ours)
    x, y = torch.randn(64, 3).double(), 10 * torch.randn(64, 1).double()  # large gradients, which are clipped
    adam = torch.optim.Adam(theirs.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, 0.02, total_steps=steps)
    cycle = OneCycle(ours, 0.02, steps)
    for step in range(steps):
        assert one_cycle(step, steps)[0] * 0.02 == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
        cycle.step((ours(x) - y).square().mean())
        adam.zero_grad()
        (theirs(x) - y).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        adam.step()
        schedule.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(mine, other, rtol=1e-9, atol=1e-12)


def test_training_does_not_load_the_compiler() -> None:
    code = (
        "import sys, torch; from tools.adam import OneCycle; model = torch.nn.Linear(2, 1)\n"
        "OneCycle(model, 0.1, 3).step(model(torch.ones(4, 2)).sum()); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
