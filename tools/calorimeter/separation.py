"""Separation powers: the difference between two samples in each observable.

    <S^2> = 1/2 sum over bins of (p - q)^2 / (p + q),   0 for equal and 1 for disjoint histograms p, q of unit sum,

as in the CaloChallenge (arXiv:2410.21611, eq. 10) and, times 1000, as the triangular discriminator of unfolding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tools.calorimeter.observables import classes, observables
from tools.calorimeter.showers import Showers
from tools.types import Floats
from tools.unfolding.discriminator import triangular

BINS = 50


@dataclass(frozen=True)
class Separation:
    """Separation power `value`, and its mean for two samples of these sizes from the same distribution (`noise`)."""

    value: float
    noise: float


def separation(reference: Floats, generated: Floats, log: bool = False) -> Separation:
    """Return <S^2> of two samples (N,), (M,).

    It uses BINS equal bins (logarithmic, if `log`) over the nonzero values of the reference except the outermost 0.1%
    on either side, an overflow bin on either side, and a bin for exact zeros.
    """
    edges = _edges(reference[reference != 0], log)
    p, q = (_histogram(x, edges) for x in (reference, generated))
    filled = (p + q) > 0
    # Poisson fluctuations of both, if both follow (p + q)/2.
    noise = 0.25 * np.sum(filled) * (1 / len(reference) + 1 / len(generated))
    return Separation(triangular(p, q) / 1000, float(noise))


def _edges(values: Floats, log: bool) -> Floats:
    if len(values) == 0:
        return np.array([0.0, 1.0])
    low, high = (float(x) for x in np.quantile(values, (0.001, 0.999)))
    high = high if high > low else low + max(abs(low), 1.0) * 1e-6
    if log and low > 0:
        return np.geomspace(low, high, BINS + 1)
    return np.linspace(low, high, BINS + 1)


def _histogram(values: Floats, edges: Floats) -> Floats:
    zero = values == 0
    bins = np.searchsorted(edges, values[~zero], "right")
    return np.concatenate([[zero.sum()], np.bincount(bins, minlength=len(edges) + 1)]).astype(float)


def cell_energies(showers: Showers) -> tuple[Floats, Floats]:
    """Return edges (b + 1,) [MeV] of bins of a twentieth of a decade, and the voxel energy spectrum (b + 1,) in them.

    counts[0] is the number of voxels with exactly zero energy.
    """
    filled = showers.voxels[showers.voxels > 0]
    edges = np.geomspace(1e-3, 1e7, 201)
    counts = np.histogram(filled, edges)[0]
    return edges, np.concatenate([[showers.voxels.size - len(filled)], counts]).astype(float)


def separations(reference: Showers, generated: Showers) -> dict[str, Separation]:
    """Return the separation of every observable by name, and of the voxel energies (`cell_energy`), zeros included."""
    ours, theirs = observables(reference), observables(generated)
    found = {name: separation(x, theirs[name], log=name.startswith("E_layer")) for name, x in ours.items()}
    p, q = cell_energies(reference)[1], cell_energies(generated)[1]
    noise = 0.25 * np.sum((p + q) > 0) * (1 / p.sum() + 1 / q.sum())
    return found | {"cell_energy": Separation(triangular(p, q) / 1000, float(noise))}


def by_class(found: dict[str, Separation]) -> dict[str, float]:
    """Return the mean separation power of each kind of observable."""
    named = [name for name in found if name != "cell_energy"]
    means = {kind: float(np.mean([found[n].value for n in names])) for kind, names in classes(named).items()}
    return means | {"cell energy": found["cell_energy"].value}
