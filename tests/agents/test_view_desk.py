"""What is posted to the view: only pages of this server can, and a run is begun, answered, forked and asked by it."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import scripted
from mcp_rig import folder_of_files
from report_runs import converged
from test_trace_store import STARTED

from agents.backends.base import Usage
from agents.runs import at_work
from agents.runs.answers import FILE
from agents.runs.process import Order, Service
from agents.trace.events import Asked, RunFinished, RunResumed
from agents.trace.record import limits_of
from agents.trace.store import Store, read_trace
from agents.view.desk import Desk, House
from agents.view.handles import Handles
from agents.view.library import Library
from agents.view.server import ADDRESS, BODY_MAX, Server
from agents.view.standing import meters, standing

KEY = "sk-planted-in-the-environment-0123456789"
PAID = Service(backend="openai", model="gpt-test", base_url="http://127.0.0.1:9/v1", price="1,2")
REQUEST = "Which resonances are there between 8.5 and 11 GeV?"
HOSTILE = "<img src=x onerror=alert(1)>"


def waiting(run_dir: Path) -> Path:
    """A run of the analyst that waits for an answer to its event 1."""
    with Store.create(run_dir) as trace:
        trace.append(STARTED.model_copy(update={"backend": "analyst", "is_llm": False, "budget": {"tokens": 1000.0}}))
        trace.append(Asked(where="operator/0/plan", gate="plan", text=HOSTILE, shown={"plan": HOSTILE}))
        trace.append(RunFinished(status="waiting", reason=HOSTILE, seconds=3, usage=Usage(), model_calls=0))
    return run_dir


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    converged(tmp_path / "runs" / "one")
    waiting(tmp_path / "runs" / "two")
    yield from serving(Server(tmp_path / "runs", 0, House(service=PAID, sandbox="bubblewrap")))


def serving(server: Server) -> Iterator[Server]:
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def ordered(monkeypatch: pytest.MonkeyPatch) -> list[Order]:
    """The orders of processes, which are not started."""
    orders: list[Order] = []

    def start(self: Handles, order: Order) -> None:
        order.run_dir.mkdir(exist_ok=True)
        orders.append(order)

    monkeypatch.setattr(Handles, "start", start)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return orders


def send(server: Server, target: str, body: Any, **headers: str | None) -> tuple[int, Any]:
    """As a page of the server sends it, but for these headers; None: without it."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    host = f"127.0.0.1:{server.server_port}"
    sent = {
        "Host": host,
        "Origin": f"http://{host}",
        "Cookie": f"{server.cookie}={server.token}",
        "Content-Type": "application/json",
        "Content-Length": str(len(data)),
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection(ADDRESS, server.server_port, timeout=60)
    connection.putrequest("POST", target, skip_host=True)
    for name, value in sent.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(data)
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply.status, json.loads(text) if reply.getheader("Content-Type") == "application/json" else text


def got(server: Server, target: str) -> Any:
    connection = http.client.HTTPConnection(ADDRESS, server.server_port, timeout=60)
    connection.request("GET", target, headers={"Cookie": f"{server.cookie}={server.token}"})
    return json.loads(connection.getresponse().read())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Cookie": None}, 403),
        ({"Cookie": "beamcrew-1=x"}, 403),
        ({"Origin": None}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),  # another server of this machine: the browser sends it our cookie
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "none"}, 403),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "multipart/form-data"}, 415),
        ({"Content_Type": None}, 415),
        ({"Content_Length": None}, 411),
        ({"Content_Length": "-1"}, 411),
        ({"Content_Length": str(BODY_MAX + 1)}, 413),
        ({"Content_Length": "9999999999999"}, 411),
    ],
)
def test_what_no_page_of_this_server_sends_is_refused(
    server: Server, ordered: list[Order], headers: dict[str, str | None], status: int
) -> None:
    answer = {"asked": 1, "answer": "yes"}
    assert send(server, "/api/runs/two/answer", answer, **headers)[0] == status
    assert not ordered
    assert not (server_folder(server) / "two" / FILE).exists()


def server_folder(server: Server) -> Path:
    return Path(got(server, "/api/runs")["folder"])


def test_the_token_in_the_address_is_not_enough_to_act(server: Server, ordered: list[Order]) -> None:
    target = f"/api/runs/two/answer?token={server.token}"
    assert send(server, target, {"asked": 1, "answer": "yes"}, Cookie=None)[0] == 403
    assert not ordered


def test_a_read_only_view_refuses_every_post_and_offers_none(tmp_path: Path, ordered: list[Order]) -> None:
    waiting(tmp_path / "two")
    for server in serving(Server(tmp_path, 0)):
        for target in ("/api/card", "/api/runs", *(f"/api/runs/two/{what}" for what in ("answer", "stop", "ask"))):
            assert send(server, target, {"asked": 1, "answer": "yes"})[0] == 405
        assert got(server, "/api/start") == {"acts": False}
        assert not got(server, "/api/runs")["acts"]
        assert got(server, "/api/runs/two/desk")["asked"]["text"] == HOSTILE  # as JSON: the page writes text
    assert not ordered


@pytest.mark.parametrize(
    ("target", "body", "status", "words"),
    [
        ("/api/nothing", {}, 404, "nothing is done here"),
        ("/api/runs/two/delete", {}, 404, "nothing is done here"),
        ("/api/runs/nothing/stop", {}, 422, "handle"),
        ("/api/runs/..%2f..%2fetc/stop", {}, 422, "handle"),
        ("/api/runs/one/stop", {}, 422, "no process works on it"),
        ("/api/runs/two/answer", b"{", 422, "body"),
        ("/api/runs/two/answer", {"asked": 1, "answer": "maybe"}, 422, "answer"),
        ("/api/runs/two/answer", {"asked": 1, "answer": "yes", "who": "root"}, 422, "who"),
        ("/api/runs/two/answer", {"asked": 7, "answer": "yes"}, 422, "asked=7"),
        ("/api/runs/two/answer", {"asked": 1, "answer": "say", "words": "wider"}, 422, "reads no words"),
        ("/api/runs/one/answer", {"asked": 1, "answer": "yes"}, 422, "waits for no answer"),
        ("/api/runs/one/resume", {}, 422, "has ended"),
        ("/api/runs/two/resume", {}, 422, "waits for an answer"),
        ("/api/runs/one/fork", {"step": "planner/99", "choice": {"backend": "analyst"}}, 422, "select from"),
        ("/api/runs/one/ask", {"question": " "}, 422, "question"),
        ("/api/runs/one/ask", {"question": "why?", "choice": {"backend": "openai"}}, 422, "dollars or tokens"),
        ("/api/card", {"request": "x", "data": "/nothing/there"}, 422, "no such file"),
        ("/api/card", {"request": "Make me a sandwich."}, 422, "do not understand"),
        ("/api/runs", {"card": "request: x\ntask: nothing"}, 422, "task"),
        ("/api/runs", {"card": "- a list"}, 422, "card"),
        ("/api/runs", {"card": "request: x\ntask: lhco-demo"}, 422, "dollars or tokens"),
    ],
)
def test_what_cannot_be_done_is_said(
    server: Server, ordered: list[Order], target: str, body: Any, status: int, words: str
) -> None:
    got_status, said = send(server, target, body)
    assert (got_status, words in said["error"]) == (status, True), said
    assert KEY not in json.dumps(said)
    assert not ordered


def test_an_answer_is_kept_and_the_run_goes_on_with_its_own_backend(server: Server, ordered: list[Order]) -> None:
    assert got(server, "/api/runs/two/desk")["asked"] | {"shown": ""} == {
        **{"n": 1, "gate": "plan", "text": HOSTILE, "shown": "", "words": False, "given": False, "job": ""},
    }
    assert send(server, "/api/runs/two/answer", {"asked": 1, "answer": "no", "words": "too dear"})[0] == 200
    given = json.loads((server_folder(server) / "two" / FILE).read_text())
    assert (given["answer"], given["words"], given["via"]) == ("no", "too dear", "browser")
    (order,) = ordered
    assert (order.settings, order.service, order.outlive) == (None, Service(backend="analyst"), True)
    assert got(server, "/api/runs/two/desk")["asked"]["given"]
    assert "answered already" in send(server, "/api/runs/two/answer", {"asked": 1, "answer": "yes"})[1]["error"]


def test_a_card_is_shown_and_what_was_shown_is_started(server: Server, ordered: list[Order], tmp_path: Path) -> None:
    data = folder_of_files(tmp_path / "files") / "muons.csv"
    asked = {"request": "Which resonances are there between 80 and 110 GeV?", "data": str(data)}
    assert [each["about"] for each in send(server, "/api/card", asked)[1]["questions"]] == ["search_range"]
    shown = send(server, "/api/card", asked | {"options": {"search_range": [8.5, 11]}})[1]
    assert not shown["questions"]
    edited = shown["card"] + "  max_iterations: 2\n" if shown["card"].rstrip().endswith("11") else shown["card"]
    body = {"card": edited, "budget": {"dollars": 2, "seconds": 600}, "approve": {"plan": "first"}}
    status, said = send(server, "/api/runs", body)
    assert status == 200, said
    (order,) = ordered
    assert order.settings
    assert order.run_dir.name == said["name"]
    assert (order.settings.task, order.settings.request) == ("spectrum", asked["request"])
    assert order.settings.options["search_range"] == [8.5, 11]
    assert (order.settings.budget.dollars, order.settings.approve.plan) == (2, "first")
    assert order.service == PAID
    assert KEY not in order.model_dump_json()
    assert got(server, f"/api/runs/{said['name']}/desk").get("error")  # nothing was started


def test_another_model_has_another_price_and_the_same_address(server: Server, ordered: list[Order]) -> None:
    card = "request: x\ntask: lhco-demo"
    other = {"card": card, "choice": {"backend": "openai", "model": "gpt-other"}, "budget": {"dollars": 1}}
    assert "price" in send(server, "/api/runs", other)[1]["error"]
    other["choice"] = {"backend": "openai", "model": "gpt-other", "price": "3,4"}
    assert send(server, "/api/runs", other)[0] == 200
    assert ordered[0].service == PAID.model_copy(update={"model": "gpt-other", "price": "3,4"})
    assert "base_url" in send(server, "/api/runs", other | {"choice": {"base_url": "http://evil.example"}})[1]["error"]


def test_a_question_is_answered_from_the_record_and_kept(server: Server) -> None:
    status, said = send(server, "/api/runs/one/ask", {"question": "What did it cost?"})
    assert (status, said["by"], said["answered"]) == (200, "analyst", True)
    (kept,) = got(server, "/api/runs/one/desk")["answers"]
    assert (kept["question"], kept["text"]) == ("What did it cost?", said["text"])
    assert "[#" in kept["text"]


def test_what_is_left_follows_the_limits_that_hold_now() -> None:
    resumed = RunResumed(sandbox=STARTED.sandbox, budget={"dollars": 2.0})
    begun = STARTED.model_copy(update={"budget": {"dollars": 1.0, "seconds": 60.0}})
    assert limits_of([begun]) == {"dollars": 1.0, "seconds": 60.0}
    assert limits_of([begun, RunResumed(sandbox=STARTED.sandbox)]) == {"dollars": 1.0, "seconds": 60.0}
    assert limits_of([begun, resumed]) == {"dollars": 2.0}
    cost, time = meters({"dollars": 2.0}, {"dollars": 0.5, "seconds": 90.0})
    assert (cost["used"], cost["limit"], cost["left"], cost["share"]) == ("$0.5000", "$2.0000", "$1.5000", 0.25)
    assert (time["used"], time["share"]) == ("1 min 30 s", None)


def test_a_run_begun_at_a_terminal_is_stopped_and_its_folder_forgets_the_process(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    words = ["run", "--task", "tiny", "--sandbox", "bubblewrap", "--runs", str(runs), "?"]
    program = [sys.executable, scripted.__file__, "slow", str(tmp_path / "calls"), *words]
    terminal = subprocess.Popen(program, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(runs.glob("*/workspace/i0/c/begun")):
        assert terminal.poll() is None
        time.sleep(0.05)
    handles = Handles(Library(runs))
    (run_dir,) = runs.iterdir()
    assert handles.find(run_dir.name).alive
    assert not handles.ours(run_dir.name)
    desk = Desk(handles, House())
    assert "stop" in standing(handles, handles.find(run_dir.name))["can"]
    assert desk.take(["api", "runs", run_dir.name, "stop"], b"{}") == {"name": run_dir.name}
    assert terminal.wait(30) == 130
    last = read_trace(run_dir)[-1]
    assert isinstance(last, RunFinished)
    assert last.status == "interrupted"
    assert not (run_dir / at_work.FILE).exists()
    assert not handles.find(run_dir.name).alive


def test_a_process_of_another_machine_or_another_start_is_nobodys(tmp_path: Path) -> None:
    at_work.mark(tmp_path, os.getpid(), alone=False)
    mine = at_work.worker_of(tmp_path)
    assert mine
    assert mine.lives
    assert not mine.model_copy(update={"here": "another boot pid:[1]"}).lives
    assert not mine.model_copy(update={"began": "1"}).lives
    at_work.unmark(tmp_path)
    assert at_work.worker_of(tmp_path) is None
    (tmp_path / at_work.FILE).write_text('{"pid": 1}')
    assert at_work.worker_of(tmp_path) is None
    at_work.mark(tmp_path, os.getpid(), alone=True)
    at_work.mark(tmp_path, os.getpid(), alone=False)  # by the session in the process that a server has begun
    at_work.unmark(tmp_path)
    kept = at_work.worker_of(tmp_path)
    assert kept
    assert kept.alone
