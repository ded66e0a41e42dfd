"""Global p-values from pseudo-experiments of a whole search, and beyond their reach from a formula for its tail."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tools.types import Floats

ENOUGH = 10  # toys above the observation from which on their fraction is the p-value
CALIBRATION = 20  # toys in the tail that the formula must describe


def tail(toys: Floats, z: float, formula: Callable[[float], float], lowest: float) -> float:
    """Return the p-value of a significance `z` that fewer than ENOUGH toys reach.

    `toys` (n,) are the largest significances of toys of the search, `formula` gives the p-value of a large one. It is
    scaled up if at the CALIBRATION-th largest toy, but not below `lowest`, it falls short of the toys' frequency.
    """
    reached = max(float(np.sort(toys)[-min(CALIBRATION, len(toys))]), lowest)
    longer = max(1.0, float((toys >= reached).mean()) / formula(reached))
    return min(longer * formula(z), (1 + ENOUGH) / (1 + len(toys)))
