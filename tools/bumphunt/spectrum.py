"""The mass spectra of events that pass a cut and of those that fail it, and the shape of a resonance.

The mass, called mjj as in dijets, may be any in any unit: all widths are relative.

Spectra are binned in mjj; the bin width grows with mjj as the resolution does. A resonance seen as two R=1 jets is a
Gaussian core with power-law tails (double-sided Crystal Ball) in

    t = (mjj / (SCALE m) - 1) / width,

where width is the relative standard deviation of the core (detector, radiation out of the jets and natural width
together); the tails scale with it. Tails and SCALE come from the shipped resonances with two-pronged jets, except the
one of 8% width (masses of 2.9 to 5 TeV, fitted widths of 2.8 to 4.1%). One parameter is enough: a width of 3.4%
describes the 20,000 events of the LHC Olympics R&D signal between 3.3 and 3.7 TeV (chi2 of 27 in 40 bins) and puts 76%
of its events there (truth: 77.2%).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from tools.bumphunt.profile import make_basis
from tools.events.weights import per_weight
from tools.gaps import emptied
from tools.types import Floats

RANGE = (2.4, 6.4)  # TeV, of mjj: from the turn-on of the jet trigger to the last well-filled bins
BIN = 0.008  # bin width over mjj
SCALE = (
    1.0  # position of the core over the mass of the resonance: 1.000, 1.005, 0.998, 1.004, 0.991; official R&D 1.0015
)
SCALE_ERROR = 0.003
WIDTHS = (0.01, 0.019, 0.035, 0.065)  # tested if the width is not known: a factor of 1.36 off costs 5% of z
WIDTH_RANGE = (0.005, 0.09)  # allowed in a fit
ALPHA_LOW, N_LOW, ALPHA_HIGH, N_HIGH = 0.99, 4.3, 1.52, 3.8
DEGREE = 2  # default degree of the transfer factor


@dataclass(frozen=True)
class Spectrum:
    """Counts per bin of `edges` (n + 1) of events that pass and fail a cut, and the quality of the background.

    `degree`: degree of the transfer factor's polynomial; `delta`: relative error of the background under a bump that
    its smoothness does not remove (`background.py`); `reference`: (passed, failed) of signal-free events, for which the
    cut has the same efficiency as for the data's background; `per` (n,): for weighted events, effective counts per unit
    of weight, by those that pass (`tools/events/weights.py`). Counts are then effective, and signals sums of weights.
    The failing events get the same factor, so that the ratio of both stays: they are a small part of the error.
    """

    edges: Floats
    passed: Floats
    failed: Floats
    degree: int = DEGREE
    delta: float = 0.0
    reference: tuple[Floats, Floats] | None = None
    per: Floats | None = None

    @property
    def scale(self) -> Floats:
        """`per`, 1 for events that are counted."""
        return np.ones(len(self.passed)) if self.per is None else self.per

    @property
    def seen(self) -> NDArray[np.bool_]:
        """The bins (n,) that no selection has emptied: in the others there is nothing of a signal either."""
        return ~emptied(self.passed + self.failed)

    @property
    def centres(self) -> Floats:
        return np.asarray(np.sqrt(self.edges[1:] * self.edges[:-1]))

    @property
    def pair(self) -> tuple[Floats, Floats]:
        """(passed, failed) in the bins of the fit, (1, n) each; the reference's bins follow the data's."""
        passed, failed = (self.passed, self.failed) if self.reference is None else self._with_reference()
        return passed[None], failed[None]

    def _with_reference(self) -> tuple[Floats, Floats]:
        assert self.reference is not None
        return np.append(self.passed, self.reference[0]), np.append(self.failed, self.reference[1])

    @property
    def basis(self) -> Floats:
        """Basis of the transfer factor in the bins of the fit."""
        own = make_basis(self.edges, self.degree)
        return own if self.reference is None else np.concatenate([own, own])

    def shapes(self, tested: Hypotheses) -> Floats:
        """Return the hypotheses' signal shapes (H, n) in the bins of the fit: 0 in those of the reference."""
        own = tested.shapes(self.edges) * self.scale * self.seen
        return own if self.reference is None else np.concatenate([own, np.zeros_like(own)], axis=1)


@dataclass(frozen=True)
class Hypotheses:
    """Resonances to test, side by side: masses and relative widths, (H,) each."""

    masses: Floats
    widths: Floats

    def __len__(self) -> int:
        return len(self.masses)

    def shapes(self, edges: Floats) -> Floats:
        """Return the fraction of each resonance in every bin (H, n), normalised to the range of the edges."""
        shapes = signal_shape(edges, self.masses[:, None], self.widths[:, None])
        return np.asarray(shapes / shapes.sum(axis=1, keepdims=True))


def hypotheses(low: float, high: float, width: float | None = None) -> Hypotheses:
    """Return masses from `low` to `high`, one width apart, for the given width or else for all WIDTHS."""
    grids = [(w, np.geomspace(low, high, max(2, 1 + round(np.log(high / low) / w)))) for w in widths(width)]
    return Hypotheses(np.concatenate([g for _, g in grids]), np.concatenate([np.full(len(g), w) for w, g in grids]))


def one(mass: float, width: float) -> Hypotheses:
    """Return a single resonance as Hypotheses."""
    return Hypotheses(np.array([mass]), np.array([width]))


def widths(width: float | None) -> tuple[float, ...]:
    """Return the widths to test: the given one, or else WIDTHS. Raises ValueError for one outside WIDTH_RANGE."""
    if width is None:
        return WIDTHS
    if not WIDTH_RANGE[0] <= width <= WIDTH_RANGE[1]:
        raise ValueError(f"width={width}: a relative width between {WIDTH_RANGE[0]} and {WIDTH_RANGE[1]}")
    return (width,)


def make_edges(low: float, high: float) -> Floats:
    """Return the edges of logarithmic bins, of relative width about BIN, from `low` to `high`."""
    n = max(8, round(np.log(high / low) / BIN))
    return np.asarray(low * np.exp(np.arange(n + 1) * np.log(high / low) / n))


def histogram(
    mjj: Floats,
    passed: NDArray[np.bool_],
    edges: Floats,
    degree: int = DEGREE,
    delta: float = 0.0,
    weight: Floats | None = None,
) -> Spectrum:
    """Return the spectra of events (n,) that pass and fail, with effective counts if they have weights (n,)."""
    counts = [np.histogram(mjj[chosen], edges)[0].astype(np.float64) for chosen in (passed, ~passed)]
    if weight is None:
        return Spectrum(edges, counts[0], counts[1], degree, delta)
    sums = [np.histogram(mjj[chosen], edges, weights=weight[chosen])[0] for chosen in (passed, ~passed)]
    per = per_weight(counts[0], sums[0], np.histogram(mjj[passed], edges, weights=weight[passed] ** 2)[0])
    return Spectrum(edges, sums[0] * per, sums[1] * per, degree, delta, per=per)


def signal_shape(edges: Floats, mass: float | Floats, width: float | Floats) -> Floats:
    """Return the fraction of a resonance at `mass` in every bin; `width` is the core's, relative; or (H, 1)."""
    return np.asarray(np.diff(_crystal_ball_cdf((edges / (SCALE * mass) - 1) / width)))


def _crystal_ball_cdf(t: Floats) -> Floats:
    """Return the integral of the double-sided Crystal Ball from -infinity to t, normalised to one."""
    root2 = np.sqrt(2.0)
    core = np.sqrt(np.pi / 2)

    def tail(alpha: float, n: float) -> tuple[float, float]:
        b = n / alpha - alpha
        a = (n / alpha) ** n * np.exp(-(alpha**2) / 2)
        return a / (n - 1) * (b + alpha) ** (1 - n), b

    area_low, b_low = tail(ALPHA_LOW, N_LOW)
    area_high, b_high = tail(ALPHA_HIGH, N_HIGH)
    area_core = core * (erf(ALPHA_HIGH / root2) + erf(ALPHA_LOW / root2))
    middle = area_low + core * (erf(np.clip(t, -ALPHA_LOW, ALPHA_HIGH) / root2) + erf(ALPHA_LOW / root2))
    far_low = area_low * ((b_low - np.minimum(t, -ALPHA_LOW)) / (b_low + ALPHA_LOW)) ** (1 - N_LOW)
    rest = area_high * ((b_high + np.maximum(t, ALPHA_HIGH)) / (b_high + ALPHA_HIGH)) ** (1 - N_HIGH)
    total = area_low + area_core + area_high
    return np.asarray(np.where(t < -ALPHA_LOW, far_low, np.where(t > ALPHA_HIGH, total - rest, middle)) / total)
