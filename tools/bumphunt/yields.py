"""Total number of signal events in the data, not only after a cut, from fits in slices of the score.

The score range is cut into slices of background efficiency, with the loosest bound at 30%. In each slice a bump of
known mass and width is fitted, with the events below the loosest bound as the failing ones. The signal in the slices
follows its ROC curve, taken as binormal (Dorfman and Alf, J. Math. Psych. 6 (1969) 487),

    eff_S = Phi(t + b (Phi^-1(eff_B) - Phi^-1(0.003))),

so that N, t and b are found together and the part below the loosest bound is extrapolated, not forgotten. Data alone
cannot separate N from t: a third of the signal looks like background. But a classifier trained on data learns a signal
the better, the more significant it is in them: over simulated resonances t grows with log Z, where Z is the
significance of the excess in the three tightest slices, and scatters little around that. The priors,

    t = -0.55 + 0.60 log(Z / 10) +- 0.20,    b = 0.70 +- 0.20,

come from 13 resonances A -> BC with m_A from 3 to 5 TeV and m_B, m_C from 0.11 to 0.74 TeV whose jets contain their
daughters, at two strengths each (Z from 7 to 27), searched for among shipped QCD events by small CATHODEs. They are
chosen so that the totals have no bias (`python -m benchmarks.yields`); eff_S is the fraction of all signal events that
lies in the fitted peak after the cut. None of the shipped resonances is among the 13. The total depends on the priors,
and its error includes their width. Where a jet does not contain its resonance, events outside the peak are not counted.
N is the mean of the posterior for a prior flat in log N, its error the standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from tools.bumphunt.fit import fit_amplitude
from tools.bumphunt.reference import LEAST, Scored, reference_threshold, region_edges, with_reference
from tools.bumphunt.spectrum import Spectrum, histogram
from tools.events.weights import of_rows
from tools.types import Floats

SLICES = np.array([1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3])  # background efficiencies that bound the slices
PROBITS = ndtri(SLICES)
PIVOT = PROBITS[1]  # where t and b are nearly independent
LEARNED = (-0.55, 0.60)  # mean of t at Z = 10, and its slope in log Z
OFFSET_WIDTH = 0.20
SLOPE_PRIOR = (0.70, 0.20)  # below one, because signals have a tail of background-like events
REFERENCE_OFFSET = (-0.2, 0.35)  # t, mean and width: from weakly (-0.4) to fully supervised (0.15), LHCO R&D events
REFERENCE_SLOPE = (0.5, 0.15)  # no signal is lost outside a peak there
Prior = tuple[tuple[float, float], tuple[float, float]]  # (mean, width) of t and of b
REFERENCE: Prior = (REFERENCE_OFFSET, REFERENCE_SLOPE)
SEEN = (3.0, 20.0)  # Z is clipped to this range of the resonances, above which nothing more is learned
GRID = np.linspace(-3, 3, 25)  # standard deviations of t and b
AMOUNTS = 200  # points in N


@dataclass(frozen=True)
class Yield:
    """Number of signal events in the data, and in each slice."""

    n_signal: float
    error: float
    slices: Floats
    slice_errors: Floats
    chi2: float


def total_yield(
    mjj: Floats,
    score: Floats,
    window: tuple[float, float],
    mass: float,
    width: float,
    behind: Spectrum,
    fraction: float = 1.0,
    weight: Floats | None = None,
) -> Yield:
    """Return the number of signal events among these, for a bump of given mass and relative width.

    `behind`: the spectrum after the cut at which the bump was found, whose edges, degree and delta hold for the slices.
    `fraction`: number of these events over the number that the classifier was trained on.
    """
    beside = (mjj < window[0]) | (mjj >= window[1])
    order = np.argsort(-score[beside], kind="stable")
    share = np.cumsum(np.ones(len(order)) if weight is None else weight[beside][order])
    cuts = score[beside][order][np.minimum(np.searchsorted(share, SLICES * share[-1] - 0.5), len(order) - 1)]
    below = score < cuts[-1]
    fitted = []
    for upper, lower in zip([np.inf, *cuts[:-1]], cuts, strict=True):
        within = (score >= lower) & (score < upper)
        used = within | below
        background = (behind.edges, behind.degree, behind.delta, of_rows(weight, used))
        fitted.append(fit_amplitude(histogram(mjj[used], within[used], *background), mass, width))
    slices, errors = np.array(fitted).T
    # Weighted events vary as so many per unit of weight.
    per = 1.0 if behind.per is None else float(behind.passed.sum() / (behind.passed / behind.per).sum())
    n, error, chi2 = binormal_total(slices * per, errors * per, fraction=fraction)
    return Yield(n / per, error / per, slices, errors, chi2)


def reference_yield(data: Scored, reference: Scored, mass: float, width: float, closure: float) -> Yield:
    """Return the same with a signal-free reference (`reference.py`): the slices are in its efficiency.

    The separation of a signal is less well known there: the classifier's supervision may be anything from weak to full.
    """
    bounds = [reference_threshold(reference[1], max(eff, LEAST / len(reference[1]))) for eff in SLICES]
    edges, fitted = region_edges(data[0]), []
    for upper, lower in zip([np.inf, *bounds[:-1]], bounds, strict=True):
        ours, theirs = (_slice(*side, lower, upper, bounds[-1]) for side in (data, reference))
        fitted.append(fit_amplitude(with_reference(ours, theirs, 0.5, edges, closure), mass, width))
    slices, errors = np.array(fitted).T
    n, error, chi2 = binormal_total(slices, errors, REFERENCE)
    return Yield(n, error, slices, errors, chi2)


def _slice(mjj: Floats, score: Floats, lower: float, upper: float, below: float) -> Scored:
    """Return the events in a slice of the score, scored 1, and those below the loosest bound, scored 0."""
    within = (score >= lower) & (score < upper)
    used = within | (score < below)
    return mjj[used], within[used].astype(np.float64)


def binormal_total(
    slices: Floats, errors: Floats, prior: Prior | None = None, fraction: float = 1.0
) -> tuple[float, float, float]:
    """Return (N, its error, chi2) of the binormal curve through the excess in each slice of SLICES.

    Signal below the loosest slice also raises the background estimate, which reduces the excess. Without a `prior` on
    t and b it is that of classifiers that learn from the data, given the significance Z of the signal in them.
    """
    errors = np.maximum(errors, 1.0)
    background = np.maximum(errors**2 - np.maximum(slices, 0.0), 1.0)  # the error without the signal's own part
    learned = np.clip(_strength(slices, background) / np.sqrt(fraction), *SEEN)
    offset, slope = prior or ((LEARNED[0] + LEARNED[1] * np.log(learned / 10), OFFSET_WIDTH), SLOPE_PRIOR)
    t, b = offset[0] + offset[1] * GRID, np.maximum(slope[0] + slope[1] * GRID, 0.01)
    at = ndtr(t[:, None, None] + b[None, :, None] * (PROBITS - PIVOT))
    held, width = np.diff(at, prepend=0.0, axis=-1), np.diff(SLICES, prepend=0.0)
    shared = width / (1 - SLICES[-1]) * (1 - at[..., -1:])
    most = 20 * (np.maximum(slices, 0.0).sum() + 3 * errors.sum())
    n = np.geomspace(1.0, most, AMOUNTS)
    expected = n[:, None, None, None] * (held - shared)
    variance = background + n[:, None, None, None] * held  # the model's: fluctuations of the data do not change it
    chi2 = ((slices - expected) ** 2 / variance).sum(axis=-1)
    loss = chi2 + np.log(variance).sum(axis=-1) + GRID[:, None] ** 2 + GRID**2
    weight = np.exp((loss.min() - loss) / 2).sum(axis=(1, 2))
    mean = float((weight * n).sum() / weight.sum())
    spread = float(np.sqrt((weight * (n - mean) ** 2).sum() / weight.sum()))
    return mean, spread, float(chi2.flat[np.argmin(loss)])


def _strength(slices: Floats, background: Floats) -> float:
    """Return Z: the quadratic sum of sqrt(2 ((s + b) log(1 + s / b) - s)) over the three tightest slices."""
    s, b = np.maximum(slices[:3], 0.0), background[:3]
    return float(np.sqrt(2 * ((s + b) * np.log1p(s / b) - s).sum()))
