"""Time per shower, at several batch sizes."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from tools.calorimeter.showers import Showers
from tools.types import Floats

BATCHES = (1, 100, 10_000)
REPEATS = 5


def milliseconds(
    generate: Callable[[Floats, int], Showers],
    incident: Floats,
    seed: int = 1,
    batches: tuple[int, ...] = BATCHES,
    budget_s: float = 20.0,
) -> dict[int, float]:
    """Return the median wall time per shower [ms] by batch size, for energies drawn from `incident` [MeV].

    A warm-up comes first. Each batch size is repeated up to REPEATS times, and left out if one run is expected to take
    more than `budget_s`. If the estimate from smaller batches exceeds that by less than 10 times, a tenth of the batch
    gives a better one, because large batches can be much quicker per shower.
    """
    rng = np.random.default_rng([seed, 13])
    generate(rng.choice(incident, batches[0]), seed)

    def seconds(n: int, again: int = 0) -> float:
        start = time.perf_counter()
        generate(energies[:n], seed + again)
        return time.perf_counter() - start

    found: dict[int, float] = {}
    for batch in batches:
        energies = rng.choice(incident, batch)
        expected = found[max(found)] * batch / 1000 if found else 0.0
        if budget_s < expected < 10 * budget_s:
            expected = 10 * seconds(batch // 10)
        if expected > budget_s:
            continue
        spent: list[float] = []
        while len(spent) < REPEATS and (not spent or sum(spent) + spent[-1] < budget_s):
            spent.append(seconds(batch, len(spent)))
        found[batch] = 1000 * float(np.median(spent)) / batch
    return found
