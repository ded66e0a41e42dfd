"""The second question: does a tagger believe its simulation? Its recipe runs again and scores jets of another one.

The labelled files are those that the crew had. `jets.h5` holds jets of both simulations that no agent has seen, in
random order and without labels: one tagger scores both, and nothing in the file tells them apart. By number of labels,

    drop = AUC here - AUC there,    kept = rejection there / rejection here,

with errors from bootstrap samples of each simulation's jets. All numbers of labels see the same samples, so that the
errors of means over them hold what they share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from tasks.score import Score
from tasks.tagging.samples import Split
from tasks.tagging.separation import EFFICIENCY, Mask, read_scores, rejection, toys
from tasks.tagging.submission import TaggerSubmission
from tasks.writing import measured
from tools.contract import Frozen
from tools.jet_model.jets import Jets
from tools.jet_model.jets_file import concatenate
from tools.metrics import auc
from tools.types import Floats

ORDER = 41  # with the seed of the task, decides the order of the jets
SIGMAS = 2.0  # from which on a drop is called one
UPPER = 1.645  # standard deviations: one-sided, 95%
Scores = Mapping[int, Floats]


class OtherSimulation(Frozen):
    """How the scores separate jets of both simulations; each number has its error beside it, as `<name>_error`."""

    jets: dict[str, int] = Field(default_factory=dict, description="jets `here` (that of the labels) and `there`")
    numbers: dict[str, dict[str, float]] = Field(
        default_factory=dict,
        description="by number of labels: AUC and rejection here and there, `drop` of the AUC, `kept` of the "
        "rejection, and the fraction of the tops there (`efficiency`) above the cut that keeps 50% here",
    )
    mean: dict[str, float] = Field(
        default_factory=dict,
        description="`drop` and `efficiency`, arithmetic, and `kept`, geometric, over numbers of labels",
    )
    said: str = Field("", description="the answer in words, or why there is none")


@dataclass(frozen=True)
class SecondLook:
    """The question put to a recipe whose scores passed the audit of labels; a `tasks.task.Audit`.

    `write` writes the inputs (folder, jets to score, labelled jets).
    """

    split: Callable[[], Split]
    other: Callable[[], Jets]
    labels: Sequence[int]
    seed: int
    write: Callable[[Path, Jets, Jets], None]

    def jets(self) -> tuple[Jets, Mask]:
        """Return the jets to score, in random order, and which of them are of the other simulation."""
        here, there = self.split().claim, self.other()
        both = concatenate([here, there], here.kinds)
        order = np.random.default_rng([self.seed, ORDER, len(both)]).permutation(len(both))
        return both.take(order), order >= len(here)

    def decoy(
        self,
        submission: TaggerSubmission,
        chosen: Score,
        confirmed: Score,
        held_out: Path,
        sealed_folder: Path,
        into: Path,
    ) -> bool:
        """Write the inputs; scores that failed the audit of labels are not asked."""
        if not confirmed.ok:
            return False
        self.write(into, self.jets()[0], self.split().labelled)
        return True

    def judge(
        self,
        submission: TaggerSubmission,
        chosen: Score,
        confirmed: Score,
        held_out: Path,
        decoy_inputs: Path,
        workspace: Path,
        sealed_folder: Path,
        trouble: str,
    ) -> Score:
        """Return `confirmed` with the answer among its details; a recipe that fails here keeps its value."""
        jets, there = self.jets()
        assert jets.pid is not None
        is_top = jets.pid == 1
        try:
            if trouble:
                raise ValueError(trouble)
            scores = read_scores(workspace, submission.scores, len(jets), self.labels)
        except ValueError as reason:
            answer = OtherSimulation(said=f"The jets of another simulation have no scores: {reason}")
        else:
            sides = [({n: s[rows] for n, s in scores.items()}, is_top[rows]) for rows in (~there, there)]
            answer = compared(*sides[0], *sides[1])
        details = {**confirmed.details, "other": answer.model_dump(mode="json")}
        return confirmed.model_copy(update={"details": details, "reason": f"{confirmed.reason}. {answer.said}"})


def compared(here: Scores, is_top: Mask, there: Scores, is_top_there: Mask) -> OtherSimulation:
    """Return the separation here and there, by number of labels: scores (n,) of jets, and which are tops."""
    pairs = zip(toys(here, is_top, seed=1), toys(there, is_top_there, seed=2), strict=True)
    found = _measured(here, is_top, there, is_top_there)
    spread = [_measured(*one, *other) for one, other in pairs]
    named = {
        n: {
            name: number
            for key, value in each.items()
            for name, number in ((key, value), (f"{key}_error", _error([one[n][key] for one in spread])))
        }
        for n, each in found.items()
    }
    mean = {"drop": _drop(found), "drop_error": _error([_drop(one) for one in spread])}
    mean |= {"efficiency": _moved(found), "efficiency_error": _error([_moved(one) for one in spread])}
    mean |= {"kept": _kept(found), "kept_error": _error([_kept(one) for one in spread])}
    return OtherSimulation(
        jets={"here": len(is_top), "there": len(is_top_there)},
        numbers={str(n): each for n, each in named.items()},
        mean=mean,
        said=in_words(mean),
    )


def in_words(mean: Mapping[str, float]) -> str:
    """Return whether the tagger believes its simulation, from mean drop of its AUC and tops kept there by its cut."""
    kept, error = mean["efficiency"], mean["efficiency_error"]
    moved = abs(kept - EFFICIENCY) > SIGMAS * error
    cut = f"; its cut does not carry over: where it keeps half of the tops here, it keeps {measured(kept, error)} there"
    return separation_in_words(mean) + (cut if moved else "")


def separation_in_words(mean: Mapping[str, float]) -> str:
    """Return what happens to AUC and rejection on the other simulation."""
    drop, error = mean["drop"], mean["drop_error"]
    also = f"rejection there over here {measured(mean['kept'], mean['kept_error'])}"
    if drop > SIGMAS * error:
        return (
            "The tagger believes its simulation: on jets of another one its AUC is lower by "
            f"{measured(drop, error)}, {also}"
        )
    if drop < -SIGMAS * error:
        return (
            "The tagger loses nothing on jets of another simulation: its AUC is higher there by "
            f"{measured(-drop, error)}, {also}"
        )
    return (
        f"No loss is seen on jets of another simulation: AUC here minus there {measured(drop, error)}, {also}; a drop "
        f"above {max(drop, 0.0) + UPPER * error:.2g} is excluded at 95%"
    )


def _measured(here: Scores, is_top: Mask, there: Scores, is_top_there: Mask) -> dict[int, dict[str, float]]:
    found = {}
    for n in here:
        one = here[n][is_top], here[n][~is_top]
        other = there[n][is_top_there], there[n][~is_top_there]
        cut = np.sort(one[0])[-max(round(EFFICIENCY * len(one[0])), 1)]
        areas, rejections = (auc(*one), auc(*other)), (rejection(*one), rejection(*other))
        found[n] = {
            "auc": areas[0],
            "auc_there": areas[1],
            "drop": areas[0] - areas[1],
            "rejection": rejections[0],
            "rejection_there": rejections[1],
            "kept": rejections[1] / rejections[0],
            "efficiency": float((other[0] >= cut).mean()),
        }
    return found


def _drop(found: Mapping[int, Mapping[str, float]]) -> float:
    return float(np.mean([each["drop"] for each in found.values()]))


def _moved(found: Mapping[int, Mapping[str, float]]) -> float:
    return float(np.mean([each["efficiency"] for each in found.values()]))


def _kept(found: Mapping[int, Mapping[str, float]]) -> float:
    return float(np.exp(np.mean([np.log(each["kept"]) for each in found.values()])))


def _error(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1))
