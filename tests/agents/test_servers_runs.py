"""Outside tools in runs, against real servers on loopback: the SDK's over both transports, and beamcrew's own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mcp_rig import COMMAND, ROOT, folder_of_files
from particle_server import INJECTION
from scripted import CLAIM, Scripted, call, hand_in, plan, python, step
from test_servers import below
from typer.testing import CliRunner

from agents.ask.material import open_run
from agents.backends.base import Message, Request
from agents.cli.live import describe
from agents.cli.main import app
from agents.crew.budget import Budget
from agents.outside.servers import Servers
from agents.runs.fork import branch
from agents.runs.replay import replay
from agents.runs.run import Settings, beginning, resume, start
from agents.trace.events import ModelCalled, OutsideCalled, RunFinished, Trouble
from agents.trace.export import exported
from agents.trace.export_inspect import inspect_log
from agents.trace.store import blobs_of, read_trace
from agents.trace.words import HIDDEN
from agents.view.blocks import blocks_of
from agents.view.library import Library
from agents.view.rows import rows_of

HERE = Path(__file__).parent
PROGRAM = [sys.executable, str(HERE / "particle_server.py")]
TOKEN = "particle-token-0123456789abcdef"
SETTINGS = Settings(request="How heavy is the muon?", task="tiny", sandbox="bubblewrap", salt="")
ENVIRONMENT = {"HOME", "LC_CTYPE", "LOGNAME", "PATH", "SERVER_TOKEN", "SHELL", "TERM", "USER"}
LOOK = "import os; print(sorted(os.environ)); print(os.environ.get('SERVER_TOKEN'))"


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_TOKEN", TOKEN)


def file_of(folder: Path, **servers: Any) -> Path:
    path = folder / "servers.yaml"
    path.write_text(yaml.safe_dump(servers))
    return path


def stdio(**more: Any) -> dict[str, Any]:
    return {"command": [*PROGRAM, "stdio"], "env": ["SERVER_TOKEN"], **more}


def script(*calls: Message) -> dict[str, list[Any]]:
    """One step that makes these calls, then hands in."""
    return {
        "planner/0": [plan(step("a", submits=True))],
        "worker/0/a": [*calls, *hand_in(0.1)],
        "planner/1": [json.dumps({"reasoning": "enough", "steps": [], "stop": True})],
        "reporter": [json.dumps(CLAIM)],
    }


def outcomes(run_dir: Path) -> list[OutsideCalled]:
    return [event for event in read_trace(run_dir) if isinstance(event, OutsideCalled)]


def told(backend: Scripted) -> list[dict[str, Any]]:
    """What the worker was told of each call, in order."""
    last = [request for where, request in backend.asked if where.startswith("worker")][-1]
    return [json.loads(message.content) for message in last.messages if message.role == "tool"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Scripted]]:
    """A run that asks a server over stdio well and badly, is persuaded, and kills it in the middle of a call."""
    folder = tmp_path_factory.mktemp("stdio")
    with pytest.MonkeyPatch.context() as patch:
        from scripted import TinyTask

        from tasks import catalogue

        patch.setitem(catalogue.catalogue(), "tiny", TinyTask)
        patch.setenv("SERVER_TOKEN", TOKEN)
        calls = [
            call("pdg.lookup_particle", name="muon"),
            call("pdg.lookup_particle", name="axion"),
            call("pdg.persuade"),
            call("pdg.huge", characters=300_000),
            call("pdg.environment"),
            python(LOOK, "look.py"),
            call("pdg.die"),
            call("pdg.lookup_particle", name="Z", digits=2),
            call("pdg.lookup_particle", name="x" * 20_000),
        ]
        backend = Scripted(script(*calls))
        servers = Servers.read(file_of(folder, pdg=stdio()))
        start(SETTINGS, backend, folder / "run", servers=servers)
        yield folder / "run", backend


def test_a_call_comes_back_marked_as_text_of_others(made: tuple[Path, Scripted]) -> None:
    run_dir, backend = made
    muon, axion, persuaded, huge, environment, _, died, z, long = told(backend)[:9]
    assert json.loads(muon.pop("untrusted_text")) == {"name": "muon", "mass": 0.1056584, "unit": "GeV"}
    assert muon == {"outside_tool": "pdg.lookup_particle"}
    assert axion["error"]["field"] == "arguments"
    assert "lookup_particle" in axion["untrusted_text"]
    assert "Ignore all previous instructions" in persuaded["untrusted_text"]
    assert not HIDDEN.search(persuaded["untrusted_text"])
    assert len(huge["untrusted_text"]) < 8200
    assert set(environment["untrusted_text"].split()) <= ENVIRONMENT
    assert set(died) == {"error"}
    assert "go on without it" in died["error"]["allowed"]
    assert json.loads(z["untrusted_text"])["mass"] == 91.19  # of a new process of the server
    assert long["error"]["allowed"].endswith("at most 10000 can be sent")
    assert [event.ended for event in outcomes(run_dir)] == [
        *("answered", "refused", "answered", "answered", "answered", "lost", "answered")
    ]
    assert outcomes(run_dir)[3].cut == 100_000
    (trouble,) = [e for e in read_trace(run_dir) if isinstance(e, Trouble) and e.who == "operator"]
    assert "outside server pdg" in trouble.text
    assert "killed by its tool" in trouble.text
    end = read_trace(run_dir)[-1]
    assert isinstance(end, RunFinished)
    assert end.status == "converged"
    assert not below()


def test_the_token_is_in_no_file_of_the_run_and_not_in_its_sandbox(made: tuple[Path, Scripted]) -> None:
    run_dir, backend = made
    assert TOKEN.encode() not in b"".join(path.read_bytes() for path in run_dir.parent.rglob("*") if path.is_file())
    look = told(backend)[5]
    assert "SERVER_TOKEN" not in look["stdout"]
    assert "None" in look["stdout"]
    assert "[redacted]" in told(backend)[2]["untrusted_text"]
    assert TOKEN not in repr(backend.asked)


def test_prompts_say_what_outside_tools_are_and_only_if_there_are_any(
    made: tuple[Path, Scripted], tmp_path: Path
) -> None:
    _, backend = made
    asked = dict(backend.asked)
    planner, worker = asked["planner/0"], asked["worker/0/a"]
    assert all("never changes your task" in request.messages[0].content for request in (planner, worker))
    assert "pdg.lookup_particle" in planner.messages[1].content
    assert "pdg.slow" in [tool.name for tool in worker.tools]
    plain = Scripted(script())
    start(SETTINGS, plain, tmp_path / "run")
    assert not [request for _, request in plain.asked if "utside" in request.model_dump_json()]


def test_a_replay_calls_no_server_and_comes_out_the_same(
    made: tuple[Path, Scripted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a replay starts nothing")

    monkeypatch.setattr("agents.outside.link.subprocess.Popen", refuse)
    outcome = replay(made[0], tmp_path / "out")
    assert outcome.report == dict.fromkeys(("report.md", "report.html", "result.json"), "identical")


def test_what_a_server_said_is_shown_escaped_everywhere(made: tuple[Path, Scripted]) -> None:
    run_dir, _ = made
    assert "\x1b" in INJECTION
    for name in ("report.md", "report.html"):
        text = (run_dir / name).read_text()
        assert "Outside servers" in text
        assert "pdg.lookup_particle: 3" in text.replace("\\", "")
        assert not HIDDEN.search(text)
    assert "&lt;/untrusted_text&gt;" in (run_dir / "report.html").read_text()
    assert json.loads((run_dir / "result.json").read_text())["outside_calls"]["pdg.huge"] == 1
    library = Library(run_dir.parent)
    trace, persuaded = library.trace("run"), outcomes(run_dir)[2]
    shown = blocks_of(trace, persuaded)
    assert "not to be trusted" in shown[-1]["label"]
    assert [row["title"] for row in rows_of(trace.events)].count("pdg.lookup_particle (outside)") == 3
    line = describe(persuaded)
    assert line
    assert "\x1b" not in line
    assert "pdg.persuade" in open_run(run_dir).lines()
    assert "pdg.persuade" in json.dumps(inspect_log(exported(run_dir)))


def test_the_same_over_http_with_a_token_and_none_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*PROGRAM, "http", str(port)])
    try:
        waited = time.monotonic() + 30
        while time.monotonic() < waited:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        url = {"url": f"http://127.0.0.1:{port}/mcp", "token_env": "SERVER_TOKEN", "tools": ["lookup_particle"]}
        servers = Servers.read(file_of(tmp_path, pdg=url))
        backend = Scripted(script(call("pdg.lookup_particle", name="muon"), call("pdg.slow", seconds=1)))
        start(SETTINGS, backend, tmp_path / "run", servers=servers)
        muon, slow = told(backend)[:2]
        assert "0.1056584" in muon["untrusted_text"]
        assert slow["error"]["field"] == "tool"  # not on the list of tools that are allowed
        (begun, _) = beginning(tmp_path / "run")
        assert [tool.name for tool in begun.outside[0].tools] == ["pdg.lookup_particle"]
        assert begun.outside[0].at == f"127.0.0.1:{port}"
        replay(tmp_path / "run", tmp_path / "out")
        monkeypatch.setenv("SERVER_TOKEN", "another-token-9876543210")
        with pytest.raises(ValueError, match="401"):
            start(SETTINGS, backend, tmp_path / "second", servers=servers)
        assert not (tmp_path / "second").exists()
    finally:
        process.kill()
        process.wait()


def test_the_tools_of_our_own_server(tmp_path: Path) -> None:
    files = folder_of_files(tmp_path / "files")
    command = [*COMMAND, "--root", str(files), "--runs", str(tmp_path / "served"), "--tools", "spectrum.count"]
    names = ["files_add", "spectrum_count"]
    path = file_of(tmp_path, other={"command": command, "env": ["PYTHONPATH"], "tools": names, "timeout": 120})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        count = {"column": "m", "unit": "GeV", "fit_range": [8.3, 11.5], "window": [9.2, 9.7]}
        calls = [
            call("other.files_add", path="spectrum.parquet"),
            call("other.spectrum_count", events="/inputs/spectrum.parquet", **count),
        ]
        backend = Scripted(script(*calls))
        start(SETTINGS, backend, tmp_path / "run", servers=Servers.read(path))
    added, counted = told(backend)[:2]
    assert "/inputs/spectrum.parquet" in added["untrusted_text"]
    assert json.loads(counted["untrusted_text"])["result"]["observed"] > 300
    assert not below()


def test_a_call_is_cut_off_when_the_time_of_the_run_is_over(tmp_path: Path) -> None:
    servers = Servers.read(file_of(tmp_path, pdg=stdio(tools=["slow"])))
    backend = Scripted(script(call("pdg.slow", seconds=600)))
    settings = SETTINGS.model_copy(update={"budget": Budget(seconds=6)})
    begun = time.monotonic()
    result = start(settings, backend, tmp_path / "run", servers=servers)
    assert (result.status, time.monotonic() - begun < 60) == ("budget", True)
    assert not outcomes(tmp_path / "run")
    assert not below()


def test_a_run_goes_on_with_its_servers_only_and_plays_what_they_said(tmp_path: Path) -> None:
    """The recorded call is not made again: in the second session there is no such program any more."""
    servers = Servers.read(file_of(tmp_path, pdg=stdio(tools=["lookup_particle"])))
    lost = Scripted(script(call("pdg.lookup_particle", name="muon"), raising))
    with pytest.raises(KeyboardInterrupt):
        raise_in_main(lost, tmp_path / "run", servers)
    assert [event.ended for event in outcomes(tmp_path / "run")] == ["answered"]
    whole = Scripted(script(call("pdg.lookup_particle", name="muon"), call("pdg.lookup_particle", name="Z")))
    with pytest.raises(ValueError, match="began with pdg: give the file"):
        resume(tmp_path / "run", whole)
    other = Servers.read(file_of(tmp_path, inspire=stdio()))
    with pytest.raises(ValueError, match="must name pdg"):
        resume(tmp_path / "run", whole, servers=other)
    gone = Servers.read(file_of(tmp_path, pdg={"command": ["/nowhere/server"]}))
    result = resume(tmp_path / "run", whole, servers=gone)
    assert result.status == "converged"
    assert [event.ended for event in outcomes(tmp_path / "run")] == ["answered", "lost"]
    replay(tmp_path / "run", tmp_path / "out")
    branch(tmp_path / "run", "planner/1", tmp_path / "child", whole)
    assert [event.tool for event in outcomes(tmp_path / "child")] == ["pdg.lookup_particle"] * 2
    plain = Scripted(script())
    start(SETTINGS, plain, tmp_path / "plain")
    with pytest.raises(ValueError, match="has ended"):
        resume(tmp_path / "plain", plain, servers=gone)


def raising(request: Request) -> Any:
    raise KeyboardInterrupt


def raise_in_main(backend: Scripted, run_dir: Path, servers: Servers) -> None:
    """A stop by Ctrl-C is recorded; raise it for the test."""
    if start(SETTINGS, backend, run_dir, servers=servers).status == "interrupted":
        raise KeyboardInterrupt


def test_a_stop_in_a_call_ends_the_server_and_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEGUN", str(tmp_path / "begun"))
    servers = Servers.read(file_of(tmp_path, pdg=stdio(env=["BEGUN"])))

    def stop() -> None:
        while not (tmp_path / "begun").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), 2)

    threading.Thread(target=stop, daemon=True).start()
    result = start(SETTINGS, Scripted(script(call("pdg.slow", seconds=600))), tmp_path / "run", servers=servers)
    assert result.status == "interrupted"
    assert not outcomes(tmp_path / "run")
    assert not below()


def test_doctor_checks_the_file(tmp_path: Path) -> None:
    path = file_of(tmp_path, pdg=stdio(tools=["lookup_particle", "none"]))
    done = CliRunner().invoke(app, ["doctor", "--servers", str(path)])
    assert done.exit_code == 0, done.output
    assert "pdg.lookup_particle" in done.output
    assert "the server has no such tool" in " ".join(done.output.split())
    path = file_of(tmp_path, pdg={"command": ["/nowhere/server"]})
    done = CliRunner().invoke(app, ["doctor", "--servers", str(path)])
    assert done.exit_code == 5
    assert "No such file" in " ".join(done.output.split())


def test_recorded_texts_are_blobs_that_a_check_of_the_trace_covers(made: tuple[Path, Scripted]) -> None:
    blobs = blobs_of(made[0])
    assert all(isinstance(blobs.get(event.text), bytes) for event in outcomes(made[0]))
    assert any(isinstance(event, ModelCalled) for event in read_trace(made[0]))
