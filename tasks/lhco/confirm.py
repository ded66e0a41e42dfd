"""The claim: what scores are worth on events that no choice has seen.

Window, cut and mass were chosen on one part of the events; the commands that led there were run again, by the
harness, on all of them. Only the held-out part counts here, so the choices cost nothing: one test is made, and its
local p-value is the p-value (data splitting, Cox, Biometrika 62 (1975) 441). Training on the other part as well is
no cheating, for a held-out event is scored by models that have not seen it.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.reader import read_bytes
from tasks.lhco.grader import read_scores, refused, score_histogram, spectrum_details
from tasks.score import MAX_BYTES, Score, Submission
from tools.bumphunt.limits import upper_limit
from tools.bumphunt.measure import measure
from tools.bumphunt.scan import checked, distrust
from tools.bumphunt.yields import expected_efficiency, total_yield
from tools.events.parquet import read_columns

METRIC = "significance on held-out events"


def confirm(submission: Submission, chosen: Score, events: Path, workspace: Path, held_out: NDArray[np.bool_]) -> Score:
    """Significance at the chosen mass after the chosen cut; mass and yield as the held-out events give them.

    `chosen` is the score of the submission that was chosen, `held_out` (n,) marks the rows of `events` that count.
    A submission that cannot be judged makes a Score without value that says why.
    """
    window = submission.window
    if window is None:
        return refused("window=None: the claim needs one", METRIC)
    try:
        mjj = read_columns(events, ["mjj"])["mjj"]
        score = read_scores(workspace, submission.scores, len(mjj))
        mjj, score = mjj[held_out], score[held_out]
        best = chosen.details["cuts"][chosen.details["best"]]
        mass = np.array([chosen.details["mass"]])
        cut = measure(mjj, score, window, best["efficiency"], masses=mass)
        judged = checked(cut, mjj, score, window)
    except ValueError as reason:
        return refused(str(reason), METRIC)
    fraction = float(held_out.mean())
    amount = total_yield(mjj, score, window, cut.fit.mass, cut.fit.sigma, fraction=fraction)
    # Of all signal in all data: the share behind the cut, by simulated resonances, among the share that is held out.
    share, share_error = expected_efficiency(cut.efficiency)
    limit = upper_limit(cut.spectrum, float(mass[0]), efficiency=(share * fraction, share_error * fraction))
    low, high = window
    details: dict[str, Any] = {
        "window": list(window),
        "cuts": [judged.model_dump()],
        "warning": distrust(judged),
        "best": 0,
        "tested_mass": float(mass[0]),
        "p_local": cut.fit.p_value,
        "p_global": cut.fit.p_value,
        "trials": 1,
        "fraction": fraction,
        "mass": cut.fit.mass,
        "mass_error": cut.fit.mass_error,
        "n_signal": amount.n_signal / fraction,
        "n_signal_error": amount.error / fraction,
        "upper_limit": limit.observed,
        "upper_limit_expected": list(limit.expected),
        "upper_limit_level": limit.level,
        "spectrum": spectrum_details(cut.spectrum, cut.fit),
        "score_histogram": score_histogram(score, (mjj >= low) & (mjj < high)),
    }
    return Score(
        metric=METRIC,
        value=cut.fit.z,
        error=1.0,  # by construction: a standard normal number where there is no signal
        reason=f"{len(mjj)} held-out events, mass {mass[0]:.3f} TeV and cut {cut.efficiency:g} as chosen before",
        artefact=sha256(read_bytes(workspace, submission.scores, MAX_BYTES)).hexdigest(),
        details=details,
    )
