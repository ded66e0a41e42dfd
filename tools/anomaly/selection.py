"""Selection of the best epoch or boosting round of a weakly supervised classifier, on held-out data without labels.

The usual criterion is the validation loss. ARGOS (arXiv:2511.14832) looks at tight cuts, where the signal is, and
follows the true significance improvement better, but is noisier with few events.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tools.metrics import argos, auc
from tools.types import Floats

Criterion = Literal["loss", "argos", "auc"]
ARGOS_MIN_TEMPLATE = 25  # with fewer template events kept, the metric is mostly chance


def merit(criterion: Criterion, log_odds: Floats, is_data: NDArray[np.bool_]) -> float:
    """Return minus the cross-entropy of balanced classes, or ARGOS or AUC of data against template (larger: better)."""
    data, template = log_odds[is_data], log_odds[~is_data]
    if criterion == "argos":
        return argos(data, template, ARGOS_MIN_TEMPLATE)
    if criterion == "auc":
        return auc(data, template)
    return -0.5 * float(np.logaddexp(0, -data).mean() + np.logaddexp(0, template).mean())
