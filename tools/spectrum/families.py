"""Families of smooth background spectra: log density = sum_k theta_k b_k(m), the b_k of one family up to one degree.

`polynomial` takes powers of m, `power` powers of ln m (degree 1 is a power law), and `dijet`, for masses that reach a
sizeable part of the collision energy, 1, ln(1 - x), ln x, ln^2 x, ... with x = m / sqrt(s) (CDF, arXiv:0812.4036). All
are written in Chebyshev polynomials where that is possible, which keeps the fits well conditioned.

None is true. Discrete profiling (arXiv:1408.6865) lets the data choose: of all functions the one with the smallest
Lambda = -2 log L + (number of parameters) counts, for each signal hypothesis anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.polynomial.chebyshev import chebvander
from numpy.typing import NDArray

from tools.spectrum.shapes import Bins
from tools.types import Floats

Name = Literal["polynomial", "power", "dijet"]
DEGREES = range(1, 8)
ENOUGH = 20  # events per parameter: with fewer, an exponential of a polynomial follows single events


class Function(NamedTuple):
    """One background function: family, degree, basis (n, degree + 1) at the centres of the bins, widths of the bins."""

    family: Name
    degree: int
    basis: Floats
    widths: Floats  # (n,), relative to their mean, times `per`

    def smooth(self, theta: Floats) -> Floats:
        """Return the expected counts (n,) for parameters (degree + 1,)."""
        return np.asarray(self.widths * np.exp(self.basis @ theta))

    def among(self, bins: NDArray[np.bool_]) -> Function:
        """Return the function in some of the bins."""
        return self._replace(basis=self.basis[bins], widths=self.widths[bins])

    def __str__(self) -> str:
        return f"{self.family} of degree {self.degree}"


def functions(bins: Bins, events: float, sqrt_s: float | None = None) -> Iterator[Function]:
    """Yield the functions that this many events can determine, `dijet` only if `sqrt_s` is given (same unit)."""
    centres, widths = bins.centres, _widths(bins)
    for degree in DEGREES:
        if degree > 1 and events < ENOUGH * (degree + 1):
            return
        yield polynomial(bins, degree)
        yield Function("power", degree, _chebyshev(np.log(centres), degree), widths)
        if sqrt_s is not None and degree >= 2:
            x = np.log(centres / sqrt_s)
            terms = [np.ones_like(x), np.log1p(-centres / sqrt_s), *(x**k for k in range(1, degree))]
            yield Function("dijet", degree, np.linalg.qr(np.stack(terms, axis=1))[0] * np.sqrt(len(x)), widths)


def polynomial(bins: Bins, degree: int) -> Function:
    """Return the exponential of a polynomial of this degree, however many events there are."""
    return Function("polynomial", degree, _chebyshev(bins.centres, degree), _widths(bins))


def _widths(bins: Bins) -> Floats:
    widths = bins.high - bins.low
    return np.asarray(widths / widths.mean() * bins.per)


def _chebyshev(values: Floats, degree: int) -> Floats:
    """Return Chebyshev polynomials up to `degree` of increasing values, mapped to -1 to 1."""
    scaled = 2 * (values - values[0]) / (values[-1] - values[0]) - 1
    return np.asarray(chebvander(scaled, degree), dtype=np.float64)
