"""CLs limits on a signal from curves of -2 log L, with asymptotic probabilities.

For a signal S, q(S) = -2 log L(S) / L(max(S_hat, 0)) for S_hat <= S, 0 otherwise, and the limit is the S with
CLs = P(q >= q_obs | S) / P(q >= q_obs | 0) = 1 - level (Read, J. Phys. G 28 (2002) 2693; Cowan et al.,
arXiv:1007.1727, eqs. 62 to 66, with q_A from the Asimov data set, the background fitted without signal). The expected
limits are those at the quantiles of q for background: sqrt(q_A) = Phi^-1(1 - (1 - level) Phi(n)) + n.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri

from tools.types import Floats

BANDS = (-2, -1, 0, 1, 2)  # standard deviations of the expected limits
LEAST = 1e-12  # floor of CLs where its logarithm is taken


def asymptotic_cls(q: Floats, q_asimov: Floats) -> Floats:
    """Return CLs for the test statistic q, with median q_asimov under background (arXiv:1007.1727, eqs. 65 and 66)."""
    root, root_a = np.sqrt(q), np.maximum(np.sqrt(q_asimov), 1e-12)
    beyond = q > q_asimov  # then S_hat is negative, and the ratio is to L(0)
    with_signal = np.where(beyond, (q + q_asimov) / (2 * root_a), root)
    without = np.where(beyond, (q - q_asimov) / (2 * root_a), root - root_a)
    return np.asarray(np.exp(log_ndtr(-with_signal) - log_ndtr(-without)))


def expected_limits(amounts: Floats, asimov: Floats, level: float) -> tuple[float, ...] | None:
    """Return the limits expected at BANDS, or None if the signals `amounts` (a,), from 0, do not reach far enough.

    `asimov` (a,): -2 log L of the Asimov data set.
    """
    levels = np.array([ndtri(1 - (1 - level) * ndtr(n)) + n for n in BANDS])
    root = np.maximum.accumulate(np.sqrt(above_minimum(asimov)))
    return tuple(np.interp(levels, root, amounts).tolist()) if root[-1] > levels[-1] else None


def observed_limit(amounts: Floats, observed: Floats, asimov: Floats, found: float, level: float) -> float | None:
    """Return the observed limit, or None if the signals `amounts` (a,), from 0, do not reach far enough.

    `observed`, `asimov` (a,): -2 log L of the data and of the Asimov data set; `found`: max(S_hat, 0).
    """
    q = np.where(amounts < found, 0.0, above_minimum(observed))
    cls = asymptotic_cls(q, above_minimum(asimov))
    if cls[-1] >= (1 - level) / 2:
        return None
    last = int(np.flatnonzero(cls > 1 - level)[-1])
    below = max(float(cls[last + 1]), LEAST)
    share = np.log(cls[last] / (1 - level)) / np.log(cls[last] / below)
    return float(amounts[last] + share * (amounts[last + 1] - amounts[last]))


def above_minimum(curve: Floats) -> Floats:
    """Return how far a curve of -2 log L is above its minimum."""
    return np.asarray(np.maximum(curve - curve.min(), 0.0))
