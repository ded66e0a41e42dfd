"""A person at a real browser starts a run, approves its plan, asks about it and forks it; texts stay texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import needs_chromium
from driven import Driven
from mcp_rig import ROOT, folder_of_files
from test_view_desk import HOSTILE, serving, waiting

from agents.runs.process import Service
from agents.view.desk import House
from agents.view.server import Server

pytestmark = needs_chromium

REQUEST = "Which resonances are there between 8.5 and 11 GeV?"
FEWER = "  window: [9.2, 9.7]\n  fit_range: [8.3, 11.5]\n  max_iterations: 1"  # options of a run of seconds


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "runs").mkdir()
    yield from serving(Server(tmp_path / "runs", 0, House(service=Service(backend="analyst"), sandbox="bubblewrap")))


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Driven]:
    with Driven(tmp_path / "profile") as page:
        yield page


def test_a_run_is_started_approved_asked_about_and_forked(server: Server, page: Driven, tmp_path: Path) -> None:
    data = folder_of_files(tmp_path / "files") / "muons.csv"
    page.open(server.address("/start"))
    page.fill("textarea", REQUEST)
    page.fill("input[type=text]", str(data))
    page.press("Show the card")
    page.until("document.querySelector('textarea.code')")
    page.run(
        "{const card = document.querySelector('textarea.code');"
        f"card.value = card.value.replace(/  search_range:\\n.*\\n.*/, {FEWER!r});"
        "document.querySelector('.tick input').click()}"
    )
    assert not list((tmp_path / "runs").iterdir())  # nothing begins before the card is accepted
    page.press("Accept the card and start")
    page.until("document.querySelector('.waits')", 120)
    assert "plan of iteration 0" in page.run("document.querySelector('.waits').innerText")
    assert page.run("document.querySelector('.waits textarea').value") == ""
    page.fill("input[aria-label='Ask about this run']", "What did it cost?")
    page.press("Ask")
    page.until("document.querySelector('.qa a')")
    cited = page.run("document.querySelector('.qa a').getAttribute('href')")
    page.run("document.querySelector('.qa a').click()")
    page.until(f"document.querySelector('details{cited}').open")
    page.press("Approve")
    page.until("document.querySelector('.chip').textContent.match(/converged|used/)", 180)
    name = page.run("location.pathname")
    assert page.run("document.querySelector('.qa .asks').textContent") == "What did it cost?"
    page.press("Fork")
    page.until(f"location.pathname !== {name!r} && document.querySelector('.facts')", 120)
    assert name.removeprefix("/runs/") in page.run("document.querySelector('.facts').innerText")
    page.until("document.querySelector('.chip').textContent.match(/converged|used/)", 180)


def test_what_a_run_asks_is_text_and_fits_a_phone(server: Server, page: Driven, tmp_path: Path) -> None:
    waiting(tmp_path / "runs" / "two")
    page.open(server.address("/runs/two"))
    page.until("document.querySelector('.waits')")
    assert HOSTILE in page.run("document.querySelector('.waits .verdict').textContent")
    assert page.run("document.querySelectorAll('main img').length") == 0
    for dark in (False, True):
        page.picture(tmp_path / "picture.png", 390, 844, dark)
        assert page.run("document.documentElement.scrollWidth") <= 390
    page.press("Decline")
    page.until("document.querySelector('.error:not(:empty)') || document.body.innerText.includes('It was answered')")
    assert (tmp_path / "runs" / "two" / "answer.json").is_file()


def test_a_run_is_stopped_and_resumed(server: Server, page: Driven, tmp_path: Path) -> None:
    """It is one that takes many seconds: a search by the analyst."""
    data = folder_of_files(tmp_path / "files") / "muons.csv"
    page.open(server.address("/start"))
    page.fill("textarea", REQUEST)
    page.fill("input[type=text]", str(data))
    page.press("Show the card")
    page.press("Accept the card and start")
    page.until("location.pathname.startsWith('/runs/')", 120)
    page.press("Stop")
    page.until("document.querySelector('.chip.interrupted')", 60)
    page.press("Resume")
    page.until("document.querySelector('.meters.live')", 60)
    page.press("Stop")
    page.until("document.querySelector('.chip.interrupted')", 60)
