"""The planner: one plan per iteration, from the request, the facts, the catalogue and the history of verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from agents.backends.base import Request
from agents.backends.digest import digest
from agents.backends.local.prompt import signature
from agents.backends.opening import opening
from agents.crew.shared import Crew
from agents.trace.events import Planned
from agents.trace.observation import Observation
from agents.trace.where import Where
from tasks.plan import Plan
from tasks.score import Score
from tools.catalogue import find


def plan(crew: Crew, iteration: int, scores: Sequence[Score], observations: Sequence[Observation]) -> Plan:
    """Return the plan of an iteration. Raises ModelFailed when the model cannot write one with known tools."""
    rule = crew.task.rule
    context: dict[str, Any] = {
        "request": crew.request,
        "facts": crew.facts,
        "tools": [_tool(name) for name in crew.task.tools],
        "rule": {"iterations_at_most": rule.max_iterations, "ends_after_iterations_without_gain": rule.patience},
        "iteration": iteration,
        "history": [verdict(score) for score in scores],
        "observations": [observed(o) for o in observations],
    }
    request = Request(
        role="planner",
        messages=opening(crew.prompts["planner.md"], crew.task.brief(), context),
        response_schema=plan_schema(crew.task.tools),
        seed=crew.seed,
    )
    graded = any(score.value is not None for score in scores)
    answer = crew.ask(request, Plan, Where("planner", iteration), _objections(crew.task.tools, graded))
    crew.note(Planned(iteration=iteration, plan=answer))
    return answer


def plan_schema(offered: Sequence[str]) -> dict[str, Any]:
    """Return the schema of a plan with only the offered tools: constrained decoding cannot name others."""
    schema = Plan.model_json_schema()
    schema["$defs"]["PlannedCall"]["properties"]["tool"]["enum"] = list(offered)
    return schema


def _objections(offered: Sequence[str], graded: bool) -> Callable[[Plan], str]:
    """Return the check of a well-formed plan. `graded`: there is a graded submission that a run can end with."""

    def objection(made: Plan) -> str:
        if made.stop:
            return "" if graded else "stop=true: no submission has been graded yet"
        unknown = sorted({call.tool for step in made.steps for call in step.calls} - set(offered))
        return f"the plan calls {unknown}; select tools from {', '.join(offered)}" if unknown else ""

    return objection


def verdict(score: Score) -> dict[str, Any]:
    """Return a score in the form shown to agents: rounded, without its arrays."""
    shown = score.model_dump(mode="json", exclude={"details"})
    details = {name: value for name, value in score.details.items() if not _drawn(value)}
    found: dict[str, Any] = digest(shown | {"details": details})
    return found


def _drawn(value: Any) -> bool:
    """Return True for named arrays, such as histograms: reports plot them, agents do not need them."""
    return isinstance(value, dict) and bool(value) and all(isinstance(each, list) for each in value.values())


def observed(observation: Observation) -> dict[str, Any]:
    """Return a step's outcome in the form shown to agents: results rounded, arguments and submission exact."""
    shown = observation.model_dump(mode="json", exclude={"results"})
    results = [entry | {"result": digest(entry["result"])} for entry in observation.results]
    return shown | {"results": results}


def _tool(name: str) -> dict[str, Any]:
    """Return a tool's name, description and arguments in short form; the worker gets the full schema."""
    schema = find(name).schema()
    return {"name": name, "description": schema["description"], "arguments": signature(schema["parameters"])}
