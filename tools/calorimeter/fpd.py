"""Frechet and kernel physics distances of two samples of observables (Kansal et al., arXiv:2211.10295).

As published and implemented in the authors' package `jetnet`, features are divided by their largest absolute value in
the first sample. FPD is the Frechet distance of two Gaussians,

    d^2 = |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)),

extrapolated to infinite samples by a straight line in 1/N. KPD is the unbiased squared maximum mean discrepancy with
the kernel (x.y/d + 1)^4, as the median over batches.
"""

from __future__ import annotations

import numpy as np

from tools.contract import ToolError
from tools.types import Floats

MIN_SAMPLES, MAX_SAMPLES = 20_000, 50_000  # batch sizes, as published; at most the number of showers
BATCHES, POINTS = 20, 10
MIN_SHOWERS = 1000
KPD_BATCHES, KPD_SIZE = 10, 5000


def frechet(a: Floats, b: Floats) -> float:
    """Return the squared Frechet distance of Gaussians with the means and covariances of samples (N, d) and (M, d).

    The trace of the root is that of the symmetric (S1^(1/2) S2 S1^(1/2))^(1/2), which rounding cannot make complex.
    """
    shift = a.mean(axis=0) - b.mean(axis=0)
    s1, s2 = np.atleast_2d(np.cov(a, rowvar=False)), np.atleast_2d(np.cov(b, rowvar=False))
    values, vectors = np.linalg.eigh(s1)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ s2 @ root)
    return float(shift @ shift + np.trace(s1) + np.trace(s2) - 2 * np.sqrt(np.maximum(inner, 0.0)).sum())


def fpd(reference: Floats, generated: Floats, seed: int = 42) -> tuple[float, float]:
    """Return the FPD of observables (N, d) and (M, d) with its error; ToolError below 1000 showers.

    Below 50,000 showers the batch sizes range from 40% of them to all. The value then depends slightly on their number:
    compare it with that of two references of the same size.
    """
    from scipy.optimize import curve_fit

    x, y = normalised(reference, generated)
    most = min(len(x), len(y), MAX_SAMPLES)
    if most < MIN_SHOWERS:
        raise ToolError("showers", most, f"{MIN_SHOWERS} or more of each kind for an FPD")
    least = min(MIN_SAMPLES, int(0.4 * most))
    sizes = (1 / np.linspace(1 / least, 1 / most, POINTS)).astype(int)
    rng = np.random.default_rng(seed)
    means = []
    for size in sizes:
        batches = [(x[rng.integers(0, len(x), size)], y[rng.integers(0, len(y), size)]) for _ in range(BATCHES)]
        means.append(np.mean([frechet(a, b) for a, b in batches]))
    scale = max(means)  # the fit works on numbers near one
    if scale <= 0:
        return 0.0, 0.0
    found, covariance = curve_fit(_line, least / sizes, np.array(means) / scale, bounds=([0, 0], [np.inf, np.inf]))
    return float(found[0] * scale), float(np.sqrt(covariance[0, 0]) * scale)


def kpd(reference: Floats, generated: Floats, seed: int = 42) -> tuple[float, float]:
    """Return the KPD of observables (N, d) and (M, d), as the median over batches, and half their central 68% range.

    Unlike in the published code no shower is in a batch twice, and a batch is at most half of a sample: pairs of a
    shower with itself would add (k(x, x) - k(x, y))/N, which exceeds the effect sought below some ten thousand showers.
    """
    x, y = normalised(reference, generated)
    size = min(KPD_SIZE, len(x) // 2, len(y) // 2)
    if size < 2:
        raise ToolError("showers", min(len(x), len(y)), "4 or more of each kind for a KPD")
    rng = np.random.default_rng(seed)
    values = [mmd(x[rng.permutation(len(x))[:size]], y[rng.permutation(len(y))[:size]]) for _ in range(KPD_BATCHES)]
    low, high = np.percentile(values, (16.275, 83.725))
    return float(np.median(values)), float(0.5 * (high - low))


def mmd(a: Floats, b: Floats) -> float:
    """Return the unbiased squared maximum mean discrepancy of (N, d) and (M, d) with the kernel (x.y/d + 1)^4."""
    n, m = len(a), len(b)
    within_a, within_b, between = _kernel(a, a), _kernel(b, b), _kernel(a, b)
    return float(
        (within_a.sum() - np.trace(within_a)) / (n * (n - 1))
        + (within_b.sum() - np.trace(within_b)) / (m * (m - 1))
        - 2 * between.mean()
    )


def _kernel(a: Floats, b: Floats) -> Floats:
    square = (a @ b.T / a.shape[1] + 1) ** 2
    return np.asarray(square * square)


def normalised(reference: Floats, generated: Floats) -> tuple[Floats, Floats]:
    """Divide both by the largest absolute value of each feature in the reference (where that is not 0)."""
    largest = np.abs(reference).max(axis=0)
    largest = np.where(largest == 0, 1.0, largest)
    return reference / largest, generated / largest


def _line(x: Floats, intercept: float, slope: float) -> Floats:
    return intercept + slope * x
