"""What is removed from a workspace, and that nothing outside is touched, whatever generated code has prepared."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.reader import UnsafeFile, list_files
from sandbox.reader.files import MAX_DEPTH
from sandbox.tidy import remove_unless


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "thesis.tex").write_text("years of work")
    folder = tmp_path / "workspace"
    (folder / "i0" / "a" / "out").mkdir(parents=True)
    (folder / "i0" / "a" / "keep.txt").write_text("keep")
    (folder / "i0" / "a" / "out" / "keep.txt").write_text("keep")
    (folder / "i0" / "b").mkdir()
    (folder / "i0" / "b" / "neighbour.txt").write_text("of another worker")
    return folder


def kept(path: str, status: os.stat_result) -> bool:
    return path.endswith("keep.txt")


def intact(workspace: Path) -> None:
    assert (workspace.parent / "outside" / "thesis.tex").read_text() == "years of work"
    assert (workspace / "i0" / "b" / "neighbour.txt").read_text() == "of another worker"


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_what_is_not_kept_goes_and_what_leads_to_kept_files_stays(workspace: Path) -> None:
    folder, outside = workspace / "i0" / "a", workspace.parent / "outside"
    (folder / "half").write_text("half")
    (folder / "new" / "deep").mkdir(parents=True)
    (folder / "new" / "deep" / "x").touch()
    (folder / "link").symlink_to(outside / "thesis.tex")
    (folder / "out" / "folder").symlink_to(outside)
    (folder / "dangling").symlink_to("/nowhere")
    os.link(outside / "thesis.tex", folder / "hard")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
        remove_unless(workspace, "i0/a", kept)
    assert names(folder) == {"keep.txt", "out", "out/keep.txt"}
    intact(workspace)
    remove_unless(workspace, "i0/a", lambda path, status: False)
    assert list(folder.iterdir()) == []
    remove_unless(workspace, "i0/nonesuch/deeper", kept)
    intact(workspace)


def test_an_empty_folder_is_asked_for_too(workspace: Path) -> None:
    for name in ("before", "since"):
        (workspace / "i0" / "a" / name).mkdir()
    remove_unless(workspace, "i0/a", lambda path, status: path.endswith("before"))
    assert names(workspace / "i0" / "a") == {"before"}


@pytest.mark.parametrize("at", ["i0/a", "i0"])
def test_a_link_in_where_of_the_folder_is_removed_and_not_entered(workspace: Path, at: str) -> None:
    (workspace / at).rename(workspace / "aside")
    (workspace / at).symlink_to(workspace.parent / "outside")
    (workspace.parent / "outside" / "a").mkdir()
    remove_unless(workspace, "i0/a", lambda path, status: False)
    assert not (workspace / at).is_symlink()
    assert names(workspace.parent / "outside") == {"thesis.tex", "a"}


@pytest.mark.parametrize("path", ["..", "i0/../../outside", "/etc"])
def test_paths_that_lead_out(workspace: Path, path: str) -> None:
    with pytest.raises(UnsafeFile, match="not a path inside"):
        remove_unless(workspace, path, lambda path, status: False)
    intact(workspace)


def nest(folder: Path, depth: int) -> None:
    """Folder in folder, far beyond the length of any path."""
    fd = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)


def test_folders_without_end(workspace: Path) -> None:
    """Neither the stack nor the open files of this process may depend on what lies there."""
    folder = workspace / "i0" / "a"
    nest(folder, 3000)
    try:
        listing = list_files(workspace, "i0/a")
        assert set(listing.files) == {"i0/a/keep.txt", "i0/a/out/keep.txt"}
        assert set(listing.refused.values()) == {f"more than {MAX_DEPTH} folders deep"}
        remove_unless(workspace, "i0/a", kept)
        assert names(folder) == {"keep.txt", "out", "out/keep.txt"}
    finally:  # pytest itself could not remove it
        subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.fixture
def as_anybody() -> Iterator[None]:
    """Root needs no rights."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_rights_that_were_taken_away(as_anybody: None) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "a")
        (folder / "locked" / "inner").mkdir(parents=True)
        for place in (folder, folder / "locked", folder / "locked" / "inner"):
            (place / "x").touch()
        (folder / "keep.txt").touch()
        (folder / "locked" / "inner").chmod(0)
        (folder / "locked").chmod(0)
        folder.chmod(0o500)
        remove_unless(Path(name), "a", kept)
        assert names(folder) == {"keep.txt"}


def test_a_neighbour_that_swaps_folders_for_links(workspace: Path) -> None:
    """Code that runs next door may change the ground while it is swept: it can make the sweep fail, and no more."""
    folder, outside = workspace / "i0" / "a", workspace.parent / "outside"
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            try:
                (folder / "flip").mkdir()
                (folder / "flip" / "x").touch()
                (folder / "flip").rename(folder / "flop")
                (folder / "flip").symlink_to(outside)
                (folder / "flip").unlink()
            except OSError:
                continue

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(300):
            try:
                remove_unless(workspace, "i0/a", kept)
            except OSError:
                continue
    finally:
        stop.set()
        thread.join()
    intact(workspace)
    assert (folder / "keep.txt").exists()
