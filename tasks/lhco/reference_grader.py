"""Steering score with a background reference instead of sidebands: the signal-region task of arXiv:2509.08535.

The steering metric is ARGOS (arXiv:2511.14832) of data against reference scores. Significance, mass, width and yield
come from one likelihood of data and reference (`tools/bumphunt/reference.py`), for cuts at fixed efficiencies of the
reference. The global p-value comes from pseudo-experiments, in each of which the largest bump is sought behind all
cuts; it counts every submission as a trial.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.lhco.claims import SearchSubmission
from tasks.lhco.files import EVENTS, REFERENCE
from tasks.lhco.grader import TOYS, artefact, largest, read_once, read_scores, refused, score_histogram
from tasks.score import Score
from tools.bumphunt.measure import Cut
from tools.bumphunt.reference import CLOSURE, Scored, measure_with_reference
from tools.bumphunt.scan import EFFICIENCIES, summary
from tools.bumphunt.yields import reference_yield
from tools.metrics import argos, bootstraps
from tools.types import Floats

METRIC = "argos"
MIN_REFERENCE = 25


def grade(
    submission: SearchSubmission,
    inputs: Path,
    workspace: Path,
    n_graded: int,
    width: float | None = None,
    seed: int = 1,
) -> Score:
    """Return ARGOS with a bootstrap error; significance, mass, width, yield and p-values are in `details`."""
    try:
        data, reference = read_both(submission, inputs, workspace)
        cuts = [measure_with_reference(data, reference, e, width=width) for e in usable(reference)]
    except ValueError as error:
        return refused(str(error), METRIC)

    def merit(events: Floats, template: Floats) -> float:
        return argos(events, template, MIN_REFERENCE)

    toys = bootstraps(merit, data[1], reference[1], seed)
    found = largest(cuts, cuts[0].tested, n_graded, TOYS, seed)
    return Score(
        metric=METRIC,
        value=merit(data[1], reference[1]),
        error=float(np.std(toys, ddof=1)),
        resampled=toys,
        reason=f"data against reference, at least {MIN_REFERENCE} reference events kept",
        artefact=artefact(submission, workspace),
        details=amounts(cuts[found["best"]], data, reference)
        | found
        | {"cuts": [summary(cut).model_dump() for cut in cuts]},
    )


def read_both(
    submission: SearchSubmission, folder: Path, workspace: Path, counted: NDArray[np.bool_] | None = None
) -> tuple[Scored, Scored]:
    """Return (mass, score) of events and reference in `folder`, without copies; `counted` (n,): of these events only.

    ValueError says what is wrong with the scores.
    """
    if submission.reference_scores is None:
        raise ValueError("reference_scores: this task needs the scores of /inputs/reference.parquet as well")
    (mjj, once, _), (other, others, _) = (read_once(folder / name) for name in (EVENTS, REFERENCE))
    score = read_scores(workspace, submission.scores, len(mjj))
    theirs = read_scores(workspace, submission.reference_scores, len(other), "reference_scores")
    rows = once if counted is None else once & counted
    return (mjj[rows], score[rows]), (other[others], theirs[others])


def usable(reference: Scored) -> list[float]:
    """Return the efficiencies that keep at least a dozen reference events, or else the largest."""
    return [efficiency for efficiency in EFFICIENCIES if efficiency * len(reference[1]) >= 12] or EFFICIENCIES[:1]


def amounts(cut: Cut, data: Scored, reference: Scored, fraction: float = 1.0) -> dict[str, Any]:
    """Return the signal events in all data, of which these are a fraction, and the histogram of scores to plot."""
    found = reference_yield(data, reference, cut.fit.mass, cut.fit.width, CLOSURE)
    mjj, n = data[0], len(data[0])
    both = np.append(data[1], reference[1])
    return {
        "window": [float(mjj.min()), float(mjj.max())],
        "n_signal": found.n_signal / fraction,
        "n_signal_error": found.error / fraction,
        "signal_fraction": found.n_signal / n,
        "signal_fraction_error": found.error / n,
        "slices": found.slices.tolist(),
        "slice_errors": found.slice_errors.tolist(),
        "score_histogram": score_histogram(both, np.arange(len(both)) < n),
    }
