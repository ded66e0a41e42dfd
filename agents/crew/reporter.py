"""The reporter: the crew's answer is a claim, recorded as given and compared with the harness's own numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.backends.base import Request
from agents.backends.opening import opening
from agents.crew.memory import verdict, verdicts
from agents.crew.shared import Crew
from agents.trace.events import Claimed
from agents.trace.observation import Observation
from agents.trace.traced import traced
from agents.trace.where import Where
from tasks.claim import Claim
from tasks.convergence import Decision
from tasks.score import CheckedNumber, Score


def report(
    crew: Crew,
    scores: Sequence[Score],
    observations: Sequence[Observation],
    decision: Decision | None,
    confirmed: Score | None,
) -> tuple[Claim, list[CheckedNumber]]:
    """Return the claim and the checks of its numbers. Raises ModelFailed when the model gives no valid claim.

    `confirmed`: the verdict on the unseen events, if any.
    """
    context: dict[str, Any] = {
        "request": crew.request,
        "facts": crew.facts,
        "history": verdicts(scores),
        "decision": decision.model_dump(mode="json") if decision else None,
        **({"confirmed": verdict(confirmed)} if confirmed else {}),
        "observations": [{"step": o.step, "ok": o.ok, "summary": o.summary} for o in observations],
    }
    request = Request(
        role="reporter",
        messages=opening(crew.prompts["reporter.md"], crew.task.brief(), context),
        response_schema=crew.task.claim.model_json_schema(),
        seed=crew.seed,
    )
    claim = crew.ask(request, crew.task.claim, Where("reporter"))
    checks = traced(crew.task.check(claim, scores, confirmed), crew.store.events(), crew.store)
    crew.note(Claimed(claim=claim.model_dump(mode="json"), headline=claim.headline, checks=checks))
    return claim, checks
