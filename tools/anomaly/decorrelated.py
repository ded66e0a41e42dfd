"""Scores of a search made independent of the mass, from sideband events only.

The map is learned outside the window and carried into it, as a template is, so signal in the window can neither hide
itself nor be made by it. Sideband events are dealt into two halves, and each half is mapped by what the other taught;
so are the events of the window, the template and its control, half by one map and half by the other. What the map
cannot know is a dependence that exists only inside the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from tools.anomaly.data import Windowed
from tools.contract import ToolError
from tools.events.weights import countable
from tools.types import Floats

Choice = Literal["none", "cnots", "flow"]
Scored = tuple[Floats, Floats]  # scores (n,) and masses (n,)


def decorrelated(
    choice: Choice, data: Windowed, score: Floats, others: Sequence[Scored], seed: int
) -> tuple[Floats, list[Floats]]:
    """Return the scores (n,) of the events, and those of other events, made independent of the mass.

    Raises ToolError for fewer than 2500 events outside the window.
    """
    # Imported here, because flows are imported from this package.
    from tools.decorrelation.cnots import Cnots
    from tools.decorrelation.coordinates import LEAST, untied
    from tools.decorrelation.flow import Flow

    method = Cnots() if choice == "cnots" else Flow()
    beside = ~data.inside & data.once
    if beside.sum() < (needed := 5 * LEAST // 2):
        allowed = f"none: of {int(beside.sum())} events outside the window it cannot be learned, only of {needed}"
        raise ToolError("decorrelate", choice, allowed)
    mass = np.concatenate([data.mjj, *(masses for _, masses in others)])
    all_scores = untied(np.concatenate([score, *(scores for scores, _ in others)])[:, None], seed)
    half = np.random.default_rng([seed, 23]).permutation(len(mass)) % 2
    if data.original is not None:
        half[: len(data.mjj)] = half[data.original]
    learned_from = np.append(beside, np.zeros(len(mass) - len(beside), dtype=bool))
    moved = np.empty(len(mass))
    for k in (0, 1):
        here = half == k
        rows = countable(np.flatnonzero(learned_from & ~here), data.weight, seed)
        learned = method.fit(all_scores[rows], mass[rows, None], seed)
        moved[here] = learned(all_scores[here], mass[here, None])[:, 0]
    ends = np.cumsum([len(score), *(len(scores) for scores, _ in others)])[:-1]
    mine, *rest = np.split(moved, ends)
    return mine, rest
