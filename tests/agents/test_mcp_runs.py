"""Runs by handles: cards, a run to its end, one that is cancelled, limits, resources, and what is never told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from mcp import Client, MCPError, types
from mcp_rig import KEY, REQUEST, ROOT, desk_for, gone
from report_runs import SCRIPT, converged
from test_mcp_tools import call, talk

from agents.mcp import resources
from agents.mcp.replies import harmless, written
from agents.mcp.server import Desk
from agents.runs.process import Service
from agents.trace.blobs import REDACTED

WINDOW = {"column": "m", "unit": "GeV", "window": [9.2, 9.7], "fit_range": [8.3, 11.5], "max_iterations": 1}
PAID = Service(backend="openai", model="gpt-test", base_url="http://127.0.0.1:9/v1")


@pytest.fixture(autouse=True)
def process_finds_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = desk_for(tmp_path_factory.mktemp("mcp"), PAID)
    converged(desk.library.folder / "earlier")
    yield desk
    desk.close()


def asked(desk: Desk, tool: str, **arguments: Any) -> Any:
    """The structured result of a call, or its error."""
    found = call(desk, tool, arguments)
    assert found.is_error == ("error" in found.structured_content)
    return found.structured_content


def read(desk: Desk, uri: str) -> types.TextResourceContents:
    async def one(client: Client) -> Any:
        try:
            return (await client.read_resource(uri)).contents[0]
        except MCPError as error:
            return error

    found = talk(desk, one)
    if isinstance(found, MCPError):
        raise found
    assert isinstance(found, types.TextResourceContents)
    return found


def test_a_card_says_what_would_be_done_or_what_has_to_be_known(desk: Desk) -> None:
    card = asked(desk, "run_card", request="Which resonances are there between 8.5 and 11 GeV?", data="muons.csv")
    assert (card["ready"], card["card"]["task"]) == (True, "spectrum")
    question = asked(desk, "run_card", request="Which resonances are there between 80 and 110 GeV?", data="muons.csv")
    assert not question["ready"]
    assert question["questions"][0]["about"] == "search_range"
    unclear = asked(desk, "run_card", request="Make me a sandwich.")
    assert (unclear["ready"], unclear["card"]) == (False, None)
    assert "task" in unclear["about"]
    assert asked(desk, "run_card", request="x", data="/etc/passwd")["error"]["field"] == "data"
    assert [each["handle"] for each in asked(desk, "run_list")["runs"]] == ["earlier"]


def test_a_card_with_questions_starts_nothing(desk: Desk) -> None:
    wrong = asked(desk, "run_start", request="Which resonances are there between 80 and 110 GeV?", data="muons.csv")
    assert wrong["error"]["field"] == "options"
    assert "search_range" in wrong["error"]["allowed"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "limits"),
        ({"limits": {"seconds": 10}}, "limits"),
        ({"limits": {"dollars": 1}}, "run_start"),  # the operator has given no price
        ({"limits": {"dollars": -1}}, "limits.dollars"),
        ({"backend": "script", "options": {"data": "muons.csv"}}, "options"),
        ({"backend": "script", "options": {"cut": "/etc/passwd"}}, "options.cut"),
        ({"backend": "script", "options": {"width": 99}}, "width"),
        ({"backend": "script", "task": "nothing"}, "task"),
        ({"backend": "local:/etc/passwd"}, "backend"),
        ({"backend": "script", "data": "../runs/earlier/trace.jsonl"}, "data"),
        ({"base_url": "http://elsewhere.example"}, "base_url"),
    ],
)
def test_what_cannot_be_started_is_refused_with_a_field(desk: Desk, given: dict[str, Any], field: str) -> None:
    wrong = asked(desk, "run_start", **({"request": REQUEST, "task": "spectrum", "data": "muons.csv"} | given))
    assert wrong["error"]["field"] == field
    assert len(asked(desk, "run_list")["runs"]) == 1


def test_a_run_is_started_followed_and_read(desk: Desk) -> None:
    begun = asked(
        desk, "run_start", request=REQUEST, task="spectrum", data="muons.csv", backend="script", options=WINDOW
    )
    handle = begun["handle"]
    assert begun["state"] == "starting"
    early = asked(desk, "run_result", handle=handle)
    assert early["error"]["field"] == "handle"
    state = begun
    while state["state"] in ("starting", "running"):
        state = asked(desk, "run_status", handle=handle, wait=20)
    assert state["state"] in ("converged", "exhausted"), state
    assert state["headline"]
    assert asked(desk, "run_list")["runs"][0]["handle"] == handle
    found = asked(desk, "run_result", handle=handle)
    assert found["result"]["status"] == state["state"]
    assert found["result"]["claims"]
    for uri in found["resources"]:
        assert read(desk, uri).text
    card = json.loads(read(desk, resources.uri(handle, "card")).text)
    assert card["task"] == "spectrum"
    assert card["options"]["window"] == WINDOW["window"]
    assert len(json.loads(read(desk, resources.uri(handle, "plan")).text)) == 1
    assert "script" in read(desk, resources.uri(handle, "report")).text
    assert KEY.encode() not in b"".join(path.read_bytes() for path in desk.library.folder.rglob("*") if path.is_file())
    assert asked(desk, "run_cancel", handle=handle)["state"] == state["state"]  # nothing to cancel


def test_a_run_is_cancelled_with_all_that_it_started(desk: Desk) -> None:
    """It is one that would take minutes: a search for resonances by the analyst."""
    options = {name: value for name, value in WINDOW.items() if name != "window"}
    before = psutil.Process().children(recursive=True)
    handle = asked(
        desk, "run_start", request=REQUEST, task="spectrum", data="muons.csv", backend="analyst", options=options
    )["handle"]
    while asked(desk, "run_status", handle=handle)["state"] == "starting":
        pass
    family = [process for process in psutil.Process().children(recursive=True) if process not in before]
    assert family
    assert asked(desk, "run_cancel", handle=handle)["state"] == "interrupted"
    assert gone(family)
    assert asked(desk, "run_result", handle=handle)["result"]["status"] == "interrupted"


@pytest.mark.parametrize("handle", ["nothing", "../runs/earlier", "/etc", "a\0b", "\u202e", "earlier/blobs", ".."])
def test_a_name_that_is_no_run_is_refused(desk: Desk, handle: str) -> None:
    for tool in ("run_status", "run_result", "run_cancel"):
        assert asked(desk, tool, handle=handle)["error"]["field"] == "handle"
    with pytest.raises(MCPError):
        read(desk, resources.uri(handle, "card"))


def test_a_run_that_others_started_is_read_and_not_cancelled(desk: Desk) -> None:
    assert asked(desk, "run_status", handle="earlier")["iterations"] == 3
    assert asked(desk, "run_cancel", handle="earlier")["error"]["field"] == "handle"


def test_resources_are_listed_and_text_of_models_stays_text(desk: Desk) -> None:
    async def lists(client: Client) -> tuple[list[str], list[str]]:
        listed = [each.uri for each in (await client.list_resources()).resources]
        return listed, [each.uri_template for each in (await client.list_resource_templates()).resource_templates]

    listed, templates = talk(desk, lists)
    assert "beamcrew://runs/earlier/result" in listed
    assert "beamcrew://runs/earlier/report" not in listed  # not written
    assert set(templates) >= {f"beamcrew://runs/{{run}}/{part}" for part in resources.PARTS}
    assert SCRIPT in json.loads(read(desk, "beamcrew://runs/earlier/result").text)["request"]


@pytest.mark.parametrize(
    "uri",
    [
        *("beamcrew://runs/earlier/trace.jsonl", "beamcrew://runs/earlier/../earlier/card", "file:///etc/passwd"),
        *("beamcrew://runs/%2e%2e%2fruns%2fearlier/card", "beamcrew://runs/earlier/calls/0", "x" * 5000),
        *("beamcrew://runs/earlier/calls/999", "beamcrew://runs/earlier/report", "beamcrew://runs//card"),
    ],
)
def test_other_addresses_stand_for_nothing(desk: Desk, uri: str) -> None:
    with pytest.raises(MCPError) as caught:
        read(desk, uri)
    assert len(str(caught.value)) < 600


def test_replies_have_no_keys_and_no_characters_that_deceive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_SERVICE_TOKEN", "token-planted-in-the-environment-98765")
    said = {"a\u202e": [f"{KEY} \x1b[2J", "token-planted-in-the-environment-98765", 1.5, None]}
    assert harmless(said) == {"a\\u202e": [f"{REDACTED} \\x1b[2J", REDACTED, 1.5, None]}
    assert json.loads(written({"n": float("nan"), "x": [float("inf"), 2.0]})) == {"n": None, "x": [None, 2.0]}


def test_the_order_of_a_process_has_no_key(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from agents.view import handles

    ordered: list[str] = []

    def record(self: Any, order: Any) -> Any:
        ordered.append(order.model_dump_json())
        raise ValueError("only recorded")

    monkeypatch.setattr(handles.Handles, "start", record)
    limits = {"tokens": 1000}
    wrong = asked(desk, "run_start", request=f"{REQUEST} {KEY}", task="spectrum", data="muons.csv", limits=limits)
    assert wrong["error"]["allowed"] == "only recorded"
    assert json.loads(ordered[0])["service"]["model"] == "gpt-test"
    assert json.loads(ordered[0])["settings"]["budget"]["tokens"] == 1000


def test_a_run_that_is_refused_says_why(desk: Desk) -> None:
    """Its process ends before there is a trace: the table has no such column."""
    wrong = WINDOW | {"column": "nothing"}
    begun = asked(
        desk, "run_start", request=REQUEST, task="spectrum", data="muons.csv", backend="script", options=wrong
    )
    while (state := asked(desk, "run_status", handle=begun["handle"], wait=20))["state"] == "starting":
        pass
    assert state["state"] == "refused"
    assert "nothing" in state["reason"]
    assert Path(desk.library.folder, begun["handle"]).is_dir()


def test_the_process_of_a_run_ends_as_its_run_did(desk: Desk, tmp_path: Path) -> None:
    """Also while the server lives and holds its standard input open."""
    settings = {"request": REQUEST, "task": "spectrum", "options": {"data": str(tmp_path / "nothing.csv")}}
    order = {"run_dir": str(tmp_path / "run"), "settings": settings, "service": {"backend": "script"}}
    command = [sys.executable, "-P", "-m", "agents.runs.process"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        assert process.wait(120) == 2
        assert "nothing.csv" in process.stderr.read().decode()
