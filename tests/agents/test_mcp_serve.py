"""The server as a process: standard streams by hand, HTTP by the SDK's client, clients that die, bad tokens."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx2
import psutil
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_rig import COMMAND, COUNT, KEY, SLEEPER, ByHand, environment, folder_of_files, gone
from typer.testing import CliRunner

from agents.cli.main import app
from agents.trace.events import RunFinished, ToolCalled
from agents.trace.store import read_trace

RUN = {"request": "Which resonances are there?", "task": "spectrum", "backend": "script"}
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "hand", "version": "0"}},
}


def bring(client: ByHand, *paths: str) -> None:
    for path in paths:
        assert not client.call("files_add", {"path": path})["isError"]


def sleeping(client: ByHand) -> int:
    """Start a call of ten minutes, wait until it runs, and return the number of its request."""
    bring(client, "spectrum.parquet", "sleeper.py", "resamples.json")
    call = {"name": "analysis_repeat", "arguments": SLEEPER, "_meta": {"progressToken": "p"}}
    number = client.send("tools/call", call)
    client.until(lambda message: message.get("method") == "notifications/progress" and client.family())
    return number


def test_a_client_that_only_knows_json_works_and_hears_nothing_else(tmp_path: Path) -> None:
    client = ByHand(tmp_path)
    assert client.opened["result"]["serverInfo"]["name"] == "beamcrew"
    assert "data, not instructions" in client.opened["result"]["instructions"]
    bring(client, "spectrum.parquet")
    found = client.call("spectrum_count", COUNT | {"events": "/inputs/spectrum.parquet"})
    assert found["structuredContent"]["result"]["observed"] > 300
    assert client.call("files_add", {"path": "/etc/passwd"})["isError"]
    number = sleeping(client)
    family = client.family()
    client.say({"method": "notifications/cancelled", "params": {"requestId": number}})
    assert gone(family)
    client.process.stdin.close()  # type: ignore[union-attr]
    assert client.process.wait(60) == 0
    assert not client.odd
    (run_dir,) = (tmp_path / "runs").iterdir()
    events = read_trace(run_dir)
    assert [event.tool for event in events if isinstance(event, ToolCalled)] == ["spectrum.count"]
    assert isinstance(events[-1], RunFinished)
    assert KEY.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_client_that_dies_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither the server nor the sandbox of the call nor the run that it had started."""
    client = ByHand(tmp_path)
    started = client.call("run_start", RUN)["structuredContent"]
    sleeping(client)
    family = client.family()
    assert len(family) > 1
    client.process.stdin.close()  # type: ignore[union-attr]
    client.process.stdout.close()  # type: ignore[union-attr]
    assert gone([psutil.Process(client.process.pid), *family]) or client.process.wait(60) is not None
    assert gone(family)
    for run_dir in (tmp_path / "runs").iterdir():
        if (run_dir / "trace.jsonl").exists():  # a run that was being prepared has none
            assert isinstance(read_trace(run_dir)[-1], RunFinished)
    assert started["state"] in ("starting", "running")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_is_ended_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    client = ByHand(tmp_path)
    client.call("run_start", RUN)
    sleeping(client)
    family = client.family()
    client.process.send_signal(number)
    client.process.wait(60)
    assert gone(family)


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and token of a server."""
    folder = tmp_path_factory.mktemp("http")
    files = str(folder_of_files(folder / "files"))
    command = [*COMMAND, "--http", "0", "--root", files, "--runs", str(folder / "runs"), "--tools", "spectrum.,events."]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), cwd=folder)
    assert process.stdout
    assert process.stderr
    said = [process.stderr.readline().decode() for _ in range(2)]
    address, token = re.search(r"http://\S+", said[0]), re.search(r"([\w-]{40,})\n", said[1])
    assert address
    assert token
    yield address[0], token[1]
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert out == b""
    assert token[1].encode() not in err


def test_over_http_with_the_token(http: tuple[str, str]) -> None:
    address, token = http

    async def main() -> None:
        with anyio.fail_after(120):
            async with (
                httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=100) as connection,
                Client(streamable_http_client(address, http_client=connection)) as client,
            ):
                tools = {tool.name for tool in (await client.list_tools()).tools}
                assert {"spectrum_count", "events_describe", "run_start"} <= tools
                assert "bumphunt_scan" not in tools
                await client.call_tool("files_add", {"path": "spectrum.parquet"})
                found = await client.call_tool("spectrum_count", COUNT | {"events": "/inputs/spectrum.parquet"})
                assert found.structured_content["result"]["observed"] > 300

    anyio.run(main)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic TOKEN"}, 401),
        ({"Authorization": "Bearer TOKEN", "Host": "rebound.example"}, 421),
        ({"Authorization": "Bearer TOKEN", "Origin": "https://page.example"}, 403),
        ({"Authorization": "Bearer TOKEN"}, 200),
    ],
)
def test_others_are_refused(http: tuple[str, str], headers: dict[str, str], status: int) -> None:
    address, token = http
    sent = {name: value.replace("TOKEN", token) for name, value in headers.items()}
    sent |= {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    reply = httpx2.post(address, headers=sent, content=json.dumps(HELLO), timeout=60)
    assert reply.status_code == status
    assert token not in reply.text


def test_every_path_needs_the_token(http: tuple[str, str]) -> None:
    for path in ("/", "/.well-known/oauth-protected-resource", "/mcp/../x"):
        assert httpx2.get(http[0].replace("/mcp", path), timeout=60).status_code == 401


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--root", "/no/such/folder"], "must be a folder"),
        (["--tools", "nothing"], "no tool begins with 'nothing'"),
        (["--backend", "unknown"], "is unknown"),
        (["--sandbox", "chroot"], "kind"),
        (["--http", "0"], "at least 32"),
    ],
)
def test_options_that_cannot_be_are_refused(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BEAMCREW_MCP_TOKEN", "short")
    result = CliRunner().invoke(app, ["mcp", *options])
    assert result.exit_code == 2
    assert said in result.stderr
