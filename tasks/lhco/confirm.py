"""The claim: the significance of the scores on events that played no part in any choice.

The window was chosen on one part of the events; the harness then ran the commands that led there again, on all of
them. Only the held-out part counts here, so the choice costs no trials (data splitting, Cox, Biometrika 62 (1975) 441).
Training on the other part as well is legitimate, since a held-out event is scored by models that have not seen it.

Scores made from all events separate better than those from a part, so mass, width and cut are not carried over: all
masses and widths in the window are tested behind all standard cuts, and the p-value, from pseudo-experiments, is that
of the most significant of them. The limit needs no such choice: it is on the chosen resonance behind the chosen cut.

The reported numbers are those that `benchmarks.calibration` tests: this p-value, the mass, the signal behind the cut
and the limit on it. The signal in all data is an interpretation, with assumptions of its own (`yields.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.lhco import reference_grader
from tasks.lhco.claims import SearchSubmission
from tasks.lhco.files import EVENTS, REFERENCE
from tasks.lhco.grader import TOYS, artefact, largest, read_once, read_scores, refused, score_histogram
from tasks.lhco.published import REFERENCE_COUNTS
from tasks.lhco.variable import DIJETS, Variable
from tasks.score import Score
from tools.bumphunt.limits import limit_by_toys
from tools.bumphunt.measure import Cut, measure, most_significant, usable
from tools.bumphunt.reference import measure_with_reference
from tools.bumphunt.scan import EFFICIENCIES, checked, distrust, summary
from tools.bumphunt.spectrum import Spectrum
from tools.bumphunt.yields import total_yield
from tools.events.weights import of_rows
from tools.normal import z_value

METRIC = "significance on held-out events"
LEAST_P = 1e-300  # smallest p-value that is converted into a significance


def confirm(
    submission: SearchSubmission,
    chosen: Score,
    folder: Path,
    workspace: Path,
    held_out: NDArray[np.bool_],
    width: float | None = None,
    variable: Variable = DIJETS,
) -> Score:
    """Return the significance on the held-out events in standard deviations, all masses, widths and cuts counted.

    `chosen` is the score of the chosen submission; `held_out` (n,) marks the rows of the events in `folder` that count;
    `width` is the relative width of the resonance, if known. A submission that cannot be judged gives a Score without
    a value and with the reason.
    """
    efficiency = chosen.details["efficiency"]
    try:
        if (folder / REFERENCE).exists():
            cuts, details = _against_reference(submission, folder, workspace, held_out, efficiency, width)
        else:
            cuts, details = _beside_sidebands(submission, folder, workspace, held_out, efficiency, width, variable)
    except ValueError as reason:
        return refused(str(reason), METRIC)
    found = in_window(cuts)
    best = cuts[found["best"]]
    return Score(
        metric=METRIC,
        value=z_value(max(found["p_global"], LEAST_P)),
        error=1.0,  # by construction: a standard normal variable without signal
        reason=f"{held_out.sum()} held-out events, cut {best.efficiency:g}, mass "
        f"{variable.said(best.fit.mass)}; all masses, widths and cuts counted",
        artefact=artefact(submission, workspace),
        details=details
        | variable.details()
        | found
        | limit(cuts, chosen.details)
        | {"fraction": float(held_out.mean())},
    )


def in_window(cuts: Sequence[Cut]) -> dict[str, Any]:
    """Return the most significant of all resonances tested behind all cuts, and the p-value that counts them all."""
    found = largest(cuts, cuts[0].tested, 1, 2 * TOYS)
    cut = cuts[found["best"]]
    at = int(np.argmax(cut.z))
    return found | {"tested_mass": float(cut.tested.masses[at]), "tested_width": float(cut.tested.widths[at])}


def limit(cuts: Sequence[Cut], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the limit on the chosen resonance behind the chosen cut, among these events."""
    behind = next(cut for cut in cuts if cut.efficiency == chosen["efficiency"])
    found = limit_by_toys(behind.spectrum, chosen["mass"], chosen["width"])
    return {
        "limit_mass": chosen["mass"],
        "limit_width": chosen["width"],
        "limit_efficiency": chosen["efficiency"],
        "upper_limit": found.observed,
        "upper_limit_expected": list(found.expected),
        "upper_limit_level": found.level,
        "limit_spectrum": counts(behind.spectrum),
        "limit_background": (behind.spectrum.degree, behind.spectrum.delta),
    }


def counts(spectrum: Spectrum) -> dict[str, list[float]]:
    """Return edges and counts of a spectrum, from which `published` makes it again."""
    found = {"edges": spectrum.edges, "passed": spectrum.passed, "failed": spectrum.failed}
    if spectrum.per is not None:
        found["per"] = spectrum.per
    if spectrum.reference is not None:
        found |= dict(zip(REFERENCE_COUNTS, spectrum.reference, strict=True))
    return {name: values.tolist() for name, values in found.items()}


def _beside_sidebands(
    submission: SearchSubmission,
    folder: Path,
    workspace: Path,
    held_out: NDArray[np.bool_],
    chosen: float,
    width: float | None,
    variable: Variable,
) -> tuple[list[Cut], dict[str, Any]]:
    """Return all cuts on the held-out events and their details, with the background from the sidebands."""
    window = submission.window
    if window is None:
        raise ValueError(f"window=None: the claim needs a signal region, two edges in {variable.unit}")
    mjj, once, weight = read_once(folder / EVENTS)
    used, fraction = held_out & once, float(held_out.mean())
    score, mjj, weight = read_scores(workspace, submission.scores, len(mjj))[used], mjj[used], of_rows(weight, used)
    efficiencies = sorted({*usable(EFFICIENCIES, mjj, window, score, weight), chosen}, reverse=True)
    cuts = [measure(mjj, score, window, e, variable.fit_range, width=width, weight=weight) for e in efficiencies]
    judged = [checked(cut, mjj, score, window, weight) for cut in cuts]
    best = most_significant(cuts)
    fit = cuts[best].fit
    amount = total_yield(mjj, score, window, fit.mass, fit.width, cuts[best].spectrum, fraction, weight)
    return cuts, {
        "window": list(window),
        "cuts": [each.model_dump() for each in judged],
        "warning": distrust(judged, best, window),
        "n_signal": amount.n_signal / fraction,
        "n_signal_error": amount.error / fraction,
        "score_histogram": score_histogram(score, (mjj >= window[0]) & (mjj < window[1]), weight),
    }


def _against_reference(
    submission: SearchSubmission,
    folder: Path,
    workspace: Path,
    held_out: NDArray[np.bool_],
    chosen: float,
    width: float | None,
) -> tuple[list[Cut], dict[str, Any]]:
    """Return all cuts on the held-out events and their details, with the background from the reference."""
    data, reference = reference_grader.read_both(submission, folder, workspace, held_out)
    efficiencies = sorted({*reference_grader.usable(reference), chosen}, reverse=True)
    cuts = [measure_with_reference(data, reference, efficiency, width=width) for efficiency in efficiencies]
    best = cuts[most_significant(cuts)]
    found = reference_grader.amounts(best, data, reference, float(held_out.mean()))
    return cuts, found | {"cuts": [summary(cut).model_dump() for cut in cuts], "warning": None}
