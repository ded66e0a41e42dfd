"""Cost estimate of a study: from finished runs if there are any, else from the tokens of two reference runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from agents.studies.cells import cells_of
from agents.studies.outcome import Outcome
from agents.studies.study import Arm, Study

# Two runs of a strong model on the demo: 25 and 32 calls, 1.36 and 1.59 MB of requests, 54 and 57 kB of replies, at
# four bytes per token, measured before results were shortened for models. Reasoning tokens come on top, and cached
# tokens are cheaper; so once runs are done, their costs are used instead.
PROMPT_TOKENS, COMPLETION_TOKENS = 370_000, 14_000


class ArmEstimate(NamedTuple):
    """Cost estimate of the remaining runs of one arm. None: unknown."""

    arm: str
    runs: int
    left: int
    tokens: float | None
    dollars: float | None
    at_most: float | None  # dollars, from the budget of a run
    seconds: float | None
    seconds_at_most: float | None
    measured: int  # number of finished runs that it is based on


def estimate(study: Study, outcomes: Sequence[Outcome]) -> list[ArmEstimate]:
    """Return one estimate per arm."""
    cells, done = cells_of(study), {outcome.cell for outcome in outcomes}
    rows = []
    for arm in study.backends:
        mine = [cell for cell in cells if cell.arm == arm]
        left = sum(cell.name not in done for cell in mine)
        known = [outcome for outcome in outcomes if outcome.backend == arm.name and not outcome.missing]
        rows.append(_row(study, arm, len(mine), left, known))
    return rows


def _row(study: Study, arm: Arm, runs: int, left: int, known: Sequence[Outcome]) -> ArmEstimate:
    budget, n = study.budget_of(arm), len(known)
    if n:
        tokens = sum(o.cost.prompt_tokens + o.cost.completion_tokens for o in known) / n
        dollars: float | None = sum(o.cost.dollars for o in known) / n
    elif arm.is_llm:
        tokens = PROMPT_TOKENS + COMPLETION_TOKENS
        dollars = arm.price.dollars(PROMPT_TOKENS, COMPLETION_TOKENS) if arm.price else None
    else:
        tokens = 0
    if arm.kind != "openai":
        dollars = 0.0
    most = 0.0 if arm.kind != "openai" else budget.dollars
    if most is None and arm.price and budget.tokens:
        most = max(arm.price.prompt, arm.price.completion) * budget.tokens / 1e6
    if most is not None and dollars is not None:
        dollars = min(dollars, most)
    if budget.tokens:
        tokens = min(tokens, budget.tokens)
    seconds = sum(o.seconds for o in known) / n if n else None
    return ArmEstimate(
        arm=arm.name,
        runs=runs,
        left=left,
        tokens=tokens * left,
        dollars=None if dollars is None else dollars * left,
        at_most=None if most is None else most * left,
        seconds=None if seconds is None else seconds * left,
        seconds_at_most=None if budget.seconds is None else budget.seconds * left,
        measured=n,
    )
