"""One plan an iteration, from the request, the facts, the catalogue and the history of verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from agents.backends.base import Request
from agents.context import opening
from agents.crew import Crew
from agents.state import Observation, Plan
from agents.trace.events import Planned
from tasks.score import Score
from tools.catalogue import CATALOGUE

# Left out of what the agents read: arrays, which the report draws.
ARRAYS = ("spectrum", "score_histogram")


def plan(crew: Crew, iteration: int, scores: Sequence[Score], observations: Sequence[Observation]) -> Plan:
    """Raises ModelFailed when the model cannot write a plan of known tools."""
    context: dict[str, Any] = {
        "request": crew.request,
        "facts": crew.facts,
        "iteration": iteration,
        "tools": [_tool(name) for name in crew.task.tools],
        "history": [verdict(score) for score in scores],
        "observations": [o.model_dump(mode="json") for o in observations],
    }
    request = Request(
        role="planner",
        messages=opening(crew.prompts["planner.md"], crew.task.brief(), context),
        response_schema=_schema(crew.task.tools),
        seed=crew.seed,
    )
    answer = crew.ask(request, Plan, f"planner/{iteration}", _unknown_tools(crew.task.tools))
    crew.note(Planned(iteration=iteration, plan=answer))
    return answer


def _schema(offered: Sequence[str]) -> dict[str, Any]:
    """The schema of a plan that calls offered tools only: who decodes by a schema cannot name another."""
    schema = Plan.model_json_schema()
    schema["$defs"]["PlannedCall"]["properties"]["tool"]["enum"] = list(offered)
    return schema


def _unknown_tools(offered: Sequence[str]) -> Callable[[Plan], str]:
    def objection(made: Plan) -> str:
        unknown = sorted({call.tool for step in made.steps for call in step.calls} - set(offered))
        return f"the plan calls {unknown}; select tools from {', '.join(offered)}" if unknown else ""

    return objection


def verdict(score: Score) -> dict[str, Any]:
    """A score without its arrays."""
    shown = score.model_dump(mode="json", exclude={"details"})
    return shown | {"details": {k: v for k, v in score.details.items() if k not in ARRAYS}}


def _tool(name: str) -> dict[str, Any]:
    """A tool in brief: the worker gets the full schema."""
    tool = CATALOGUE[name]
    return {"name": name, "description": tool.description, "arguments": list(tool.request.model_fields)}
