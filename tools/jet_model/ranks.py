"""Training of one network in several processes with torch.distributed, as in the package.

    torchrun --nproc-per-node 4 -m tools.call jet_model.pretrain request.json

Each process takes an equal share of the jets and batches of its own; gradients are averaged once per step, after those
of the batch's parts have been added up. Process 0 writes. Without torchrun, none of this has any effect.
"""

from __future__ import annotations

import os
from typing import Any


def start() -> None:
    """Join the other processes, if torchrun started any."""
    if size() == 1:
        return
    import torch

    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def rank() -> int:
    """Return the rank of this process; 0 is the first."""
    return int(os.environ.get("RANK", 0)) if size() > 1 else 0


def size() -> int:
    """Return the number of processes."""
    return int(os.environ.get("WORLD_SIZE", 1))


def device() -> str:
    """Return this process's own CUDA device, or the CPU."""
    import torch

    return f"cuda:{int(os.environ.get('LOCAL_RANK', 0))}" if torch.cuda.is_available() else "cpu"


def share(rows: Any) -> Any:
    """Return this process's rows: all have the same number, or they would wait for each other forever."""
    return rows[rank() :: size()][: len(rows) // size()]


def average_gradients(module: Any) -> None:
    """Replace the gradients by their mean over the processes."""
    if size() == 1:
        return
    import torch

    for parameter in module.parameters():
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= size()
