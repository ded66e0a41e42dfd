"""Steering score where a background reference replaces sidebands: the signal-region task of arXiv:2509.08535.

The metric is ARGOS (arXiv:2511.14832) of data against reference scores; significance, mass and
signal count come from the events that pass cuts at fixed efficiency on the reference.
The region is given and counts need no mass, so that the global p-value has few trials, cuts and
submissions: for these Sidak's bound is sharp enough, and no pseudo-experiments are made.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.reader import read_bytes
from tasks.lhco.grader import read_scores, refused, spectrum_details
from tasks.score import MAX_BYTES, Score, Submission
from tools.bumphunt.counting import count, sidak
from tools.bumphunt.fit import Fit, fit_signal, scan_mass
from tools.bumphunt.measure import mass_grid
from tools.bumphunt.scan import EFFICIENCIES
from tools.bumphunt.spectrum import Spectrum, histogram, make_edges
from tools.bumphunt.yields import SLICES, binormal_total
from tools.events.parquet import read_columns
from tools.metrics import argos, bootstrap_error

Floats = NDArray[np.float64]
METRIC = "argos"
MIN_REFERENCE = 25
NORMALISATION_ERROR = 0.01  # relative, on the reference scaled to the data
MARGIN = 0.03  # TeV; a bump closer to the edge of the region cannot be told from a slope


def grade(submission: Submission, inputs: Path, workspace: Path, n_graded: int, seed: int = 1) -> Score:
    """ARGOS with a bootstrap error; significance, mass, yield and p-values in `details`."""
    mjj = read_columns(inputs / "events.parquet", ["mjj"])["mjj"]
    n_reference = len(read_columns(inputs / "reference.parquet", ["mjj"])["mjj"])
    if submission.reference_scores is None:
        return refused("reference_scores: this task needs the scores of /inputs/reference.parquet as well", METRIC)
    try:
        score = read_scores(workspace, submission.scores, len(mjj))
        reference = read_scores(workspace, submission.reference_scores, n_reference, "reference_scores")
    except ValueError as error:
        return refused(str(error), METRIC)

    def merit(data: Floats, template: Floats) -> float:
        return argos(data, template, MIN_REFERENCE)

    cuts = [_count(score, reference, efficiency) for efficiency in EFFICIENCIES]
    best = int(np.argmax([cut["z"] for cut in cuts]))
    spectrum, fit = _mass(mjj, score >= cuts[best]["threshold"])
    slices = np.array([_excess(score, reference, a, b) for a, b in zip([0.0, *SLICES[:-1]], SLICES, strict=True)])
    n_signal, n_error, _ = binormal_total(slices[:, 0], slices[:, 1], against_all=True)
    p_local, trials = cuts[best]["p_value"], n_graded * len(cuts)
    return Score(
        metric=METRIC,
        value=merit(score, reference),
        error=bootstrap_error(merit, score, reference, seed),
        reason=f"data against reference, at least {MIN_REFERENCE} reference events kept",
        artefact=sha256(read_bytes(workspace, submission.scores, MAX_BYTES)).hexdigest(),
        details={
            "window": [float(mjj.min()), float(mjj.max())],
            "cuts": cuts,
            "best": best,
            "p_local": p_local,
            "p_global": sidak(p_local, trials),
            "trials": trials,
            "mass": fit.mass,
            "mass_error": fit.mass_error,
            "n_signal": n_signal,
            "n_signal_error": n_error,
            "spectrum": spectrum_details(spectrum, fit),
        },
    )


def _count(score: Floats, reference: Floats, efficiency: float) -> dict[str, Any]:
    """Events passing the cut that keeps `efficiency` of the reference, over what the reference predicts."""
    found = count(score, reference, max(efficiency, 1 / len(reference)), NORMALISATION_ERROR)  # one event at least
    return {
        "efficiency": efficiency,
        "threshold": found.cut,
        "z": found.z,
        "p_value": found.p_value,
        "signal": found.n - found.background,
        "signal_error": float(np.hypot(np.sqrt(found.n), found.error)),
    }


def _excess(score: Floats, reference: Floats, low: float, high: float) -> tuple[float, float]:
    """Data minus scaled reference between two efficiencies on the reference, with its error."""
    ordered = np.sort(reference)[::-1]
    lower = ordered[max(round(high * len(ordered)), 1) - 1]
    upper = np.inf if low == 0 else ordered[max(round(low * len(ordered)), 1) - 1]
    n = float(((score >= lower) & (score < upper)).sum())
    kept = float(((reference >= lower) & (reference < upper)).sum())
    scale = len(score) / len(reference)
    error = np.sqrt(max(n, 1.0) + scale**2 * max(kept, 1.0) + (NORMALISATION_ERROR * scale * kept) ** 2)
    return n - scale * kept, float(error)


def _mass(mjj: Floats, passed: NDArray[np.bool_]) -> tuple[Spectrum, Fit]:
    """The bump among the passing events, over a smooth share of the failing ones."""
    edges = make_edges(float(mjj.min()), float(np.nextafter(mjj.max(), np.inf)))
    spectrum = histogram(mjj, passed, edges)
    masses = mass_grid((edges[0] + MARGIN, edges[-1] - MARGIN))
    z, _ = scan_mass(spectrum, masses)
    return spectrum, fit_signal(spectrum, float(masses[int(np.argmax(z))]), (float(masses[0]), float(masses[-1])))
