"""Global p-value from pseudo-experiments: how often background alone gives a bump as large, anywhere in the search.

Every pseudo-experiment repeats the maximisation of the search: over masses in a window, widths, cuts and windows.
Cuts on one score are nested, so the events between two cuts are drawn, not those after each. With N_i events
in bin i and eps_k(m) = r_k / (1 + r_k) the efficiency of cut k, fitted without signal,

    n_i(between cuts k and k + 1) ~ Poisson(N_i (eps_k(m_i) - eps_k+1(m_i))),   scaled if events have weights,
    p_global = (1 + number of toys with max z >= max z observed) / (1 + number of toys).

Slope and bends of eps_k are drawn in every toy, as the fit leaves them. So is the background error that smoothness does
not remove: r_k is multiplied by 1 + delta_k g(m), where g is a Gaussian field with bumps as wide as one of the tested
widths.

Beyond the reach of the toys the tail follows Gross and Vitells (arXiv:1005.1891, eq. 3 for one degree of freedom),

    p_global <= sum over lines of { 1 - Phi(z) + <upcrossings of u0> exp(-(z**2 - u0**2) / 2) },

where a line is the masses tested with one width after one cut, and its upcrossings are counted in the same toys. Few
events have longer tails: where toys reach, the sum is compared with their frequency and scaled up if it is too small.
Windows have their own classifiers and are drawn as independent, which can only enlarge p.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from scipy.ndimage import convolve1d

from tools.bumphunt.counting import sidak
from tools.bumphunt.fit import fit_background, scan_spectrum
from tools.bumphunt.profile import drawn, scan, scan_maximum, transfer
from tools.bumphunt.spectrum import Hypotheses, Spectrum
from tools.normal import p_value
from tools.trials import CALIBRATION, ENOUGH, tail
from tools.types import Floats

LEVEL = 1.0  # u0: low enough for many upcrossings
CROSSING_TOYS = 20  # toys in which upcrossings are counted
N_TOYS = 1000
ROUNDING = 1e-9  # of sums of weights
FAR = 4.0  # factor by which events between two cuts may differ in weight from those behind the looser one


@dataclass(frozen=True)
class Hunt:
    """The spectra after nested cuts on one score (in any order), and the resonances tested in each."""

    spectra: Sequence[Spectrum]
    tested: Hypotheses


@dataclass(frozen=True)
class GlobalPValue:
    """Probability that background alone gives a bump as large anywhere in the search."""

    p_global: float
    error: float  # of p_global, from the number of toys
    method: Literal["toys", "upcrossings"]
    n_toys: int
    n_above: int


@dataclass(frozen=True)
class GlobalP(GlobalPValue):
    """The largest local significance of all hunts, and its global p-value."""

    z: float
    mass: float  # TeV
    width: float  # relative
    hunt: int
    cut: int  # index into the hunt's spectra
    p_local: float  # asymptotic, 1 - Phi(z)


def global_p(hunts: Sequence[Hunt], tries: int = 1, n_toys: int = N_TOYS, seed: int = 1) -> GlobalP:
    """Return the global p-value of the largest bump in all hunts; arguments as in `global_p_value`."""
    observed = []
    for h, hunt in enumerate(_checked(hunts)):
        for k, spectrum in enumerate(hunt.spectra):
            line = scan_spectrum(spectrum, hunt.tested)[0]
            best = int(np.argmax(line))
            observed.append((float(line[best]), float(hunt.tested.masses[best]), float(hunt.tested.widths[best]), h, k))
    z, mass, width, h, k = max(observed)
    found = global_p_value(hunts, z, tries, n_toys, seed)
    return GlobalP(**vars(found), z=z, mass=mass, width=width, hunt=h, cut=k, p_local=p_value(z))


def global_p_value(
    hunts: Sequence[Hunt], z: float, tries: int = 1, n_toys: int = N_TOYS, seed: int = 1
) -> GlobalPValue:
    """Return how often background gives a bump of `z` or more in the hunts; z may come from a part of them.

    `tries` is the number of such searches made, of which only one is in `hunts`. The Sidak correction
    1 - (1 - p)**tries accounts for the others: it is what toys of independent searches would give, and an upper bound
    for positively correlated ones. With one resonance and one cut this is the local p-value from toys, exact even for
    few events. Raises ValueError without a resonance or a spectrum, or for cuts that are not nested.
    """
    if tries < 1 or n_toys < 1:
        raise ValueError(f"tries={tries}, n_toys={n_toys}: at least 1 each")
    rng = np.random.default_rng(seed)
    fields = [pseudo_experiments(hunt.spectra, n_toys, rng, hunt.tested.widths) for hunt in _checked(hunts)]
    toys = np.full(n_toys, -np.inf)
    for hunt, counts in zip(hunts, fields, strict=True):
        for spectrum, field in zip(hunt.spectra, counts, strict=True):
            found = scan_maximum(*field, spectrum.basis, spectrum.shapes(hunt.tested), spectrum.delta)
            toys = np.maximum(toys, found)
    n_above = int((toys >= z).sum())
    method: Literal["toys", "upcrossings"] = "toys"
    p = (1 + n_above) / (1 + n_toys)
    error = float(np.sqrt(p * (1 - p) / n_toys))
    if n_above < ENOUGH and z > LEVEL:
        method, (p, error) = "upcrossings", _tail(hunts, fields, toys, z)
    return GlobalPValue(sidak(p, tries), error * tries, method, n_toys, n_above)


def _checked(hunts: Sequence[Hunt]) -> Sequence[Hunt]:
    if not hunts or any(len(hunt.tested) == 0 or not hunt.spectra for hunt in hunts):
        raise ValueError("global_p: needs at least one hunt, each with a resonance and a spectrum")
    return hunts


def rough(edges: Floats, n: int, rng: np.random.Generator, widths: Floats) -> Floats:
    """Return n Gaussian fields (n, bins), each smooth on the scale of one of the widths.

    Averaged over a Gaussian bump of that width they have unit variance; in a single bin it is 2**(1/2).
    """
    bins, step = len(edges) - 1, float(np.log(edges[1] / edges[0]))
    lengths = np.unique(widths)[rng.integers(0, len(np.unique(widths)), n)] / step
    field = np.empty((n, bins))
    for length in np.unique(lengths):
        of = lengths == length
        margin = int(np.ceil(4 * length))
        noise = rng.standard_normal((of.sum(), bins + 2 * margin))
        kernel = np.exp(-((np.arange(-margin, margin + 1) / length) ** 2) / 2)
        field[of] = convolve1d(noise, 2**0.25 * kernel / np.sqrt((kernel**2).sum()), axis=1)[:, margin : margin + bins]
    return field


def _tail(
    hunts: Sequence[Hunt], fields: Sequence[list[tuple[Floats, Floats]]], toys: Floats, z: float
) -> tuple[float, float]:
    """Return (p, its error) at a significance that hardly any toy reaches."""
    lines, points, crossings, n = 0, 0, 0, min(len(toys), CROSSING_TOYS)
    for hunt, counts in zip(hunts, fields, strict=True):
        for spectrum, (passed, failed) in zip(hunt.spectra, counts, strict=True):
            field = scan(passed[:n], failed[:n], spectrum.basis, spectrum.shapes(hunt.tested), spectrum.delta)[0]
            same = np.diff(hunt.tested.widths) == 0  # neighbours in mass: same width
            crossings += int(((field[:, :-1] < LEVEL) & (field[:, 1:] >= LEVEL) & same).sum())
            lines, points = lines + 1 + int((~same).sum()), points + len(hunt.tested)

    def extrapolated(level: float) -> float:
        continuous = lines * p_value(level) + crossings / n * np.exp(-(level**2 - LEVEL**2) / 2)
        return float(min(continuous, points * p_value(level)))  # no more than the sum over all points tested

    p = tail(toys, z, extrapolated, LEVEL)
    return p, p / float(np.sqrt(max(min(crossings, CALIBRATION, len(toys)), 1)))


def pseudo_experiments(
    spectra: Sequence[Spectrum], n: int, rng: np.random.Generator, widths: Floats
) -> list[tuple[Floats, Floats]]:
    """Draw `n` pseudo-experiments from the background fits: (passed, failed), each (n, bins), per nested spectrum.

    `widths` are those of the tested resonances, (H,). Raises ValueError for cuts that are not nested.
    """
    scales = [np.ones(1) if spectrum.per is None else spectrum.per for spectrum in spectra]
    counts = [np.concatenate(spectrum.pair) / scale for spectrum, scale in zip(spectra, scales, strict=True)]
    order = sorted(range(len(spectra)), key=lambda k: -counts[k][0].sum())
    total = counts[0].sum(axis=0)
    for loose, tight in pairwise(order):
        nested = np.all(counts[tight][0] <= counts[loose][0] * (1 + ROUNDING))
        if not nested or not np.allclose(counts[tight].sum(axis=0), total, rtol=ROUNDING):
            raise ValueError("pseudo_experiments: cuts must be nested, on the same events")
    field = np.zeros((n, len(total)))  # stays 0 in the bins of a reference
    field[:, : len(spectra[0].passed)] = rough(spectra[0].edges, n, rng, widths)
    noise = rng.standard_normal((n, max(spectrum.degree for spectrum in spectra)))  # the same for all cuts
    efficiencies, fitted = [np.ones((1, len(total)))], []
    for k in order:
        spectrum = spectra[k]
        background = fit_background(spectrum)
        smooth = drawn(background, spectrum.basis, noise)
        fitted.append(transfer(background.coefficients[0], spectrum.basis))
        r = smooth * np.maximum(1 + spectrum.delta * field, 0.0)
        efficiencies.append(np.minimum(r / (1 + r), efficiencies[-1]))  # fits may cross where hardly anything passes
    steps = [a - b for a, b in pairwise(efficiencies)] + [efficiencies[-1]]
    each = [
        rng.poisson(total * step * per, (n, len(total))) / per
        for step, per in zip(steps, between_cuts(fitted, [scales[k] for k in order]), strict=True)
    ]
    between, tightest = each[:-1], each[-1]
    out: list[tuple[Floats, Floats]] = [(np.empty(0), np.empty(0))] * len(spectra)
    failed = np.zeros((n, len(total)))
    everything = np.sum(between, axis=0) + tightest
    for k, missed in zip(order, between, strict=True):
        failed = failed + missed
        out[k] = (np.maximum(everything - failed, 0.0) * scales[k], failed * scales[k])
    return out


def between_cuts(r: Sequence[Floats], per: Sequence[Floats]) -> list[Floats]:
    """Return the effective counts per unit of weight of the events that fail, between nested cuts, and behind the last.

    Behind cut k with the fraction eps_k of the weights, their squares amount to eps_k / per_k; between two cuts both
    are what one has more than the other. `r`: passing over failing, the loosest cut first.
    """
    shares = [each / (1 + each) for each in r]
    found = [per[0]]
    for k in range(len(per) - 1):
        more, squares = shares[k] - shares[k + 1], shares[k] / per[k] - shares[k + 1] / per[k + 1]
        ratio = np.divide(more, squares, out=per[k] * np.ones_like(more), where=(more > 0) & (squares > 0))
        found.append(np.clip(ratio, per[k] / FAR, per[k] * FAR))
    return [*found, per[-1]]
