"""The claim: what scores are worth on events that no choice has seen.

Window, cut, mass and width were chosen on one part of the events; the commands that led there were run again, by the
harness, on all of them. Only the held-out part counts here, so the choices cost nothing: one test is made, and its
p-value, by pseudo-experiments, is the p-value (data splitting, Cox, Biometrika 62 (1975) 441). Training on the other
part as well is no cheating, for a held-out event is scored by models that have not seen it.

What is reported is what `benchmarks.calibration` calibrates: this p-value, the mass, the signal events behind the cut
and the limit on them. How many there are in all data is an interpretation, with assumptions of its own (`yields.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.lhco import reference_grader
from tasks.lhco.claims import SearchSubmission
from tasks.lhco.files import EVENTS, REFERENCE
from tasks.lhco.grader import TOYS, artefact, read_scores, refused, resonance, score_histogram, spectrum_details
from tasks.score import Score
from tools.bumphunt.limits import limit_by_toys
from tools.bumphunt.lookelsewhere import Hunt, chance
from tools.bumphunt.measure import Cut, measure
from tools.bumphunt.reference import measure_with_reference
from tools.bumphunt.scan import checked, distrust, summary
from tools.bumphunt.spectrum import Hypotheses, one
from tools.bumphunt.yields import total_yield
from tools.events.parquet import read_columns

METRIC = "significance on held-out events"


def confirm(
    submission: SearchSubmission,
    chosen: Score,
    folder: Path,
    workspace: Path,
    held_out: NDArray[np.bool_],
    width: float | None = None,
) -> Score:
    """Significance at the chosen mass and width after the chosen cut; all else as the held-out events give it.

    `chosen` is the score of the submission that was chosen; `held_out` (n,) marks the rows of the events in `folder`
    that count; `width` is that of the resonance where it is known. A submission that cannot be judged makes a Score
    without value that says why.
    """
    tested = one(chosen.details["mass"], chosen.details["width"])
    judge = _against_reference if (folder / REFERENCE).exists() else _beside_sidebands
    try:
        cut, details = judge(submission, folder, workspace, held_out, tested, chosen.details["efficiency"], width)
    except ValueError as reason:
        return refused(str(reason), METRIC)
    return Score(
        metric=METRIC,
        value=cut.fit.z,
        error=1.0,  # by construction: a standard normal number where there is no signal
        reason=f"{held_out.sum()} held-out events, mass {tested.masses[0]:.3f} TeV, cut {cut.efficiency:g} as chosen",
        artefact=artefact(submission, workspace),
        details=details | one_test(cut, tested) | {"fraction": float(held_out.mean())},
    )


def one_test(cut: Cut, tested: Hypotheses) -> dict[str, Any]:
    """The p-value of the one resonance that was tested behind the one cut, and the limit on it among these events."""
    found = chance([Hunt([cut.spectrum], tested)], cut.fit.z, n_toys=2 * TOYS)
    mass, width = float(tested.masses[0]), float(tested.widths[0])
    limit = limit_by_toys(cut.spectrum, mass, width)
    return {
        **resonance(cut),
        "tested_mass": mass,
        "tested_width": width,
        "p_local": found.p_global,
        "p_global": found.p_global,
        "p_global_method": found.method,
        "trials": 1,
        "upper_limit": limit.observed,
        "upper_limit_expected": list(limit.expected),
        "upper_limit_level": limit.level,
        "spectrum": spectrum_details(cut.spectrum, cut.fit),
    }


def _beside_sidebands(
    submission: SearchSubmission,
    folder: Path,
    workspace: Path,
    held_out: NDArray[np.bool_],
    tested: Hypotheses,
    efficiency: float,
    width: float | None,
) -> tuple[Cut, dict[str, Any]]:
    """The cut on the held-out events, their background known from the events beside the window."""
    window = submission.window
    if window is None:
        raise ValueError("window=None: the claim needs one")
    mjj = read_columns(folder / EVENTS, ["mjj"])["mjj"]
    score = read_scores(workspace, submission.scores, len(mjj))[held_out]
    mjj, fraction = mjj[held_out], float(held_out.mean())
    cut = measure(mjj, score, window, efficiency, tested=tested, width=width)
    judged = checked(cut, mjj, score, window)
    amount = total_yield(mjj, score, window, cut.fit.mass, cut.fit.width, cut.spectrum, fraction)
    return cut, {
        "window": list(window),
        "cuts": [judged.model_dump()],
        "warning": distrust(judged),
        "best": 0,
        "n_signal": amount.n_signal / fraction,
        "n_signal_error": amount.error / fraction,
        "score_histogram": score_histogram(score, (mjj >= window[0]) & (mjj < window[1])),
    }


def _against_reference(
    submission: SearchSubmission,
    folder: Path,
    workspace: Path,
    held_out: NDArray[np.bool_],
    tested: Hypotheses,
    efficiency: float,
    width: float | None,
) -> tuple[Cut, dict[str, Any]]:
    """The cut on the held-out events, their background known from the reference."""
    (mjj, score), reference = reference_grader.read_both(submission, folder, workspace)
    data = mjj[held_out], score[held_out]
    cut = measure_with_reference(data, reference, efficiency, tested, width)
    found = reference_grader.amounts(cut, data, reference, float(held_out.mean()))
    return cut, found | {"cuts": [summary(cut).model_dump()], "warning": None, "best": 0}
