"""What the numbers of results mean is told once, for the numbers that are shown."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, Field
from scripted import FakeSandbox, Scripted, call, make_crew

from agents.crew.glossary import glossary
from agents.crew.worker import Worker
from tasks.plan import Step
from tools.catalogue import find


class Part(BaseModel):
    p: float = Field(description="small ones are bad")
    bare: int = 1


class Whole(BaseModel):
    parts: list[Part] = Field(description="one for each cut")
    edges: tuple[float, float] | None = Field(None, description="in kg")
    name: str = Field("", description="of the file")


def test_numbers_are_described_and_nothing_else() -> None:
    shown = Whole(parts=[Part(p=0.1)], edges=(1, 2), name="a").model_dump(mode="json")
    assert glossary(Whole, shown) == {"parts.p": "small ones are bad", "edges": "in kg"}
    assert glossary(Whole, Whole(parts=[]).model_dump(mode="json")) == {}
    said = glossary(find("bumphunt.sculpting").result, {"cuts": [{"efficiency": 0.01, "shape_p": 1, "smooth_p": 1}]})
    assert "slope is harmless" in said["cuts.shape_p"]
    assert "do not trust" in said["cuts.smooth_p"]


def test_a_tool_is_explained_with_its_first_result(tmp_path: Path) -> None:
    look = call("events.describe", events="/inputs/events.parquet")
    backend = Scripted({"worker/0/s": [look, look, call("finish", summary="seen")]})
    result = json.dumps({"result": {"rows": 3, "columns": {}, "copies": 1}})
    crew = make_crew(tmp_path, backend, FakeSandbox(tmp_path / "workspace", lambda argv, folder: result))
    Worker(crew, 0, Step(id="s", goal="g")).work({})
    returned = [json.loads(m.content) for m in backend.asked[-1][1].messages if m.role == "tool"]
    assert ["fields" in one for one in returned] == [True, False]
