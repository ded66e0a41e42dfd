"""Warnings on a page: those of what was submitted, and from where."""

from __future__ import annotations

from tasks.page import Graded, Result, Run
from tasks.score import Score


def classified(step: str, window: list[float], sha256: str) -> Result:
    result = {"scores": {"path": "scores.parquet", "sha256": sha256}, "warning": f"{step} does not close"}
    return Result(0, "classify", result, step, {"window": window})


def told(artefact: str) -> list[tuple[str, str]]:
    score = Score(metric="m", value=1.0, reason="r", artefact=artefact, details={"warning": "its cut sculpts"})
    results = [classified("low", [2.8, 3.2], "a"), classified("high", [4.0, 4.4], "b")]
    other = Result(1, "classify", results[0].result, "later", {})
    run = Run(graded=[Graded(0, None, score)], best=0, results=[*results, other])
    return [(warning.who, warning.text) for warning in run.warnings()]


def test_only_the_tool_that_wrote_the_submitted_file_warns() -> None:
    harness = ("The harness", "its cut sculpts")
    low = ("classify in step low, window 2.8 to 3.2", "low does not close")
    high = ("classify in step high, window 4.0 to 4.4", "high does not close")
    assert told("b") == [harness, high]
    assert told("combined by a script") == [harness, low, high]  # then nothing tells which of them matter
