"""Interface of the classifiers that tell data from a background template."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tools.types import Floats

Mask = NDArray[np.bool_]
Events = NDArray[Any]  # features (n, d), or row numbers (n, 1) of events that the classifier stores


class Classifier(Protocol):
    """Classifier settings: train on x (n, d), y (data or template) and score other events.

    `weight` (n,), if given, has a mean of one in each class.
    """

    def log_odds(self, x: Events, y: Mask, to_score: Events, seed: int, weight: Floats | None = None) -> Floats: ...
