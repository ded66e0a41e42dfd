"""The view in a real browser: what models wrote stays text, new events appear, and a link leads to an event."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Page, needs_chromium, visit
from report_runs import CODE, converged, failed
from test_trace_store import STARTED
from tool_events import called

from agents.backends.base import Message, Reply, Request, ToolCall, Usage
from agents.trace import store as trace_store
from agents.trace.events import (
    Claimed,
    Decided,
    Event,
    Executed,
    Graded,
    ModelCalled,
    Planned,
    RunFinished,
    StepFinished,
    StepStarted,
    Trouble,
)
from agents.trace.observation import Observation
from agents.trace.store import Store
from agents.view.answers import Answer
from agents.view.server import Server
from tasks.convergence import Decision
from tasks.lhco.claims import SearchClaim, SearchSubmission
from tasks.plan import Plan, Step
from tasks.score import Score

pytestmark = needs_chromium

RUN = "document.title='pwned';fetch('/pwned')"
HOSTILE = (
    f'<script>{RUN}</script><img src=x onerror="{RUN}"><svg onload="{RUN}"></svg></pre></textarea></title>'
    f'<a href="javascript:{RUN}">click</a><iframe srcdoc="<script>parent.{RUN}</script>"></iframe>'
    f'" onmouseover="{RUN}" x=\'{{{{constructor.constructor(`{RUN}`)()}}}}\' <b>bold</b> &lt;i&gt; \u2028'
    "\u202egnp.exe\u202c zero\u200bwidth \ufeffmark \U000e0041\U000e0042 \ufdfd"
)


class Watched:
    """A server that remembers what it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.server = Server(folder, 0)
        self.asked: list[str] = []
        self._answers = self.server.answers
        self.server.answers = self._answer

    def _answer(self, target: str) -> Answer:
        self.asked.append(target)
        return self.before(target) or self._answers(target)

    def before(self, target: str) -> Answer | None:
        """Called before each answer."""
        return None


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path / "runs")
    with watched.server:
        thread = threading.Thread(target=watched.server.serve_forever)
        thread.start()
        yield watched
        watched.server.shutdown()
        thread.join()


def look(watched: Watched, target: str, tmp_path: Path, known: bool = True) -> Page:
    """By an address that has the token, as the terminal shows it, unless the browser is not `known`."""
    page, _, event = target.partition("#")
    path, _, query = page.partition("?")
    address = watched.server.address(path)
    address = address + f"&{query}" * bool(query) if known else address.partition("?")[0]
    return visit(f"{address}#{event}", tmp_path / "profile")


def hostile(run_dir: Path) -> list[Event]:
    """A run in which everything that can be chosen by a model, or by a file's name, is an attack."""
    with Store.create(run_dir) as trace:
        request = Request(role="worker", messages=(Message(role="user", content=HOSTILE),))
        call = ToolCall(id="1", name=HOSTILE, arguments=HOSTILE)
        reply = Reply(message=Message(role="assistant", content=HOSTILE, tool_calls=(call,)), model=HOSTILE)
        put = [trace.put(part.model_dump_json().encode()) for part in (request, reply)]
        text, where = trace.put(HOSTILE.encode()), "worker/0/a"
        submission = SearchSubmission(scores=HOSTILE, window=(3.3, 3.7), method=HOSTILE)
        score = Score(metric=HOSTILE, value=1.0, error=0.1, reason=HOSTILE, details={HOSTILE: HOSTILE, "spectrum": {}})
        events: list[Event] = [
            STARTED.model_copy(update={"request": HOSTILE, "backend": HOSTILE, "options": {HOSTILE: HOSTILE}}),
            Planned(iteration=0, plan=Plan(reasoning=HOSTILE, steps=[Step(id="a", goal=HOSTILE, submits=True)])),
            StepStarted(iteration=0, step="a"),
            ModelCalled(
                key="k",
                role=HOSTILE,
                where=where,
                request=put[0],
                reply=put[1],
                model=HOSTILE,
                usage=Usage(),
                seconds=1,
            ),
            Executed(
                key="k",
                where=where,
                argv=["python", HOSTILE],
                cwd=HOSTILE,
                given={HOSTILE: text},
                exit_code=1,
                ended="exit",
                seconds=1,
                stdout=text,
                stderr=text,
                dropped_bytes=0,
                files={f"{HOSTILE}.png": text, f"{HOSTILE}.html": text},
                unsaved=[HOSTILE],
            ),
            called(where=where, tool=HOSTILE, arguments={HOSTILE: HOSTILE}, error={HOSTILE: HOSTILE}, seconds=1),
            StepFinished(
                observation=Observation(iteration=0, step="a", ok=False, summary=HOSTILE, submission=submission),
                seconds=2,
            ),
            Graded(key="k", iteration=0, submission=submission, score=score),
            Decided(iteration=0, decision=Decision(action="converged", reason=HOSTILE, best=0)),
            Claimed(claim=SearchClaim(discovery=True, text=HOSTILE), checks=[]),
            Trouble(who="model", where="worker/0/a", text=HOSTILE),
            RunFinished(status="failed", reason=HOSTILE, seconds=3, usage=Usage(), model_calls=1),
        ]
        return [trace.append(event) for event in events]


def harmless(page: Page) -> None:
    assert [element.attributes.get("src") for element in page.find("script")] == ["/static/app.js"]
    assert {element.tag for element in page.elements}.isdisjoint(
        {"iframe", "b", "i", "object", "embed", "base", "style"}
    )
    for element in page.elements:
        assert not [name for name in element.attributes if name.startswith("on") or name == "style"]
        for name in ("href", "src"):
            address = element.attributes.get(name, "/")
            assert address[0] == "#" or (address[0] == "/" and address[1:2] != "/"), address
    assert "pwned" not in page.find("title")[0].text.split(" · ")
    assert not set(page.text) & set("\u202e\u202c\u200b\ufeff\U000e0041"), "a character that cannot be seen"


def test_the_attack_works_where_nothing_holds_it(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(f"<!doctype html><title>calm</title><body>{HOSTILE}", encoding="utf-8")
    page = visit((tmp_path / "page.html").as_uri(), tmp_path / "profile")
    assert page.find("title")[0].text == "pwned"
    with pytest.raises(AssertionError):
        harmless(page)


def test_what_models_wrote_stays_text_on_the_lists_and_side_by_side(watched: Watched, tmp_path: Path) -> None:
    hostile(tmp_path / "runs" / "one")
    hostile(tmp_path / "runs" / "<img src=x onerror=alert(1)>")
    for target in ("/", "/compare?a=one&b=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E"):
        page = look(watched, target, tmp_path)
        harmless(page)
        assert "<script>document.title=" in page.text  # shown, not dropped
        assert "⟨U+202E⟩gnp.exe" in page.text
    assert not [target for target in watched.asked if "pwned" in target or target.endswith("/x")]


def test_what_models_wrote_stays_text_in_every_event(watched: Watched, tmp_path: Path) -> None:
    events = hostile(tmp_path / "runs" / "one")
    for event in events:
        if event.index in (0, 1, 3, 4, 5, 6, 7, 9, 10):
            page = look(watched, f"/runs/one#e{event.index}", tmp_path)
            harmless(page)
            (shown,) = page.find("details", id=f"e{event.index}")
            assert "open" in shown.attributes
            assert "<script>document.title=" in shown.text, event
    assert not [target for target in watched.asked if "pwned" in target or target.endswith("/x")]


def test_a_picture_that_is_none_is_a_sentence(watched: Watched, tmp_path: Path) -> None:
    hostile(tmp_path / "runs" / "one")
    page = look(watched, "/runs/one#e4", tmp_path)
    assert "This picture cannot be shown." in page.text
    assert not page.find("img")


def test_a_link_to_an_event_opens_it(watched: Watched, tmp_path: Path) -> None:
    events = converged(tmp_path / "runs" / "one") and trace_store.read_trace(tmp_path / "runs" / "one")
    n = next(event.index for event in events if event.kind == "executed")
    page = look(watched, f"/runs/one#e{n}", tmp_path)
    (shown,) = page.find("details", id=f"e{n}")
    assert "open" in shown.attributes
    assert CODE.strip() in shown.text
    assert page.find("img", alt="i0/scan/loss.png")
    assert len(page.find("details", class_="step")) >= 6
    assert "m = 3.510 ± 0.020 TeV" in page.text
    (plot,) = page.find("svg", role="img", **{"aria-label": page.find("svg")[0].attributes["aria-label"]})
    assert "iteration 1: refused" in plot.attributes["aria-label"]


def test_new_events_appear_while_one_looks(watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = tmp_path / "runs" / "one"
    with Store.create(run_dir) as trace:
        trace.append(STARTED)
        polls: list[str] = []

        def before(target: str) -> None:
            if target.startswith("/api/runs/one?after=1"):
                polls.append(target)
                if len(polls) == 2:
                    trace.append(Trouble(who="model", where="planner/0", text="news of the day"))

        monkeypatch.setattr(watched, "before", before)
        page = look(watched, "/runs/one", tmp_path)
    assert len(polls) >= 2
    assert "news of the day" in page.find("details", id="e1")[0].text


def test_the_token_leaves_the_address_and_a_browser_without_it_is_told_what_to_do(
    watched: Watched, tmp_path: Path
) -> None:
    converged(tmp_path / "runs" / "one")
    token = watched.server.token
    page = look(watched, "/compare?a=one&b=one", tmp_path)
    assert "token" not in "".join(value for element in page.elements for value in element.attributes.values())
    first, *later = [target for target in watched.asked if not target.startswith("/static/")]
    assert token in first
    assert later
    assert not [target for target in later if token in target]
    watched.asked.clear()
    page = look(watched, "/runs/one#e3", tmp_path / "other", known=False)
    assert "printed an address that ends with a token" in " ".join(page.text.split())
    assert not [target for target in watched.asked if not target.startswith("/static/")]


def test_a_search_that_is_in_the_address_is_made(watched: Watched, tmp_path: Path) -> None:
    converged(tmp_path / "runs" / "one")
    failed(tmp_path / "runs" / "two")
    page = look(watched, "/?q=lost&sort=metric", tmp_path)
    assert [link.attributes["href"] for link in page.find("a") if "/runs/" in link.attributes["href"]] == ["/runs/two"]
    assert "1 of 2 runs" in page.text


def test_a_run_that_is_not_there_is_said(watched: Watched, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert "there is no run 'nothing'" in look(watched, "/runs/nothing", tmp_path).text
    assert "This folder has no runs yet." in look(watched, "/", tmp_path).text


def test_thousands_of_events_are_one_page(watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda fd: None)
    with Store.create(tmp_path / "runs" / "one") as trace:
        trace.append(STARTED)
        for k in range(200):
            steps = [Step(id=f"s{n}", goal="g", submits=n == 4) for n in range(5)]
            trace.append(Planned(iteration=k, plan=Plan(reasoning="r", steps=steps)))
            for step in steps:
                trace.append(StepStarted(iteration=k, step=step.id))
                done = Observation(iteration=k, step=step.id, ok=True, summary="well")
                trace.append(StepFinished(observation=done, seconds=1))
    page = look(watched, "/runs/one#e2200", tmp_path)
    assert len(page.find("details", class_="step")) == 1000
    assert "open" in page.find("details", id="e2200")[0].attributes
    assert len(page.elements) < 25_000  # what is folded is not made
