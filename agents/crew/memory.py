"""What planner and workers are told of the iterations before: findings, submission and verdict of each, bounded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.backends.digest import digest, ends
from agents.trace.observation import Observation
from tasks.convergence import changes
from tasks.score import Score
from tasks.submission import Submission

RECENT = 3  # iterations with their findings; of older ones only the best has them
FINDINGS = 4000  # characters of the findings of one iteration, shared by its steps
LEAST = 300  # characters of one step's findings


def memory(
    scores: Sequence[Score], submissions: Sequence[Submission | None], observations: Sequence[Observation]
) -> list[dict[str, Any]]:
    """Return one entry per iteration: the latest and the best with findings and all of the verdict, others in short."""
    values = {at: score.value for at, score in enumerate(scores) if score.value is not None}
    best = max(values, key=values.__getitem__, default=None)
    told, shown = [], verdicts(scores)
    for at, (score, submission) in enumerate(zip(scores, submissions, strict=True)):
        entry: dict[str, Any] = {"iteration": at, "submission": submission and submission.model_dump(mode="json")}
        if at == best or at >= len(scores) - RECENT:
            told.append(entry | {"found": findings(observations, at), "verdict": shown[at]})
        else:
            told.append(
                entry | {"verdict": digest(score.model_dump(mode="json", include={"metric", "value", "error"}))}
            )
    return told


def findings(observations: Sequence[Observation], iteration: int) -> dict[str, str]:
    """Return what the steps of an iteration found, in their own words, shortened if long."""
    of = [o for o in observations if o.iteration == iteration]
    room = max(LEAST, FINDINGS // max(1, len(of)))
    return {o.step: ends(o.summary, room) for o in of}


def verdicts(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Return the verdicts with their changes from the best one before: what an iteration gained, and how surely."""
    of = zip(scores, changes(scores), strict=True)
    return [verdict(score) | ({"change": digest(made.model_dump())} if made else {}) for score, made in of]


def verdict(score: Score) -> dict[str, Any]:
    """Return a score in the form shown to agents: rounded, without its arrays."""
    shown = score.model_dump(mode="json", exclude={"details", "resampled"})
    details = {name: value for name, value in score.details.items() if not _drawn(value)}
    found: dict[str, Any] = digest(shown | {"details": details})
    return found


def _drawn(value: Any) -> bool:
    """Return True for named arrays, such as histograms: reports plot them, agents do not need them."""
    return isinstance(value, dict) and bool(value) and all(isinstance(each, list) for each in value.values())
