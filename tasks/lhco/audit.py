"""The audit of a claim: does its recipe find signal or make it? If any doubt remains, there is no claim.

The checks, the most expensive last: no warning about the cut of the claim; the features alone must support it as well
(`explained.py`); the count above the template must agree, if the template's scores were handed in; and the recipe, run
again on a decoy (`decoy.py`), must find nothing that comes near what it claimed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.reader import UnsafeFile, read_parquet
from tasks.lhco import truth
from tasks.lhco.claims import SearchSubmission
from tasks.lhco.decoy import NOISE, Excess, Move, bump, dealt, moved, plan_move, surplus
from tasks.lhco.explained import explained, without_mjj
from tasks.lhco.files import EVENTS, JETS, REFERENCE
from tasks.lhco.grader import read_scores
from tasks.lhco.known import around, option
from tasks.lhco.pairs import scaled_pairs, shapes
from tasks.lhco.variable import Variable
from tasks.score import Score
from tasks.submission import MAX_BYTES
from tools.bumphunt.counting import count
from tools.bumphunt.measure import measure, threshold
from tools.bumphunt.reference import measure_with_reference
from tools.bumphunt.spectrum import one
from tools.dependence import dependence
from tools.events.parquet import read_columns, write_events
from tools.events.table import MASS, mass_column
from tools.events.weights import countable, of_rows, weights_of
from tools.jet_model.jets_file import read_jets, write_jets
from tools.normal import p_value, z_value
from tools.types import Floats

Mask = NDArray[np.bool_]
LEVEL = 0.01  # p-value of the decoy's excess below which it counts; an honest recipe fails at most this often
SHARE = 1 / 3  # of the claim's significance: a smaller excess does not explain the claim
# Relative error of a template's count, in units of the fitted background. With the scores of eleven quick CATHODEs on
# signal-free events it was off by 23, 49 and 107% at background efficiencies of 1e-2, 3e-3 and 1e-3, beyond statistics.
TEMPLATE_ERROR = 0.5
# p-value that the features alone must reach: they have to support the claim, not to repeat it from half of the events,
# which teach little about a tight cut. Any remaining use of mjj or of memory shows on the decoy.
SUPPORT = 1e-3
AGREE = 3.0  # errors within which the template's count and the fit agree
SCALES = ("pt_j1", "pt_j2", "ht", "mjj", MASS)  # columns that scale with the mass, if a table has them
KEPT = (
    "window",
    "fraction",
    "tested_mass",
    "tested_width",
    "warning",
    "spectrum",
    "score_histogram",
)  # details that a failed claim keeps


@dataclass(frozen=True)
class Case:
    """A claim and what it is based on: columns, scores and the mask of unseen events, (n,) each."""

    submission: SearchSubmission
    confirmed: Score
    held_out: Path
    workspace: Path
    columns: Mapping[str, Floats]
    score: Floats
    unseen: Mask


@dataclass(frozen=True)
class LhcoAudit:
    """The audit of a task with its `alpha` and `variable`; `sidebands`: it has these instead of a reference."""

    alpha: float
    variable: Variable
    sidebands: bool

    def examine(
        self, submission: SearchSubmission, confirmed: Score, held_out: Path, workspace: Path, unseen: Mask
    ) -> Score:
        """Check a claim on the `unseen` events, before its recipe is run again; a failed one loses its value."""
        if not claims(confirmed, self.alpha):
            return confirmed
        columns = read_columns(held_out / EVENTS)
        score = read_scores(workspace, submission.scores, len(unseen))
        case = Case(submission, confirmed, held_out, workspace, columns, score, unseen)
        if warning := confirmed.details.get("warning"):
            return failed(confirmed, f"the harness warns of the cut that the claim rests on. {warning}")
        try:
            alone = features_alone(case, self.variable) if self.sidebands else alone_beside_reference(case)
        except ValueError as error:
            return failed(confirmed, f"it cannot be tested whether the features explain the scores: {error}")
        shape = shaped(case, self.variable)
        examined = noted(confirmed, significance=_sigmas(confirmed), features_alone=alone, **shape)
        if not p_value(alone) < SUPPORT:
            reason = (
                f"the features without {self.variable.name} do not explain the scores. A regression of the scores on "
                f"these features, learned from the other events, gives {alone:.1f} standard deviations, where the "
                f"scores give {_sigmas(confirmed):.1f} and {z_value(SUPPORT):.1f} are needed: the scores depend on "
                f"{self.variable.name}, on memory of these very events, or on random numbers"
            )
            return failed(examined, reason)
        if self.sidebands and submission.reference_scores:
            return template_agrees(case, examined)
        return examined

    def decoy(
        self,
        submission: SearchSubmission,
        chosen: Score,
        confirmed: Score,
        held_out: Path,
        sealed_folder: Path,
        into: Path,
    ) -> bool:
        """See `tasks.task.Audit`."""
        if not claims(confirmed, self.alpha):
            return False
        columns, rng = read_columns(held_out / EVENTS), secret(sealed_folder)
        into.mkdir(exist_ok=True)
        if not self.sidebands:
            events, reference = dealt(columns, read_columns(held_out / REFERENCE), rng)
            write_events(into / EVENTS, events)
            write_events(into / REFERENCE, reference)
            return True
        masses = columns[self.variable.column]
        by = moved(masses, self._move(masses, confirmed, rng), rng)
        order = rng.permutation(len(by))
        scaled = {name: values * by if name in SCALES else values for name, values in columns.items()}
        write_events(into / EVENTS, {name: values[order] for name, values in scaled.items()})
        if (held_out / JETS).is_file():
            write_jets(into / JETS, scaled_pairs(read_jets(held_out / JETS), by, order))
        return True

    def judge(
        self,
        submission: SearchSubmission,
        chosen: Score,
        confirmed: Score,
        held_out: Path,
        decoy_inputs: Path,
        workspace: Path,
        sealed_folder: Path,
        trouble: str,
    ) -> Score:
        """See `tasks.task.Audit`."""
        if trouble:
            return failed(confirmed, f"the recipe does not run on other events: {trouble}")
        try:
            found, what = self._excess(submission, confirmed, held_out, decoy_inputs, workspace, sealed_folder)
        except ValueError as error:
            return failed(confirmed, f"the result of the recipe on other events cannot be judged: {error}")
        audited = noted(confirmed, decoy={"z": found.z, "mass": found.mass, "p_value": found.p_value, "what": what})
        reach = found.z * np.sqrt(confirmed.details.get("fraction", 1.0))  # all events of the decoy count
        if found.p_value < LEVEL and reach >= SHARE * _sigmas(confirmed):
            where = f" at {self.variable.said(found.mass)}" if found.mass else ""
            reason = (
                f"run again on {what}, where there is nothing to find, the same commands give an excess of "
                f"{found.z:.1f} standard deviations{where} (p = {found.p_value:.1g}): they create what they claim"
            )
            return failed(audited, reason + self._another(found))
        alone = audited.details["audit"]["features_alone"]
        said = (
            f"The audit found nothing against it. Features without {self.variable.name}, learned from the other "
            f"events, give {alone:.1f} standard deviations at the same place. Run again on {what}, the same commands "
            f"find no excess above {found.z:.1f} (p = {found.p_value:.2g}, all places counted), where there is none to "
            "be found."
        )
        return noted(audited, said=said)

    def _another(self, found: Excess) -> str:
        """Say how to find out whether another resonance was moved into the window, where the operator can."""
        if self.variable.known is None or found.origin is None:
            return ""
        masses = option([*self.variable.known, around(found.origin, NOISE)])
        at = self.variable.said(found.origin)
        return f", or another resonance is at {at}, which was moved there: the same command with {masses} leaves it out"

    def _move(self, mjj: Floats, confirmed: Score, rng: np.random.Generator) -> Move:
        low, high = confirmed.details["window"]
        return plan_move(mjj, (low, high), confirmed.details["tested_mass"], confirmed.details["tested_width"], rng)

    def _excess(
        self,
        submission: SearchSubmission,
        confirmed: Score,
        held_out: Path,
        decoy_inputs: Path,
        workspace: Path,
        sealed_folder: Path,
    ) -> tuple[Excess, str]:
        """Return what the recipe finds in the decoy, and a description of the decoy."""
        column = self.variable.column
        columns = read_columns(decoy_inputs / EVENTS)
        mjj, weight = columns[column], weights_of(columns)
        score, efficiency = read_scores(workspace, submission.scores, len(mjj)), confirmed.details["efficiency"]
        if not self.sidebands:
            rows = len(read_columns(decoy_inputs / REFERENCE, [column])[column])
            assert submission.reference_scores
            reference = read_scores(workspace, submission.reference_scores, rows, "reference_scores")
            return surplus(score, reference, efficiency), "data and reference redrawn from the pool of both"
        low, high = confirmed.details["window"]
        before = read_columns(held_out / EVENTS, [column])[column]
        move = self._move(before, confirmed, secret(sealed_folder))
        what = f"events whose masses were multiplied by {move.factor:.2f}"
        return bump(mjj, score, (low, high), efficiency, self.variable, move, weight), what


def claims(confirmed: Score, alpha: float) -> bool:
    """Return whether a discovery could be claimed on this score."""
    p_value = confirmed.details.get("p_global")
    return confirmed.ok and p_value is not None and bool(p_value < alpha)


def failed(confirmed: Score, reason: str) -> Score:
    """Return the score of a failed audit: the reason, no value, and none of the numbers that could be quoted."""
    details = {name: value for name, value in confirmed.details.items() if name in KEPT}
    details["audit"] = confirmed.details.get("audit", {}) | {"significance": _sigmas(confirmed), "failed": reason}
    said = f"The audit failed: {reason}."
    return confirmed.model_copy(update={"value": None, "error": None, "reason": said, "details": details})


def noted(confirmed: Score, **found: Any) -> Score:
    """Return the score with these audit findings added."""
    audit = confirmed.details.get("audit", {}) | found
    return confirmed.model_copy(update={"details": confirmed.details | {"audit": audit}})


def secret(sealed_folder: Path) -> np.random.Generator:
    """Return a generator that no recipe can predict, seeded from the sealed labels and thus always the same."""
    digest = sha256(b"decoy" + (sealed_folder / truth.LABELS).read_bytes()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def features_alone(case: Case, variable: Variable) -> float:
    """Return the significance at the mass and cut of the claim, with h (`explained.py`) in place of the score."""
    jets = case.held_out / JETS
    features = without_mjj(case.columns, shapes(read_jets(jets)) if jets.is_file() else None)
    h, details = explained(features, case.score, ~case.unseen), case.confirmed.details
    (low, high), tested = details["window"], one(details["tested_mass"], details["tested_width"])
    masses, efficiency = case.columns[variable.column][case.unseen], details["efficiency"]
    weight = of_rows(weights_of(case.columns), case.unseen)
    return measure(masses, h, (low, high), efficiency, variable.fit_range, tested, weight=weight).fit.z


def shaped(case: Case, variable: Variable) -> dict[str, float]:
    """Return how much the cut of the claim shapes the unseen events beside the window: 1/JSD, and its ceiling.

    Nothing is refused for it: a slope is harmless, and whether the spectrum is smooth is a warning of the fit. Empty
    where too few of them pass.
    """
    details, unseen = case.confirmed.details, case.unseen
    mass, score = case.columns[variable.column][unseen], case.score[unseen]
    window, weight = details["window"], of_rows(weights_of(case.columns), unseen)
    beside = np.flatnonzero((mass < window[0]) | (mass >= window[1]))
    try:
        at = threshold(score, mass, window, details["efficiency"], weight)
        beside = countable(beside, weight, 1)
        found = dependence(mass[beside], score[beside] >= at)
    except ValueError:
        return {}
    return {"inverse_jsd": found.inverse_jsd, "jsd_ceiling": found.ceiling}


def alone_beside_reference(case: Case) -> float:
    """Return the same if the background comes from a reference; h has seen none of the reference's scores."""
    reference, details = read_columns(case.held_out / REFERENCE), case.confirmed.details
    features, against = without_mjj(case.columns), without_mjj(reference)
    both = {name: np.concatenate([features[name], against[name]]) for name in features if name in against}
    none = np.zeros(len(reference["mjj"]))
    h = explained(both, np.concatenate([case.score, none]), np.concatenate([~case.unseen, none > 0]))
    ours, theirs = np.split(h, [int(case.unseen.sum())])
    data, tested = (case.columns["mjj"][case.unseen], ours), one(details["tested_mass"], details["tested_width"])
    return measure_with_reference(data, (reference["mjj"], theirs), details["efficiency"], tested).fit.z


def template_agrees(case: Case, examined: Score) -> Score:
    """Check that the excess above the template's count agrees with the fitted signal; otherwise the claim fails."""
    assert case.submission.reference_scores
    mjj, details, score = case.columns[mass_column(case.columns)], case.confirmed.details, case.score
    (low, high), cut = details["window"], _cut(details)
    inside, weight = case.unseen & (mjj >= low) & (mjj < high), weights_of(case.columns)
    try:
        template = template_scores(case.workspace, case.submission.reference_scores)
        of_unseen = of_rows(weight, case.unseen)
        at = threshold(score[case.unseen], mjj[case.unseen], (low, high), details["efficiency"], of_unseen)
        seen = score[countable(np.flatnonzero(inside), weight, 1)]
        each = 1.0 if weight is None else float(weight[inside].sum()) / len(seen)
        found = count(seen, template, float((template >= at).mean()), 0.0)
    except ValueError as error:
        return failed(examined, f"the template's scores cannot be judged: {error}")
    excess, smooth = each * (found.n - found.background), max(each * found.n - cut["signal"], 1.0)
    spread = float(np.sqrt(each**2 * (found.error**2 + max(found.n, 1)) + (TEMPLATE_ERROR * smooth) ** 2))
    examined = noted(examined, template_excess=excess, template_excess_error=spread)
    if abs(excess - cut["signal"]) > AGREE * np.hypot(spread, cut["signal_error"]):
        reason = (
            f"the template's count and the fit disagree: {excess:.0f} ± {spread:.0f} events above the template, "
            f"{cut['signal']:.0f} ± {cut['signal_error']:.0f} above the smooth spectrum"
        )
        return failed(examined, reason)
    return examined


def template_scores(workspace: Path, path: str) -> Floats:
    """Return the scores of a template, for any number of events. Raises ValueError."""
    try:
        columns = read_parquet(workspace, path, max_bytes=MAX_BYTES, max_rows=20_000_000, max_columns=16)
        return np.asarray(columns["score"], dtype=np.float64)
    except (UnsafeFile, KeyError) as error:
        raise ValueError(f"reference_scores={path!r}: {error}") from None


def _cut(details: Mapping[str, Any]) -> dict[str, Any]:
    cut: dict[str, Any] = details["cuts"][details["best"]]
    return cut


def _sigmas(confirmed: Score) -> float:
    """Return the claim's significance, which is its value."""
    return float(confirmed.value or 0.0)
