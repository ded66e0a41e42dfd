"""CWoLa's background template: the data next to the window, unchanged.

Classification without labels (Metodiev, Nachman, Thaler, arXiv:1708.02949; hunting, arXiv:1902.02634).
It is unbiased only if the features do not depend on mjj, but quick enough for a first look at many windows.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tools.anomaly.data import Sidebands
from tools.contract import Frozen, ToolError
from tools.events.weights import countable
from tools.training import Losses, Progress
from tools.types import Floats

Rows = NDArray[np.int64]
DRAWN = 1  # seed


class Sideband(Frozen):
    """CWoLa: the events just below and above the window, unchanged. Biased if features change with mjj."""

    kind: Literal["sideband"] = "sideband"
    width: float = Field(1.0, gt=0, description="width of each of the two neighbouring bands, in widths of the window")

    def fit(self, sidebands: Sidebands, seed: int, progress: Progress | None = None) -> SidebandTemplate:
        return SidebandTemplate(sidebands.features[neighbours(sidebands, self.width)])


class SidebandTemplate:
    """Samples the neighbouring events, whatever mjj is requested."""

    device = "cpu"

    def __init__(self, features: Floats) -> None:
        self.features = features
        self.losses: Losses = []

    def sample(self, mjj: Floats, seed: int) -> Floats:
        """Return one event per entry of `mjj`; none is used twice before all have been used."""
        rows = cycle(len(self.features), len(mjj), np.random.default_rng(seed))
        return np.asarray(self.features[rows])


def neighbours(sidebands: Sidebands, width: float) -> Rows:
    """Return the rows of the events within `width` of the window, in its widths; of weighted events as many rows are
    drawn as tell as much. ToolError if one side has none."""
    low, high = sidebands.window
    mjj, reach = sidebands.mjj, width * (high - low)
    below, above = (mjj < low) & (mjj >= low - reach), (mjj >= high) & (mjj < high + reach)
    if not below.any() or not above.any():
        raise ToolError("width", width, f"wide enough for events on both sides of the window {sidebands.window}")
    return countable(np.flatnonzero(below | above), sidebands.weight, DRAWN)


def cycle(n: int, wanted: int, rng: np.random.Generator) -> Rows:
    """Return `wanted` row numbers below `n` in random order, equally often up to the incomplete last round."""
    return np.concatenate([rng.permutation(n) for _ in range(-(-wanted // n))])[:wanted]
