"""One plan an iteration, from the request, the facts, the catalogue and the history of verdicts."""

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
    """Raises ModelFailed when the model cannot write a plan of known tools."""
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
        response_schema=_schema(crew.task.tools),
        seed=crew.seed,
    )
    graded = any(score.value is not None for score in scores)
    answer = crew.ask(request, Plan, Where("planner", iteration), _objections(crew.task.tools, graded))
    crew.note(Planned(iteration=iteration, plan=answer))
    return answer


def _schema(offered: Sequence[str]) -> dict[str, Any]:
    """The schema of a plan that calls offered tools only: who decodes by a schema cannot name another."""
    schema = Plan.model_json_schema()
    schema["$defs"]["PlannedCall"]["properties"]["tool"]["enum"] = list(offered)
    return schema


def _objections(offered: Sequence[str], graded: bool) -> Callable[[Plan], str]:
    """What is wrong with a plan of the right form. `graded`: there is a submission that a run can end with."""

    def objection(made: Plan) -> str:
        if made.stop:
            return "" if graded else "stop=true: nothing has been handed in yet that was graded"
        unknown = sorted({call.tool for step in made.steps for call in step.calls} - set(offered))
        if unknown:
            return f"the plan calls {unknown}; select tools from {', '.join(offered)}"
        submitting = [step.id for step in made.steps if step.submits]
        return f"steps {submitting} submit; exactly one must" if len(submitting) > 1 else ""

    return objection


def verdict(score: Score) -> dict[str, Any]:
    """A score as agents read it: without its arrays."""
    shown = score.model_dump(mode="json", exclude={"details"})
    details = {name: value for name, value in score.details.items() if not _drawn(value)}
    found: dict[str, Any] = digest(shown | {"details": details})
    return found


def _drawn(value: Any) -> bool:
    """Arrays by name, such as histograms: a report draws them, and nobody reads them."""
    return isinstance(value, dict) and bool(value) and all(isinstance(each, list) for each in value.values())


def observed(observation: Observation) -> dict[str, Any]:
    """How a step ended, as agents read it; what it asked for and handed in stays to the digit."""
    shown = observation.model_dump(mode="json", exclude={"results"})
    results = [entry | {"result": digest(entry["result"])} for entry in observation.results]
    return shown | {"results": results}


def _tool(name: str) -> dict[str, Any]:
    """A tool in brief, from the one schema that the worker gets whole: types, defaults and meaning of its arguments."""
    schema = find(name).schema()
    return {"name": name, "description": schema["description"], "arguments": signature(schema["parameters"])}
