"""Files go into the workspace and nowhere else, whatever generated code has planted there."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from sandbox.reader import UnsafeFile, read_bytes
from sandbox.writer import write_bytes


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "key").write_text("the operator's")
    (tmp_path / "ws").mkdir()
    return tmp_path / "ws"


def test_what_is_written_is_read(workspace: Path) -> None:
    write_bytes(workspace, "i0/scan/run.py", b"first")
    write_bytes(workspace, "i0/scan/run.py", b"second")
    assert read_bytes(workspace, "i0/scan/run.py", 100) == b"second"
    assert [p.name for p in (workspace / "i0/scan").iterdir()] == ["run.py"]
    assert (workspace / "i0/scan").stat().st_mode & 0o700 == 0o700


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "", ".", "a\0b"])
def test_paths_that_lead_out_are_refused(workspace: Path, path: str) -> None:
    with pytest.raises(UnsafeFile):
        write_bytes(workspace, path, b"x")


def test_a_planted_link_is_replaced_not_followed(workspace: Path) -> None:
    (workspace / "a").symlink_to("../outside/key")
    write_bytes(workspace, "a", b"ours")
    assert not (workspace / "a").is_symlink()
    assert (workspace / "../outside/key").read_text() == "the operator's"


def test_a_planted_hard_link_is_not_written_through(workspace: Path) -> None:
    os.link(workspace / "../outside/key", workspace / "a")
    write_bytes(workspace, "a", b"ours")
    assert (workspace / "../outside/key").read_text() == "the operator's"


def test_a_linked_folder_is_refused(workspace: Path) -> None:
    (workspace / "i0").symlink_to("../outside")
    with pytest.raises(UnsafeFile, match="i0/key"):
        write_bytes(workspace, "i0/key", b"ours")
    assert (workspace / "../outside/key").read_text() == "the operator's"


@pytest.mark.timeout(10)
def test_a_planted_pipe_is_replaced_not_waited_for(workspace: Path) -> None:
    os.mkfifo(workspace / "a")
    write_bytes(workspace, "a", b"ours")
    assert stat.S_ISREG((workspace / "a").lstat().st_mode)
    os.mkfifo(workspace / "folder")
    with pytest.raises(UnsafeFile):
        write_bytes(workspace, "folder/a", b"ours")


def test_a_folder_in_the_way_is_refused_and_no_rest_stays(workspace: Path) -> None:
    (workspace / "a" / "b").mkdir(parents=True)
    with pytest.raises(UnsafeFile):
        write_bytes(workspace, "a", b"ours")
    assert [p.name for p in workspace.iterdir()] == ["a"]


def test_a_full_disk_is_not_blamed_on_the_file(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(workspace, "a", b"ours")
    assert list(workspace.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_belong_to_the_owner_of_the_workspace(workspace: Path) -> None:
    os.chown(workspace, 65534, 65534)
    write_bytes(workspace, "i0/run.py", b"x")
    assert {p.stat().st_uid for p in workspace.rglob("*")} == {65534}
