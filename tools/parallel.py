"""Processes for pieces of work that do not need each other: one per core, with one thread each.

Small networks and few events gain nothing from threads. With one thread everywhere, sums are added in the same order in
every process, so a piece of work gives the same numbers alone and beside others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

HEAVY = ("torch", "zuko", "sklearn.ensemble", "scipy.stats")  # imported once, before processes are forked


def cores() -> int:
    """Return the number of cores to use: OMP_NUM_THREADS, which sandboxes set, or else all that are available."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, int(asked)) if asked.isdecimal() else len(os.sched_getaffinity(0))


def pool(workers: int, *modules: str) -> ProcessPoolExecutor:
    """Return an executor of processes with one thread each, forked from one that has imported HEAVY and `modules`.

    That process starts no threads, which would not survive a fork; it is started once for all executors.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload([*HEAVY, *modules])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_limit)


def _limit() -> None:
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: several would sum in another order, and small networks gain little from them."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
