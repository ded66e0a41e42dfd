"""Choose the best epoch, or boosting round, of a weakly supervised classifier on held-out data without labels.

The validation loss is what is usual; ARGOS (arXiv:2511.14832) looks where the signal is, at tight cuts, and follows the
true significance improvement better, but is noisier on few events.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tools.metrics import argos, auc
from tools.types import Floats

Criterion = Literal["loss", "argos", "auc"]
ARGOS_MIN_TEMPLATE = 25  # fewer kept template events make the metric a draw of luck


def merit(criterion: Criterion, log_odds: Floats, is_data: NDArray[np.bool_]) -> float:
    """Larger is better: minus the cross-entropy of balanced classes, or ARGOS or AUC of data against template."""
    data, template = log_odds[is_data], log_odds[~is_data]
    if criterion == "argos":
        return argos(data, template, ARGOS_MIN_TEMPLATE)
    if criterion == "auc":
        return auc(data, template)
    return -0.5 * float(np.logaddexp(0, -data).mean() + np.logaddexp(0, template).mean())
