"""What most tests of the crew need: the tiny task, and a run of it that was left in peace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from killed import COST, SETTINGS
from scripted import Scripted, TinyTask, two_rounds

from agents.runs.run import start
from agents.trace.result import RunResult
from tasks import catalogue


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalogue.catalogue(), "tiny", TinyTask)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunResult, Path]]:
    """The run of two rounds, never interrupted, and the folder it is in beside the log of its calls."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalogue.catalogue(), "tiny", TinyTask)
        yield start(SETTINGS, Scripted(two_rounds(), folder / "calls", COST), folder / "run"), folder
