"""What is sealed is what was graded."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents.run import _restore
from agents.trace.blobs import TraceError
from agents.trace.store import Store
from agents.workbench import Workbench


def crew_with(tmp_path: Path, kept: bytes | None) -> Any:
    """The two parts that sealing looks at: a workspace, and a trace that may hold the graded file."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    store = Store.create(tmp_path / "run")
    if kept is not None:
        store.put(kept)
    sandbox: Any = SimpleNamespace(workspace=workspace)
    return SimpleNamespace(bench=Workbench(sandbox), store=store)


def test_a_file_that_was_written_over_is_put_back(tmp_path: Path) -> None:
    crew = crew_with(tmp_path, b"graded")
    file = crew.bench.workspace / "scores.parquet"
    file.write_bytes(b"later")
    _restore(crew, "scores.parquet", hashlib.sha256(b"graded").hexdigest())
    assert file.read_bytes() == b"graded"


def test_the_graded_file_is_left_as_it_is(tmp_path: Path) -> None:
    crew = crew_with(tmp_path, None)
    (crew.bench.workspace / "scores.parquet").write_bytes(b"graded")
    _restore(crew, "scores.parquet", hashlib.sha256(b"graded").hexdigest())


def test_a_graded_file_that_is_gone_is_no_quiet_success(tmp_path: Path) -> None:
    crew = crew_with(tmp_path, None)
    (crew.bench.workspace / "scores.parquet").write_bytes(b"later")
    with pytest.raises(TraceError):
        _restore(crew, "scores.parquet", hashlib.sha256(b"graded").hexdigest())
