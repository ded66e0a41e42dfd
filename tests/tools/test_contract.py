"""The contract of tools: refusals that name field, value and what is allowed; schemas; journal; the sandbox's entry."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, Field
from scipy.stats import norm

from sandbox.reader import UnsafeFile
from tasks.task import TaskError
from tools import journal
from tools.arrays import load_arrays, save_arrays
from tools.call import main
from tools.catalogue import CATALOGUE, GROUP, OURS, Catalogue, find
from tools.contract import Request, Result, ToolError, tool
from tools.events.parquet import write_events
from tools.jet_model.finetune import FinetuneRequest
from tools.normal import p_value, z_value

ROOT = Path(__file__).resolve().parents[2]


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    depth: int = 1


class HalveRequest(Request):
    value: float = Field(ge=0, description="what to halve")
    inner: Inner = Inner()


class HalveResult(Result):
    half: float


@tool("test.halve")
def halve(request: HalveRequest) -> HalveResult:
    """Half of a value."""
    if request.value > 100:
        raise ToolError("value", request.value, "at most 100")
    return HalveResult(half=request.value / 2)


def refused(**arguments: object) -> ToolError:
    with pytest.raises(ToolError) as caught:
        halve(**arguments)
    return caught.value


@pytest.mark.parametrize(
    ("arguments", "field", "value", "allowed"),
    [
        ({"value": 1, "colour": 2}, "colour", 2, "allowed are value, inner"),
        ({"value": "much"}, "value", "much", "valid number"),
        ({"value": -1}, "value", -1, "greater than or equal to 0"),
        ({"value": 101}, "value", 101.0, "at most 100"),
        ({}, "value", {}, "required"),
        ({"value": 1, "inner": {"depth": "x"}}, "inner.depth", "x", "valid integer"),
        ({"value": 1, "self": 2}, "self", 2, "allowed are value, inner"),
    ],
)
def test_a_refusal_names_field_value_and_what_is_allowed(
    arguments: dict[str, object], field: str, value: object, allowed: str
) -> None:
    error = refused(**arguments)
    assert (error.field, error.value) == (field, value)
    assert allowed in error.allowed
    assert set(error.as_dict()) == {"field", "value", "allowed"}
    assert field in str(error)


def test_an_unknown_field_of_a_nested_object_is_answered_with_the_fields_of_that_object() -> None:
    error = refused(value=1, inner={"width": 3})
    assert error.field == "inner.width"
    assert "allowed are depth" in error.allowed


def test_a_long_value_is_shortened_for_the_prompt() -> None:
    assert len(refused(value="x" * 10_000).as_dict()["value"]) <= 200


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_schemas_describe_the_tool_and_what_is_not_plain_from_its_name(name: str) -> None:
    schema = find(name).schema()
    assert schema["name"] == name
    assert len(schema["description"]) > 40
    json.dumps(schema)
    plain = {"seed", "folds", "max_leaf_nodes", "learning_rate", "validation_fraction", "flow"}
    for field, entry in schema["parameters"]["properties"].items():
        assert field in plain or entry.get("description"), field


def test_an_unknown_tool_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(ToolError, match=r"anomaly\.classify") as caught:
        find("anomaly.magic")
    assert caught.value.field == "tool"


def test_a_journal_line_is_written_inside_a_workspace_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = tmp_path / "workspace" / "step"
    step.mkdir(parents=True)
    (tmp_path / "workspaces").mkdir()
    monkeypatch.setattr(journal, "WORKSPACE", str(tmp_path / "workspace"))
    for outside in (tmp_path, tmp_path / "workspaces"):  # a folder whose name begins alike is outside too
        monkeypatch.chdir(outside)
        halve(value=4)
        assert list(outside.glob("*.jsonl")) == []
    monkeypatch.chdir(step)
    halve(value=4)
    refused(value=101)
    first, second = map(json.loads, (step / journal.NAME).read_text().splitlines())
    assert (first["tool"], first["request"], first["result"]) == ("test.halve", {"value": 4}, {"half": 2.0})
    assert "error" not in first
    assert second["error"]["field"] == "value"
    assert "result" not in second


def test_a_pipe_or_a_link_in_place_of_the_journal_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "WORKSPACE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    os.mkfifo(journal.NAME)
    assert halve(value=4).half == 2.0  # nobody waits for the pipe's other end
    reading = os.open(journal.NAME, os.O_RDONLY | os.O_NONBLOCK)
    assert halve(value=4).half == 2.0
    assert os.read(reading, 100) == b""
    os.close(reading)
    Path(journal.NAME).unlink()
    (tmp_path / "mine").touch()
    Path(journal.NAME).symlink_to("mine")
    assert halve(value=4).half == 2.0
    assert (tmp_path / "mine").read_text() == ""


@pytest.fixture
def requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an event file and requests for it, which is the working directory."""
    mjj = np.array([3.0, 4.0, 5.0])
    write_events(tmp_path / "events.parquet", {"mjj": mjj, "mj1": 2 * mjj})
    for name, text in (("good", '{"events": "events.parquet"}'), ("bad", '{"event": 1}'), ("list", "[1]")):
        (tmp_path / f"{name}.json").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("file", "status"), [("good.json", 0), ("bad.json", 2)])
def test_the_entry_prints_a_result_or_an_error_as_its_last_line(requests: Path, file: str, status: int) -> None:
    command = [sys.executable, "-m", "tools.call", "events.describe", file]
    done = subprocess.run(
        command, cwd=requests, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    if status:
        assert answer["error"]["field"] == "event"
    else:
        assert answer["result"]["rows"] == 3
        assert answer["result"]["columns"]["mj1"]["mean"] == 8.0
        assert answer["result"]["columns"]["mj1"]["correlation_mass"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["events.describe", "none.json"], "request"),
        (["events.describe", "list.json"], "request"),
        (["events.describe", "events.parquet"], "request"),
        (["events.invent", "good.json"], "tool"),
        (["events.describe"], "arguments"),
    ],
)
def test_what_a_model_can_mend_ends_with_status_2(
    requests: Path, arguments: list[str], field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert json.loads(capsys.readouterr().out)["error"]["field"] == field


def loaded(code: str) -> list[str]:
    code = f"import sys\n{code}\nprint(*sorted(sys.modules))"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()


def test_no_tool_loads_anything_heavy_before_it_runs() -> None:
    modules = loaded("from tools.catalogue import CATALOGUE; list(CATALOGUE.values())")
    assert "tools.bumphunt.scan" in modules
    heavy = {"torch", "zuko", "sklearn", "pandas", "pyarrow", "matplotlib", "h5py", "scipy.stats", "scipy.optimize"}
    assert heavy.isdisjoint(modules)


def test_a_tool_is_found_without_loading_the_others() -> None:
    modules = loaded("from tools.catalogue import find; find('events.describe')")
    assert [name for name in modules if name.startswith(("tools.anomaly", "tools.bumphunt", "scipy"))] == []


def test_names_that_are_taken_and_places_that_hold_no_tool_are_refused() -> None:
    entry = EntryPoint("bumphunt.scan", "mine:scan", GROUP)
    with pytest.raises(ToolError, match=r"mine:scan: must have a name that is not taken"):
        Catalogue(OURS, [entry])
    with pytest.raises(ToolError, match="no_such_module:scan cannot be loaded"):
        Catalogue({}, [EntryPoint("x", "no_such_module:scan", GROUP)])["x"]
    with pytest.raises(ToolError, match="must be a Tool of this name"):
        Catalogue({"scan": OURS["bumphunt.scan"]})["scan"]


def test_p_values_are_those_of_scipy_stats() -> None:
    for z in (-3.0, 0.0, 1.64, 5.0, 30.0):
        assert p_value(z) == pytest.approx(norm.sf(z), rel=1e-12)
        assert z_value(p_value(z)) == pytest.approx(z, abs=1e-9)


def test_a_reference_describes_the_file_it_was_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(1).normal(size=7)
    reference = save_arrays("deep/scores.parquet", {"score": values}, {"score": "TeV"})
    assert reference.sha256 == hashlib.sha256((tmp_path / "deep/scores.parquet").read_bytes()).hexdigest()
    assert (reference.rows, reference.columns, reference.units) == (7, ["score"], {"score": "TeV"})
    back = load_arrays(reference.path, "events")["score"]
    np.testing.assert_array_equal(back, values.astype(reference.dtype))


@pytest.mark.parametrize("path", ["/tmp/x.parquet", "../x.parquet", "a/../../x.parquet", "x.csv", "", "folder.parquet"])
def test_files_are_written_below_the_working_directory_only(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "folder.parquet").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ToolError) as caught:
        save_arrays(path, {"score": np.zeros(2)})
    assert (caught.value.field, caught.value.value) == ("out", path)
    assert [p for p in tmp_path.rglob("*.parquet") if p.is_file()] == []


def test_a_file_that_cannot_be_read_is_blamed_on_the_field_that_named_it(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no parquet")
    write_events(tmp_path / "nan.parquet", {"score": np.array([1.0, 2.0, np.nan])})
    for name, words in (("none", "no such file"), ("text", "not a readable"), ("nan", "row 2"), ("", "readable")):
        path = str(tmp_path / f"{name}.parquet") if name else str(tmp_path)
        with pytest.raises(ToolError, match=words) as caught:
            load_arrays(path, "scores")
        assert (caught.value.field, caught.value.value) == ("scores", path)


@pytest.mark.parametrize(
    "error",
    [ToolError("window", (3.3, 3.1), "two rising edges"), TaskError("seed", "x", "a number"), UnsafeFile("a", "b")],
)
def test_errors_come_back_from_other_processes(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_no_default_has_fields_that_its_schema_forbids() -> None:
    for tool_ in CATALOGUE.values():
        schema = tool_.schema()["parameters"]
        for field in schema["properties"].values():
            if isinstance(field.get("default"), dict):
                jsonschema.validate(field["default"], field | {"$defs": schema.get("$defs", {})})
    training = find("jet_model.finetune").schema()["parameters"]["properties"]["training"]["default"]
    assert training == {"epochs": 20, "batch": 64, "learning_rate": 5e-4, "robust": None}
    assert FinetuneRequest(jets="jets.h5", training={"learning_rate": 1e-4}).training.epochs == 20  # type: ignore[arg-type]
