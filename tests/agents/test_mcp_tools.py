"""Typed tools by the SDK's own client: schemas, results, errors, the trace, progress and cancelling."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from jsonschema import Draft202012Validator
from mcp import Client, MCPError, types
from mcp_rig import COUNT, SLEEPER, desk_for

from agents.mcp import replies, server
from agents.mcp.server import Desk
from agents.trace.events import Told, ToolCalled, Trouble
from agents.trace.store import read_trace
from agents.view.answers import Answers
from agents.view.library import Library
from tools.catalogue import CATALOGUE, find

Talk = Callable[[Client], Coroutine[Any, Any, Any]]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = desk_for(tmp_path_factory.mktemp("mcp"))
    yield desk
    desk.close()


def talk(desk: Desk, talking: Talk) -> Any:
    async def main() -> Any:
        with anyio.fail_after(240):
            async with Client(desk.server()) as client:
                return await talking(client)

    return anyio.run(main)


def call(desk: Desk, tool: str, arguments: dict[str, Any]) -> types.CallToolResult:
    async def one(client: Client) -> types.CallToolResult:
        return await client.call_tool(tool, arguments)

    found = talk(desk, one)
    assert isinstance(found, types.CallToolResult)
    return found


def text_of(result: types.CallToolResult) -> Any:
    content = result.content[0]
    assert isinstance(content, types.TextContent)
    return json.loads(content.text)


def events_of(desk: Desk) -> list[Any]:
    assert desk.bench.run_dir
    return list(read_trace(desk.bench.run_dir))


@pytest.fixture(scope="module")
def listed(desk: Desk) -> dict[str, types.Tool]:
    async def tools(client: Client) -> list[types.Tool]:
        return (await client.list_tools()).tools

    return {tool.name: tool for tool in talk(desk, tools)}


def test_all_tools_are_listed_under_names_that_every_host_accepts(listed: dict[str, types.Tool]) -> None:
    assert {name.replace(".", "_") for name in CATALOGUE} < listed.keys()
    assert all(re.fullmatch(r"[a-z0-9_]{1,64}", name) for name in listed)
    for tool in listed.values():
        assert tool.description
        assert tool.input_schema["type"] == "object"
        Draft202012Validator.check_schema(tool.input_schema)
        assert tool.output_schema
        assert tool.output_schema["type"] == "object"
        Draft202012Validator.check_schema(tool.output_schema)


def test_the_schema_of_a_tool_is_that_of_its_request(listed: dict[str, types.Tool]) -> None:
    assert listed["spectrum_hunt"].input_schema == find("spectrum.hunt").schema()["parameters"]


def test_hints_say_which_tools_write_files(listed: dict[str, types.Tool]) -> None:
    """Those whose request names an output replace a file of that name; the others only compute."""
    for seen, name in {name.replace(".", "_"): name for name in CATALOGUE}.items():
        hints = listed[seen].annotations
        assert hints
        writes = any(field.startswith("out") for field in find(name).request.model_fields)
        assert (hints.read_only_hint, hints.destructive_hint) == (not writes, writes)
        assert hints.open_world_hint is False
    start = listed["run_start"].annotations
    assert start
    assert (start.read_only_hint, start.idempotent_hint, start.open_world_hint) == (False, False, True)


def test_a_result_is_structured_short_as_text_and_recorded(desk: Desk) -> None:
    """The client has checked the structured result against the output schema."""
    assert (
        call(desk, "files_add", {"path": "spectrum.parquet"}).structured_content["file"] == "/inputs/spectrum.parquet"
    )
    found = call(desk, "spectrum_count", COUNT | {"events": "/inputs/spectrum.parquet"})
    assert not found.is_error
    result = found.structured_content["result"]
    assert result["excess"] == pytest.approx(300, abs=4 * result["excess_error"])
    told = text_of(found)
    assert told["result"]["excess"] == float(f"{result['excess']:.5g}")
    assert "background" in told["fields"]
    assert "fields" not in text_of(call(desk, "spectrum_count", COUNT | {"events": "/inputs/spectrum.parquet"}))
    event = next(event for event in events_of(desk) if isinstance(event, ToolCalled))
    assert (event.tool, event.result) == ("spectrum.count", result)
    told_of = next(event for event in events_of(desk) if isinstance(event, Told))
    assert told_of.facts["copy_of"] == "spectrum.parquet"


def test_files_that_one_call_writes_are_read_by_the_next(desk: Desk) -> None:
    found = call(desk, "spectrum_hunt", {**COUNT, "events": "/inputs/spectrum.parquet"} | {"window": None})
    assert found.is_error  # `window` is not its field
    hunt = {name: value for name, value in COUNT.items() if name != "window"} | {"events": "/inputs/spectrum.parquet"}
    found = call(desk, "spectrum_hunt", hunt)
    assert found.structured_content["files"] == ["spectrum.parquet"]
    again = call(desk, "spectrum_count", COUNT | {"events": "spectrum.parquet", "column": "counts"})
    assert "no such file" not in json.dumps(again.structured_content)
    made = call(desk, "files_list", {}).structured_content["made"]
    assert made == ["/workspace/i0/bench/spectrum.parquet"]


def test_a_table_is_brought_in_as_parquet_without_its_labels(desk: Desk) -> None:
    added = call(desk, "files_add", {"path": "muons.csv"}).structured_content
    assert added["table"] == "/inputs/muons.csv.parquet"
    assert {column["name"]: column["kind"] for column in added["sees"]["columns"]} == {
        "m": "number",
        "is_signal": "label",
    }
    assert not call(desk, "spectrum_count", COUNT | {"events": added["table"]}).is_error
    wrong = call(desk, "spectrum_count", COUNT | {"events": added["table"], "column": "is_signal"})
    assert wrong.structured_content["error"]["field"]


def test_an_error_names_field_value_and_what_is_allowed(desk: Desk) -> None:
    found = call(desk, "spectrum_count", COUNT | {"events": "/inputs/nothing.parquet"})
    assert found.is_error
    assert found.structured_content["error"] == text_of(found)["error"]
    assert found.structured_content["error"].keys() >= {"field", "value", "allowed"}
    assert found.structured_content["error"]["field"] == "events"


def test_a_long_result_is_linked_and_not_handed_over(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "INLINE", 100)

    async def both(client: Client) -> tuple[types.CallToolResult, types.ReadResourceResult]:
        found = await client.call_tool("spectrum_count", COUNT | {"events": "/inputs/spectrum.parquet"})
        return found, await client.read_resource(found.structured_content["resource"])

    found, read = talk(desk, both)
    assert found.structured_content["result"] is None
    link = found.content[-1]
    assert isinstance(link, types.ResourceLink)
    assert link.uri == found.structured_content["resource"]
    contents = read.contents[0]
    assert isinstance(contents, types.TextResourceContents)
    assert json.loads(contents.text)["result"]["observed"] > 300


def test_a_tool_that_is_not_there_is_an_error_of_the_protocol(desk: Desk) -> None:
    async def names(client: Client) -> list[str]:
        said = []
        for name in ("spectrum.count", "../run_start", "run_start\0", "x" * 5000):
            with pytest.raises(MCPError) as caught:
                await client.call_tool(name, {})
            said.append(str(caught.value))
        return said

    assert max(map(len, talk(desk, names))) < 300


def test_arguments_that_no_trace_can_hold_are_refused(desk: Desk) -> None:
    deep: Any = 1.0
    for _ in range(30):
        deep = [deep]
    before = len(events_of(desk))
    for arguments in ({"events": deep}, {"events": "\ud800"}):
        assert call(desk, "spectrum_count", arguments).structured_content["error"]["field"] == "arguments"
    assert len(events_of(desk)) == before


@pytest.mark.parametrize(
    "name", ["/inputs/$(touch x).parquet", "a\nb", "\x1b[2J\u202e", "-rf", "../../../etc/passwd", "/proc/self/environ"]
)
def test_hostile_names_are_only_names(desk: Desk, name: str) -> None:
    found = call(desk, "spectrum_count", COUNT | {"events": name})
    assert found.is_error
    said = json.dumps(found.structured_content, ensure_ascii=False) + text_of(found)["error"]["value"]
    assert not re.search("[\x1b\u202e]", said)


def test_the_view_shows_the_bench_as_a_run(desk: Desk) -> None:
    assert desk.bench.run_dir
    answers = Answers(Library(desk.library.folder))
    page = json.loads(answers.answer(f"/api/runs/{desk.bench.run_dir.name}").body)
    assert not page["overview"]["card"]["damage"]
    assert any(row["title"] == "spectrum.count" and row["section"] == "0" for row in page["rows"])


def sandboxes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "bwrap" in child.name()]


def test_a_long_call_tells_of_its_progress_and_ends_when_it_is_cancelled(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PULSE", 0.2)
    for path in ("sleeper.py", "resamples.json"):
        call(desk, "files_add", {"path": path})
    heard: list[float] = []

    async def cancelled(client: Client) -> None:
        with anyio.CancelScope() as scope:

            async def progress(done: float, total: float | None, message: str | None) -> None:
                heard.append(done)
                if len(heard) >= 3 and sandboxes():
                    scope.cancel()

            await client.call_tool("analysis_repeat", SLEEPER, progress_callback=progress)
        assert scope.cancelled_caught

    talk(desk, cancelled)
    assert heard == sorted(heard)
    assert not sandboxes()
    last = events_of(desk)[-1]
    assert isinstance(last, Trouble)
    assert last.text == "analysis.repeat: cancelled by the client"


def test_after_that_the_files_of_finished_calls_are_still_there(desk: Desk) -> None:
    found = call(desk, "spectrum_count", COUNT | {"events": "spectrum.parquet", "column": "none"})
    assert "no such file" not in found.structured_content["error"]["allowed"]
    assert Path(str(desk.bench.run_dir), "workspace", "i0", "bench", "spectrum.parquet").is_file()


def test_a_call_that_waits_can_be_cancelled_and_the_one_before_it_goes_on(desk: Desk) -> None:
    async def two(client: Client) -> types.CallToolResult:
        found: list[types.CallToolResult] = []

        async def first() -> None:
            found.append(await client.call_tool("spectrum_count", COUNT | {"events": "/inputs/spectrum.parquet"}))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            await anyio.sleep(0.1)
            with anyio.move_on_after(0.1):
                await client.call_tool("spectrum_count", COUNT | {"events": "/inputs/spectrum.parquet"})
        return found[0]

    before = sum(isinstance(event, ToolCalled) for event in events_of(desk))
    assert not talk(desk, two).is_error
    assert sum(isinstance(event, ToolCalled) for event in events_of(desk)) == before + 1
