"""The reviewer: reads a plan before it is carried out, or a result after it was graded, with what the gates found.

What it sends back is done again once, by the same crew, which is told the reasons. A model that gives no verdict in the
right form is skipped: a review never ends a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.backends.base import Request
from agents.backends.opening import opening
from agents.crew.memory import verdicts
from agents.crew.planner import observed
from agents.crew.shared import Crew, ModelFailed
from agents.trace.events import GatesChecked, Reviewed, ToolCalled
from agents.trace.observation import Observation
from agents.trace.traced import printed_until
from agents.trace.where import Where
from tasks.page import Graded, Result
from tasks.plan import Plan
from tasks.quoted import leaves
from tasks.review import Finding, Review, Work, plan_gates
from tasks.score import Score
from tasks.submission import Submission


def review_plan(crew: Crew, plan: Plan, scores: Sequence[Score], observations: Sequence[Observation]) -> list[str]:
    """Return the reasons for which a plan is sent back; none if it may be carried out."""
    iteration = len(scores)

    def findings() -> list[Finding]:
        given = [_settings(plan), _computed(observations)]
        return plan_gates(plan, scores, crew.task.rule, _known(crew, iteration - 1, given))

    shown = {"plan": plan.model_dump(mode="json"), "history": verdicts(scores)}
    return _reviewed(crew, Where("reviewer", iteration, "plan"), shown, findings)


def review_result(
    crew: Crew,
    scores: Sequence[Score],
    submission: Submission | None,
    observations: Sequence[Observation],
    plan: Plan | None,
) -> list[str]:
    """Return the reasons for which the result of the latest iteration is sent back; none if it may stay.

    `scores`: the verdicts, its own the last; `observations`: of this iteration's steps.
    """
    iteration, score = len(scores) - 1, scores[-1]

    def findings() -> list[Finding]:
        last = next((o for o in observations if o.submission or o.null_result), None)
        given = [_settings(plan), _computed(observations)]
        return crew.task.gates(
            Work(
                graded=Graded(iteration, submission, score),
                results=_results(crew, iteration),
                conclusion=last.summary if last else "",
                ok=bool(last and last.ok),
                known=_known(crew, iteration, given),
            )
        )

    shown = {
        "plan": plan and plan.model_dump(mode="json"),
        "observations": [observed(o) for o in observations],
        "history": verdicts(scores),
    }
    return _reviewed(crew, Where("reviewer", iteration, "result"), shown, findings)


def _reviewed(crew: Crew, where: Where, shown: dict[str, Any], findings: Callable[[], list[Finding]]) -> list[str]:
    """Ask for a review of what is `shown`, record it, and return the reasons to send it back."""
    checked = crew.record.take(GatesChecked, "", where, {})
    checked = checked or crew.store.append(GatesChecked(where=where, findings=findings()))
    context = {
        "request": crew.request,
        "facts": crew.facts,
        "reviewed": where.step,
        **shown,
        "gates": [finding.model_dump() for finding in checked.findings],
    }
    request = Request(
        role="reviewer",
        messages=opening(crew.prompts["reviewer.md"], crew.task.brief(), context),
        response_schema=Review.model_json_schema(),
        seed=crew.seed,
    )
    try:
        verdict, skipped = crew.ask(request, Review, where, _objection), ""
    except ModelFailed as error:
        verdict, skipped = Review(send_back=False), str(error)
    crew.note(Reviewed(where=where, send_back=verdict.send_back, reasons=verdict.reasons, skipped=skipped))
    return verdict.reasons if verdict.send_back else []


def _objection(review: Review) -> str:
    return "send_back=true: needs `reasons`" if review.send_back and not review.reasons else ""


def _settings(plan: Plan | None) -> list[Any]:
    """Return what a plan chooses: not its words, whose numbers the gates look for elsewhere."""
    return [call.arguments for step in (plan.steps if plan else ()) for call in step.calls]


def _computed(observations: Sequence[Observation]) -> list[Any]:
    """Return what steps computed and handed in: not their words."""
    return [[o.results, o.submission] for o in observations]


def _known(crew: Crew, iteration: int, given: Any) -> NDArray[np.float64]:
    """Return the sizes (n,) of all numbers of the run up to an iteration, and of what it was given."""
    told = [crew.request, crew.facts, crew.task.brief(), crew.task.options(), given]
    return printed_until(iteration, crew.store.events(), crew.store, leaves(told))


def _results(crew: Crew, iteration: int) -> list[Result]:
    return [
        Result(iteration, event.tool, event.result, event.where.step or "", event.arguments)
        for event in crew.store.events()
        if isinstance(event, ToolCalled)
        and event.where.role == "worker"
        and event.where.iteration == iteration
        and event.result is not None
    ]
