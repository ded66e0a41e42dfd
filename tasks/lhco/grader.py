"""Steering score of a submission with sidebands: the significance of a bump after cuts on the scores.

The harness computes everything here from the inputs and one column of scores. The global p-value comes from
pseudo-experiments of this submission's spectra. In each, the largest bump is sought behind all cuts, at all masses of
the search range (not of the window alone, as the window is the crew's choice) and for all widths. On the way to this
window others may have been tried with classifiers of their own, overlapping by half: that makes OVERLAP searches per
submission. All of them count as independent; they share events, so p is conservative.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.reader import UnsafeFile, read_bytes, read_parquet
from tasks.lhco.claims import SearchSubmission
from tasks.lhco.files import EVENTS
from tasks.lhco.known import overlaps
from tasks.lhco.variable import DIJETS, Range, Variable
from tasks.score import Score
from tasks.submission import MAX_BYTES
from tools.bumphunt.fit import Fit
from tools.bumphunt.lookelsewhere import Hunt, global_p_value
from tools.bumphunt.measure import Cut, measure, most_significant, usable
from tools.bumphunt.scan import EFFICIENCIES, checked, distrust
from tools.bumphunt.spectrum import Hypotheses, Spectrum, hypotheses, signal_shape
from tools.bumphunt.yields import total_yield
from tools.events.copies import is_first, originals
from tools.events.parquet import read_columns
from tools.events.table import mass_column
from tools.events.weights import of_rows, weights_of
from tools.types import Floats

WIDTH = (0.025, 0.3)  # allowed widths of a window, over its centre
OVERLAP = 2  # windows that contain any given mass
BOOTSTRAPS = 20
TOYS = 1000
BEST_OF = "significance"


def read_scores(workspace: Path, path: str, rows: int, field: str = "scores") -> Floats:
    """Read one finite score per event. ValueError says what is wrong with the file."""
    try:
        columns = read_parquet(workspace, path, max_bytes=MAX_BYTES, max_rows=2 * rows + 1000, max_columns=16)
    except UnsafeFile as error:
        raise ValueError(f"{field}: {error}") from None
    if "score" not in columns:
        raise ValueError(f"{field}={path!r}: needs a column 'score', has {sorted(columns)}")
    score = np.asarray(columns["score"], dtype=np.float64)
    if len(score) != rows:
        raise ValueError(f"{field}={path!r}: {len(score)} rows, but {rows} events: one score per event, in file order")
    if not np.all(np.isfinite(score)):
        raise ValueError(f"{field}={path!r}: {int((~np.isfinite(score)).sum())} scores are not finite")
    spread = float(score.max()) - float(score.min())
    if spread == 0:
        raise ValueError(f"{field}={path!r}: all scores are equal")
    if not np.isfinite(spread):
        raise ValueError(f"{field}={path!r}: scores lie too far apart for double precision")
    return score


def read_once(path: Path) -> tuple[Floats, NDArray[np.bool_], Floats | None]:
    """Return the masses (n,), which events count (n,): copies of others do not, and their weights, if they have any."""
    columns = read_columns(path)
    return columns[mass_column(columns)], is_first(originals(columns)), weights_of(columns)


def refused(reason: str, metric: str = BEST_OF) -> Score:
    return Score(metric=metric, value=None, reason=reason)


def artefact(submission: SearchSubmission, workspace: Path) -> str:
    """Return the SHA-256 of the file of scores."""
    return sha256(read_bytes(workspace, submission.scores, MAX_BYTES)).hexdigest()


def grade(
    submission: SearchSubmission,
    inputs: Path,
    workspace: Path,
    n_graded: int,
    variable: Variable = DIJETS,
    width: float | None = None,
    seed: int = 1,
) -> Score:
    """Return the best significance of the standard cuts, with bootstrap error; mass, yield, p-values in `details`.

    `width`: relative width of the resonance, if known.
    """
    mjj, once, weight = read_once(inputs / EVENTS)
    window = submission.window
    low, high = window or (0.0, 0.0)
    search, fit_range, wide = variable.search, variable.fit_range, 2 * (high - low) / ((high + low) or 1.0)
    if window is None or not (search[0] <= low < high <= search[1] and WIDTH[0] <= wide <= WIDTH[1]):
        allowed = (
            f"must lie inside {search} {variable.unit}, with a width of {WIDTH[0]:g} to {WIDTH[1]:g} of its centre"
        )
        return refused(f"window={window}: {allowed}")
    if variable.known and overlaps(window, variable.known):
        return refused(f"window={window}: must not share masses with known resonances, {list(variable.known)}")
    try:
        score = read_scores(workspace, submission.scores, len(mjj))[once]
        mjj, weight = mjj[once], of_rows(weight, once)
        efficiencies = usable(EFFICIENCIES, mjj, window, score, weight)
        cuts = [measure(mjj, score, window, e, fit_range, width=width, weight=weight) for e in efficiencies]
        cut = cuts[most_significant(cuts)]
        judged = [checked(c, mjj, score, window, weight) for c in cuts]
        toys = _bootstrap(mjj, score, weight, window, fit_range, cut, seed)
    except ValueError as reason:
        return refused(str(reason))
    found = largest(cuts, hypotheses(*search, width), OVERLAP * n_graded, TOYS, seed)
    amount = total_yield(mjj, score, window, cut.fit.mass, cut.fit.width, cut.spectrum, weight=weight)
    details: dict[str, Any] = (
        found
        | variable.details()
        | {
            "window": list(window),
            "cuts": [c.model_dump() for c in judged],
            "warning": distrust(judged, found["best"], window),
            "n_signal": amount.n_signal,
            "n_signal_error": amount.error,
            "score_histogram": score_histogram(score, (mjj >= low) & (mjj < high), weight),
        }
    )
    return Score(
        metric=BEST_OF,
        value=cut.fit.z,
        error=float(np.std(toys, ddof=1)),
        resampled=toys,
        reason=f"local significance at background efficiency {cut.efficiency:g}, mass {variable.said(cut.fit.mass)}",
        artefact=artefact(submission, workspace),
        details=details,
    )


def largest(cuts: Sequence[Cut], tested: Hypotheses, tries: int, n_toys: int, seed: int = 1) -> dict[str, Any]:
    """Return the most significant bump behind any cut, and its p-values for `tries` searches for all of `tested`."""
    best = most_significant(cuts)
    cut = cuts[best]
    found = global_p_value([Hunt([each.spectrum for each in cuts], tested)], cut.fit.z, tries, n_toys, seed)
    return {
        **resonance(cut),
        "best": best,
        "p_local": cut.fit.p_value,
        "p_global": found.p_global,
        "p_global_error": found.error,
        "p_global_method": found.method,
        "trials": tries * len(cuts) * len(tested),
        "spectrum": spectrum_details(cut.spectrum, cut.fit),
    }


def _bootstrap(
    mjj: Floats, score: Floats, weight: Floats | None, window: Range, fit_range: Range, cut: Cut, seed: int
) -> list[float]:
    """Return the significance in bootstrap samples of the events, the same samples for each submission."""
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(BOOTSTRAPS):
        drawn = rng.integers(0, len(mjj), len(mjj))
        again = measure(
            mjj[drawn], score[drawn], window, cut.efficiency, fit_range, cut.tested, weight=of_rows(weight, drawn)
        )
        values.append(again.fit.z)
    return values


def resonance(cut: Cut) -> dict[str, float]:
    """Return the fitted resonance behind a cut, and the background model (`degree`, `delta`) of the fit."""
    fit = cut.fit
    return {
        "mass": fit.mass,
        "mass_error": fit.mass_error,
        "width": fit.width,
        "width_error": fit.width_error,
        "passing": fit.signal,
        "passing_error": fit.signal_error,
        "efficiency": cut.efficiency,
        "degree": cut.spectrum.degree,
        "delta": cut.spectrum.delta,
    }


def spectrum_details(spectrum: Spectrum, fit: Fit) -> dict[str, list[float]]:
    """Return the spectrum that the report draws: masses before and after the cut, with the fit."""
    found = {
        "edges": spectrum.edges,
        "inclusive": (spectrum.passed + spectrum.failed) / spectrum.scale,
        "passed": spectrum.passed / spectrum.scale,
        "background": fit.background / spectrum.scale,
        "signal": fit.signal * spectrum.seen * signal_shape(spectrum.edges, fit.mass, fit.width),
    }
    if spectrum.per is not None:
        found["per"] = spectrum.per
    return {name: values.tolist() for name, values in found.items()}


def score_histogram(score: Floats, inside: NDArray[np.bool_], weight: Floats | None = None) -> dict[str, list[float]]:
    """Return the histogram that the report draws: scores in the window and in the sidebands."""
    edges = np.linspace(float(score.min()), float(score.max()), 61)
    parts = {"window": inside, "sidebands": ~inside}
    return {"edges": edges.tolist()} | {
        name: np.histogram(score[of], edges, density=True, weights=of_rows(weight, of))[0].tolist()
        for name, of in parts.items()
    }
