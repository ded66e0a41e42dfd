"""What a role is told of a tool is all there: arguments that texts speak of are in the schema, files in the result."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from agents.backends.local.prompt import signature
from agents.crew.context import advised, read_prompts
from agents.crew.planner import plan_schema
from agents.crew.worker import OWN
from tasks.catalogue import OURS, find_task
from tasks.plan import Plan
from tools.catalogue import CATALOGUE

QUOTED = re.compile(r"`(\w+)`")
# Every argument that names what a tool writes, and the field of its result that says where it is.
WRITTEN = {
    "anomaly.template": {"out": "template", "out_control": "control"},
    "anomaly.survey": {"out": "windows"},
    "anomaly.latent": {"out": "template", "out_events": "events"},
    "anomaly.classify": {"out": "scores", "out_template": "template_scores"},
    "anomaly.jet_template": {"out": "template", "out_control": "control"},
    "anomaly.jet_classify": {"out": "scores", "out_template": "template_scores"},
    "decorrelation.decorrelate": {"out": "scores", "out_figure": "figure"},
    "spectrum.hunt": {"out": "spectrum"},
    "analysis.repeat": {"out": "answer", "folder": "folder"},
    "unfolding.unfold": {"out": "out", "out_samples": "samples", "report": "submission", "folder": "replicas"},
    "calorimeter.train": {"out": "generator"},
    "calorimeter.generate": {"out": "showers"},
    "calorimeter.judge": {"report": "report"},
    "jet_model.pretrain": {"out": "weights"},
    "jet_model.finetune": {"out": "weights"},
    "jet_model.score": {"out": "scores"},
    "jet_model.embed": {"out": "embedding"},
    "jet_model.generate": {"out": "jets"},
}


def descriptions(schema: Any) -> Iterator[str]:
    """All descriptions in a JSON schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("description"), str):
            yield schema["description"]
        schema = list(schema.values())
    for part in schema if isinstance(schema, list) else ():
        yield from descriptions(part)


def unseen(name: str, texts: Iterator[str]) -> set[str]:
    """The arguments of a tool that the texts speak of, and that its schema does not have."""
    found = CATALOGUE[name]
    spoken = {word for text in texts for word in QUOTED.findall(text)} & set(found.request.model_fields)
    return spoken - set(found.schema()["parameters"]["properties"])


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_tool_shows_every_argument_that_it_speaks_of(name: str) -> None:
    found = CATALOGUE[name]
    texts = [found.description, *descriptions(found.schema()), *descriptions(found.result.model_json_schema())]
    assert unseen(name, iter(texts)) == set()


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_file_that_a_tool_writes_is_an_argument_and_in_the_result(name: str) -> None:
    found = CATALOGUE[name]
    writes = {field for field in found.request.model_fields if field.startswith("out") or field in ("report", "folder")}
    written = WRITTEN.get(name, {})
    assert writes == set(written)
    assert set(written.values()) <= set(found.result.model_fields)
    assert writes <= set(found.schema()["parameters"]["properties"])
    assert all(f'"{field}"' in signature(found.schema()["parameters"]) for field in writes)  # as the planner sees it


@pytest.mark.parametrize("name", OURS)
def test_brief_and_prompts_speak_only_of_arguments_that_are_shown(name: str) -> None:
    task = find_task(name)
    prompts = advised(read_prompts(), task.model_construct())
    texts = [task.model_construct().brief(), *prompts.values()]
    assert {tool: missing for tool in task.tools if (missing := unseen(tool, iter(texts)))} == {}


def test_schemas_of_plan_and_own_calls_have_what_the_prompts_name() -> None:
    prompts = read_prompts()
    plan = json.dumps(plan_schema(("events.describe",)))
    assert all(f'"{word}"' in plan for word in ("submits", "calls", "stop"))
    assert {"run_python", "finish"} <= set(OWN)
    for role, word in (("planner.md", "submits"), ("planner.md", "calls"), ("planner.md", "stop")):
        assert f"`{word}" in prompts[role]
    # One rule, said alike wherever it is said: exactly one step submits, unless the plan stops.
    assert "exactly one step" in plan.lower()
    assert "exactly one step" in prompts["planner.md"].lower()
    with pytest.raises(ValueError, match="exactly one step"):
        Plan.model_validate({"reasoning": "", "steps": [{"id": "a", "goal": "look"}]})
