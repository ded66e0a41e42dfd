"""The score of an answer: the share of checks that hold, without any truth."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from pydantic import ValidationError

from sandbox.reader import UnsafeFile, read_bytes, read_json
from tasks.open.checks import Check, checked, stability
from tasks.open.page import OpenDetails
from tasks.open.submission import OpenSubmission
from tasks.score import Score
from tools.analysis.results import Answer
from tools.contract import problems

METRIC = "share of checks that hold"
MAX_BYTES = 8 * 2**20
TOLD = 6  # checks that are named in the reason


def grade(submission: OpenSubmission, workspace: Path, chosen: Score | None = None) -> Score:
    """Return the score. `chosen`: that of the same submission, if this is its repetition in a fresh sandbox."""
    try:
        answer = Answer.model_validate(read_json(workspace, submission.answer, MAX_BYTES))
    except UnsafeFile as error:
        return Score(metric=METRIC, value=None, reason=str(error))
    except ValidationError as error:
        reason = f"{submission.answer}: {problems(error)[0]}; hand in the file that analysis.repeat wrote"
        return Score(metric=METRIC, value=None, reason=reason)
    if not (answer.results.numbers or answer.results.tables or answer.results.figures or answer.results.files):
        return Score(metric=METRIC, value=None, reason=f"{submission.answer} has no number, table, figure or file")
    before = OpenDetails.of(chosen)
    checks = checked(answer, before.results, before.stability)
    named = answer.results.named()
    return Score(
        metric=METRIC,
        value=sum(check.holds for check in checks) / len(checks),
        error=0.0,
        reason=said(checks),
        artefact=sha256(read_bytes(workspace, submission.answer, MAX_BYTES)).hexdigest(),
        details={
            "numbers": {name: {"value": number.value, "error": number.error} for name, number in named.items()},
            "checks": [check.model_dump() for check in checks],
            "stability": stability(answer),
            "results": answer.results.model_dump(),
            "rows": answer.rows,
        },
    )


def said(checks: list[Check]) -> str:
    """Return in words how many checks hold, and which do not."""
    failed = [f"{check.of}: {check.said}" for check in checks if not check.holds]
    more = f"; and {len(failed) - TOLD} more" if len(failed) > TOLD else ""
    held = f"{len(checks) - len(failed)} of {len(checks)} checks hold"
    return held + (f". Not: {'; '.join(failed[:TOLD])}{more}" if failed else "")
