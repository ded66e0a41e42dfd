"""Unfolding with `tools/unfolding` in its own process: `python -m benchmarks.omnifold_ours IN.npz OUT.npz`.

IN holds data, gen, reco (n, d), iterations and seed; OUT gets the push weights, wall and CPU seconds of the unfolding
and the peak memory of the process in MiB. The settings are the tool's own.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np
import torch  # noqa: F401  # imports do not count as unfolding, neither here nor for the peer

from tools.unfolding.iterate import OmniFold
from tools.unfolding.problem import Problem


def main() -> None:
    with np.load(sys.argv[1]) as given:
        wall, cpu = time.perf_counter(), time.process_time()
        problem = Problem.of(given["data"], given["gen"], given["reco"])
        push = OmniFold(iterations=int(given["iterations"])).unfold(problem, int(given["seed"])).push
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    np.savez(sys.argv[2], push=push, seconds=wall, cpu_seconds=cpu, mib=mib)


if __name__ == "__main__":
    main()
