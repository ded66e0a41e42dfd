"""What looks at commands is never held up by them, and finds what they hide; control groups where a host has them."""

from __future__ import annotations

import mmap
import os
import socket
import time
from pathlib import Path

import pytest

from sandbox import cgroup, disk
from sandbox.driver import Limits


def test_a_look_at_many_files_comes_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in range(40):
        (tmp_path / str(folder)).mkdir()
        for number in range(100):
            (tmp_path / str(folder) / str(number)).touch()
    monkeypatch.setattr(disk, "REST", 0.0)
    monkeypatch.setattr(disk, "SLICE", 0.0)  # an entry at a time
    fullness = disk.Fullness(tmp_path, 4000 * disk.ENTRY_BYTES, list)
    looks = 0
    while not fullness.look():
        looks += 1
    assert looks > 2 * 4000  # two walks in a row have to say so
    larger = disk.Fullness(tmp_path, 5000 * disk.ENTRY_BYTES, list)
    assert not any(larger.look() for _ in range(3 * 5000))


def test_deleted_files_are_found_where_processes_have_them(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    with (tmp_path / "large").open("w+b") as file:
        file.write(bytes(1 << 20))
        file.flush()
        os.fsync(file.fileno())
        (tmp_path / "large").unlink()
        held, opaque = disk.hidden_bytes([os.getpid()], device)
        assert held >= 1 << 20
        pair = socket.socketpair()
        socket.send_fds(pair[0], [b"file"], [file.fileno()])
        assert disk.hidden_bytes([os.getpid()], device)[1] > opaque
        for one in pair:
            one.close()
    assert disk.written_bytes([os.getpid()]) >= 1 << 20


def test_a_line_of_a_deleted_and_mapped_file_is_told_from_others() -> None:
    maps = (
        "7f00-7f10 r--s 00000000 fe:00 42 /workspace/a/large (deleted)\n"
        "7f10-7f20 r--s 00000000 fe:00 43 /workspace/still there\n"
        "7f20-7f30 rw-s 00000000 00:01 44 /dev/zero (deleted)\n"
    )
    assert disk.MAPPED.findall(maps) == [("7f00", "7f10", "42")]
    with mmap.mmap(-1, 4096) as shared:  # /dev/zero (deleted)
        assert shared[0] == 0
        assert not disk._mapped(os.getpid(), {})


def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounts: str, own: str) -> None:
    monkeypatch.setattr(cgroup, "MOUNTS", tmp_path / "mounts")
    monkeypatch.setattr(cgroup, "OWN", tmp_path / "own")
    (tmp_path / "mounts").write_text(mounts.replace("AT", str(tmp_path)))
    (tmp_path / "own").write_text(own)


def test_groups_of_version_1_lie_below_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = "cgroup AT/memory cgroup rw,memory 0 0\ncgroup AT/cpu cgroup rw,cpu,cpuacct 0 0\n"
    fake(tmp_path, monkeypatch, mounts, "4:memory:/mine\n2:cpu,cpuacct:/\n0::/\n")
    (tmp_path / "memory/mine").mkdir(parents=True)
    (where,) = cgroup.find()
    assert where == (tmp_path / "memory/mine", 1, ("memory",))
    group = cgroup.Cgroup([where], Limits(memory_mib=100))
    folder = next((tmp_path / "memory/mine").iterdir())
    assert group.words(["true"])[-4:] == ["sh", f"{folder}/tasks", "--", "true"]
    group.close()
    assert not list((tmp_path / "memory/mine").iterdir())


def test_groups_of_version_2_are_handed_down_where_nobody_else_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, monkeypatch, "cgroup2 AT cgroup2 rw 0 0\n", "0::/user/mine.scope\n")
    scope = tmp_path / "user/mine.scope"
    scope.mkdir(parents=True)
    for name, text in (
        ("cgroup.controllers", "cpu memory pids"),
        ("cgroup.subtree_control", ""),
        ("cgroup.procs", str(os.getpid())),
    ):
        (scope / name).write_text(text)
    (where,) = cgroup.find()
    assert where == (scope, 2, ("memory", "pids"))
    assert (scope / "beamcrew/cgroup.procs").read_text() == str(os.getpid())
    assert (scope / "cgroup.subtree_control").read_text() == "+memory +pids"
    # Once this process has moved down, other groups still lie beside it.
    (tmp_path / "own").write_text("0::/user/mine.scope/beamcrew\n")
    (scope / "cgroup.subtree_control").write_text("memory pids")
    assert cgroup.find() == [where]


def test_groups_of_processes_that_are_gone_are_swept(tmp_path: Path) -> None:
    space = cgroup.owner.pid_namespace()
    mine = tmp_path / f"beamcrew-{space}-{os.getpid()}-{cgroup.owner.began(os.getpid())}-0"
    gone, foreign = tmp_path / f"beamcrew-{space}-{os.getpid()}-1-0", tmp_path / "beamcrew-1-1-1-0"
    for folder in (mine, gone, foreign):
        folder.mkdir()
    cgroup._sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {mine.name, foreign.name}


def test_a_group_holds_what_its_command_takes() -> None:
    group = cgroup.make(Limits(memory_mib=64))
    if group is None or "memory" not in group.holds:
        pytest.skip("this host gives no control group of memory")
    import subprocess
    import sys

    try:
        words = group.words([sys.executable, "-c", "x = bytearray(128 << 20); print(len(x))"])
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert done.returncode != 0
        assert done.stdout == ""
        assert group.oom_kills() == 1
        deadline = time.monotonic() + 5
        folders = [where.folder for where in group._groups]
    finally:
        group.close()
    while any(folder.exists() for folder in folders) and time.monotonic() < deadline:
        group.close()
    assert not any(folder.exists() for folder in folders)
