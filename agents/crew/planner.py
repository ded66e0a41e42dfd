"""The planner: one plan per iteration, from the request, the facts, the catalogue and the history of verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agents.backends.base import Request, ToolSchema
from agents.backends.digest import digest
from agents.backends.local.prompt import signature
from agents.backends.opening import opening
from agents.crew.glossary import glossary
from agents.crew.memory import memory, verdicts
from agents.crew.shared import Crew
from agents.crew.standing import standing
from agents.trace.events import Planned
from agents.trace.observation import Observation
from agents.trace.where import Where
from tasks.plan import Plan
from tasks.score import Score
from tasks.submission import Submission
from tools.catalogue import find

OPERATOR = "What the person who runs this analysis said when asked to approve. It holds from here on: follow it."


def plan(
    crew: Crew,
    scores: Sequence[Score],
    submissions: Sequence[Submission | None],
    observations: Sequence[Observation],
    review: Mapping[str, Any] | None = None,
    remarks: Sequence[Mapping[str, Any]] = (),
) -> Plan:
    """Return the plan of the next iteration, from all that the iterations before brought.

    `review`: what the reviewer sent back, with its reasons; `remarks`: what the operator said when asked. Raises
    ModelFailed when the model cannot write one with known tools.
    """
    rule, iteration, where = crew.task.rule, len(scores), Where("planner", len(scores))
    offered = [*(ToolSchema(**find(name).schema()) for name in crew.task.tools), *crew.outside.tools]
    names = [schema.name for schema in offered]
    context: dict[str, Any] = {
        "request": crew.request,
        "facts": crew.facts,
        "tools": [_tool(schema) for schema in offered],
        "rule": {"iterations_at_most": rule.max_iterations, "ends_after_iterations_without_gain": rule.patience},
        "iteration": iteration,
        "history": verdicts(scores),
        **({"verdict_fields": glossary(crew.task.details, scores[-1].details)} if scores else {}),
        "earlier": memory(scores, submissions, observations)[:-1],  # of the last iteration it sees all observations
        "observations": [observed(o) for o in observations if o.iteration == iteration - 1],
        **({"review": dict(review)} if review else {}),
        **({"operator": {"said": list(remarks), "note": OPERATOR}} if remarks else {}),
        "now": standing(crew, where, scores),
    }
    request = Request(
        role="planner",
        messages=opening(crew.prompts["planner.md"], crew.task.brief(), context),
        response_schema=plan_schema(names),
        seed=crew.seed,
    )
    graded = any(score.value is not None for score in scores)
    answer = crew.ask(request, Plan, where, _objections(names, graded, iteration))
    crew.note(Planned(iteration=iteration, plan=answer))
    return answer


def plan_schema(offered: Sequence[str]) -> dict[str, Any]:
    """Return the schema of a plan with only the offered tools: constrained decoding cannot name others."""
    schema = Plan.model_json_schema()
    schema["$defs"]["PlannedCall"]["properties"]["tool"]["enum"] = list(offered)
    return schema


def _objections(offered: Sequence[str], graded: bool, iteration: int) -> Callable[[Plan], str]:
    """Return the check of a well-formed plan. `graded`: there is a graded submission that a run can end with."""

    def objection(made: Plan) -> str:
        if made.null_result:
            return "" if iteration else "null_result=true: nothing has been looked for yet"
        if made.stop:
            return "" if graded else "stop=true: no submission has been graded yet; or end with null_result=true"
        unknown = sorted({call.tool for step in made.steps for call in step.calls} - set(offered))
        return f"the plan calls {unknown}; select tools from {', '.join(offered)}" if unknown else ""

    return objection


def observed(observation: Observation) -> dict[str, Any]:
    """Return a step's outcome in the form shown to agents: results rounded, arguments and submission exact."""
    empty = set() if observation.null_result else {"null_result"}
    shown = observation.model_dump(mode="json", exclude={"results"} | empty)
    results = [entry | {"result": digest(entry["result"])} for entry in observation.results]
    return shown | {"results": results}


def _tool(schema: ToolSchema) -> dict[str, Any]:
    """Return a tool's name, description and arguments in short form; the worker gets the full schema."""
    return {"name": schema.name, "description": schema.description, "arguments": signature(schema.parameters)}
