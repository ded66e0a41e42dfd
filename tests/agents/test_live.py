"""The live view follows a run on a terminal and off one, and lets nothing foreign through to the terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from report_runs import converged, failed
from rich.console import Console

from agents.cli.live import LiveView, Progress
from agents.trace.events import AnyEvent, ModelCalled, RunResumed, StepStarted, Trouble
from agents.trace.store import Store, read_trace

NUMBERS = ", mass 3.512 ± 0.021 TeV, signal events 193 ± 28, global p 4.1 × 10⁻⁸ (> 5 σ), window 3.50 ± 0.20 TeV"


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, record=True, color_system=None)


def shown(events: list[AnyEvent], terminal: bool) -> str:
    out = console(terminal)
    with LiveView(out) as view:
        for event in events:
            view(event)
    return out.export_text()


def test_a_display_on_a_terminal(tmp_path: Path) -> None:
    text = shown(read_trace(converged(tmp_path)), terminal=True)
    last = text[text.rindex("Is there a new resonance?") :]
    for words in (
        "analyst, no LLM involved, in fake",
        "✓",
        "train",
        "1 min 10 s",
        "3 model calls, 3,600 tokens, $0.0300",
        "converged",
    ):
        assert words in last
    for words in ("iteration 0 expected significance = 4.20 ± 0.40", "refused: 1000 rows", "5.20 ± 0.40, mass"):
        assert words in " ".join(last.split())
    assert "trouble: worker/1/train: malformed" in last


def test_a_line_for_each_event_elsewhere(tmp_path: Path) -> None:
    lines = shown(read_trace(converged(tmp_path)), terminal=False).splitlines()
    assert "iteration 0: plan with steps scan, train" in lines
    assert f"iteration 2: expected significance = 5.20 ± 0.40{NUMBERS}" in lines
    assert "sandbox: canaries held" in lines
    assert lines[-1] == "converged after 12 min 34 s, $0.0300: no significant gain"
    assert f"confirmation: 5.1, unseen{NUMBERS}" in lines
    assert len(lines) == 1 + 1 + 3 * (1 + 2 * 2 + 1 + 1) + 4  # what only a program wants is left out


def test_stdout_stays_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with LiveView() as view:
        for event in read_trace(converged(tmp_path)):
            view(event)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "converged after" in captured.err


@pytest.mark.parametrize("terminal", [True, False])
def test_control_sequences_and_markup_are_harmless(terminal: bool) -> None:
    text = "\x1b]0;owned\x07\x1b[2J [bold red]not markup[/bold red]\nsecond line"
    out = console(terminal)
    with LiveView(out) as view:
        view(Trouble(who="model", where="worker/0/a", text=text))
    assert isinstance(out.file, io.StringIO)
    written = out.file.getvalue()
    assert "\x1b]0;" not in written
    assert "\x07" not in written
    assert "\x1b[2J" not in written
    assert "[bold red]not markup[/bold red]" in written


def test_a_step_counts_from_the_resume(tmp_path: Path) -> None:
    progress = Progress()
    events = read_trace(failed(tmp_path))
    for event in events:
        progress.take(event)
    started = next(e for e in events if isinstance(e, StepStarted))
    assert progress.steps["a"].started == started.time
    resumed = RunResumed(sandbox=events[0].sandbox, time=started.time + 5000)  # type: ignore[union-attr]
    progress.take(resumed)
    assert progress.steps["a"].started == resumed.time


def test_a_view_that_joins_late_catches_up(tmp_path: Path) -> None:
    failed(tmp_path)
    out = console(terminal=False)
    with Store.open(tmp_path) as store, LiveView(out) as view:
        store.listen(view)
    assert "iteration 0: a started" in out.export_text()


def test_what_a_model_is_writing_is_shown_until_it_is_written(tmp_path: Path) -> None:
    view = LiveView(console(terminal=True))
    for piece in ("x" * 500, "the mass is 4.2 ", "TeV"):
        view.writing(piece)

    def now() -> str:
        out = console(terminal=True)
        out.print(view.render())
        return out.export_text()

    assert "the mass is 4.2 TeV" in now()
    assert "x" * 101 not in now()
    view(next(event for event in read_trace(converged(tmp_path)) if isinstance(event, ModelCalled)))
    assert "the mass is" not in now()
