"""Trends of quantities with the incident energy, removed so that networks need not learn them: (y - mean) / std.

Mean and log standard deviation are polynomials in x = (log E_inc - centre)/width, fitted to each quantity separately;
beyond the energies at which a quantity was seen its trend stays constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.calorimeter.generators.base import Arrays
from tools.types import Floats

Ints = NDArray[np.int64]

DEGREE = 3
ENOUGH = 200  # values for a trend; with fewer a constant; below MIN_VALUES the constant of all quantities together
MIN_VALUES = 10
MIN_STD = 1e-4


@dataclass(frozen=True)
class Trend:
    """Trends of D quantities: coefficients `mean`, `log_std` (D, DEGREE + 1) of rising powers of x; the range of x
    (`reach`, (D, 2)) and its `scale`.
    """

    mean: Floats
    log_std: Floats
    reach: Floats
    scale: Floats  # centre and width of log E_inc

    @staticmethod
    def fit(log_incident: Floats, y: Floats, which: Ints, n: int) -> Trend:
        """Fit the trends to values y (M,) of the quantities `which` (M,), 0..n-1, in showers of log E_inc (M,)."""
        scale = np.array([log_incident.mean(), max(float(log_incident.std()), 1e-3)])
        x = (log_incident - scale[0]) / scale[1]
        everything = _polynomials(x, y, 0)
        order = np.argsort(which, kind="stable")
        parts = np.split(order, np.cumsum(np.bincount(which, minlength=n))[:-1])
        found = [
            _polynomials(x[p], y[p], DEGREE if len(p) >= ENOUGH else 0) if len(p) >= MIN_VALUES else everything
            for p in parts
        ]
        mean, log_std, reach = (np.array(values) for values in zip(*found, strict=True))
        return Trend(mean, log_std, reach, scale)

    def at(self, log_incident: Floats, which: Ints) -> tuple[Floats, Floats]:
        """Return the mean and the standard deviation (M,)."""
        x = ((log_incident - self.scale[0]) / self.scale[1]).clip(*self.reach[which].T)
        powers = np.vander(x, DEGREE + 1, increasing=True)
        mean, log_std = ((table[which] * powers).sum(axis=1) for table in (self.mean, self.log_std))
        return mean, np.exp(log_std).clip(MIN_STD)

    def arrays(self, prefix: str) -> Arrays:
        """Return the arrays to store in a file."""
        return {prefix + name: array for name, array in vars(self).items()}

    @staticmethod
    def of(arrays: Arrays, prefix: str) -> Trend:
        """Return the trends stored in arrays: the inverse of `arrays`."""
        return Trend(*(arrays[prefix + name] for name in ("mean", "log_std", "reach", "scale")))


def _polynomials(x: Floats, y: Floats, degree: int) -> tuple[Floats, Floats, Floats]:
    """Return polynomials of mean and log standard deviation, and the range of x; the residual has unit variance."""
    mean, log_std = np.zeros(DEGREE + 1), np.zeros(DEGREE + 1)
    degree = min(degree, len(np.unique(x)) - 1)
    mean[: degree + 1] = np.polynomial.polynomial.polyfit(x, y, degree)
    rest = y - np.polynomial.polynomial.polyval(x, mean)
    log_std[: degree + 1] = np.polynomial.polynomial.polyfit(x, np.log(np.abs(rest) + MIN_STD), degree)
    log_std[0] += 0.5 * np.log(np.mean((rest / np.exp(np.polynomial.polynomial.polyval(x, log_std))) ** 2) + MIN_STD**2)
    return mean, log_std, np.array([x.min(), x.max()])
