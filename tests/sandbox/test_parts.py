"""The parts that the drivers are made of: output caps, the call filter, mounts, and the choice of a driver."""

from __future__ import annotations

import os
import signal
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import mounts, seccomp
from sandbox.bubblewrap import Bubblewrap
from sandbox.capture import Capture
from sandbox.disk import UNSEEN, folder_bytes, open_up
from sandbox.driver import Limits, SandboxLost
from sandbox.image import NUMERICS, fill_context
from sandbox.inside import LONGEST_WORD, check
from sandbox.select import choose


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(1, 50))
def test_capture_keeps_both_ends_and_counts_the_rest(pieces: list[bytes], cap: int) -> None:
    capture = Capture(cap)
    for piece in pieces:
        capture.feed(piece)
    whole = b"".join(pieces)
    assert capture.dropped == max(0, len(whole) - cap)
    if len(whole) <= cap:
        assert capture.text() == whole.decode(errors="replace")
    else:
        head, tail = whole[: cap - cap // 2], whole[len(whole) - cap // 2 :]
        gap = f"\n[... {capture.dropped} bytes dropped ...]\n".encode()
        assert capture.text() == (head + gap + tail).decode(errors="replace")


def verdict(program: bytes, arch: int, number: int, first: int = 1) -> int:
    """Interpret a filter for one call, as the kernel would."""
    lines = list(struct.iter_unpack("=HBBI", program))
    at, value = 0, 0
    while True:
        code, true, false, operand = lines[at]
        if code == seccomp.RETURN:
            return int(operand)
        if code == seccomp.LOAD:
            value = {seccomp.ARCH: arch, seccomp.NUMBER: number, seccomp.FIRST: first}[operand]
            at += 1
        else:
            tests = {seccomp.EQUAL: value == operand, seccomp.AT_LEAST: value >= operand}
            hit = tests[code] if code in tests else bool(value & operand)
            at += 1 + (true if hit else false)


@pytest.mark.parametrize("machine", seccomp.AUDIT_ARCH)
def test_call_filter_refuses_what_it_lists_and_nothing_else(machine: str) -> None:
    program = seccomp.program(machine)
    assert program
    arch = seccomp.AUDIT_ARCH[machine]
    denied = {row[list(seccomp.AUDIT_ARCH).index(machine)] for row in seccomp.DENIED.values()}
    special = {seccomp.CLONE3: seccomp.ABSENT} | dict.fromkeys(denied, seccomp.REFUSE)
    for number in range(500):
        assert verdict(program, arch, number) == special.get(number, seccomp.ALLOW)
    clone = seccomp.CLONE[list(seccomp.AUDIT_ARCH).index(machine)]
    for flag in (getattr(os, name) for name in dir(os) if name.startswith("CLONE_NEW")):
        assert verdict(program, arch, clone, flag | signal.SIGCHLD) == seccomp.REFUSE
    thread = 0x3D0F00  # what the C library passes for a thread
    assert verdict(program, arch, clone, thread) == verdict(program, arch, clone, signal.SIGCHLD) == seccomp.ALLOW
    sockets = seccomp.SOCKET[list(seccomp.AUDIT_ARCH).index(machine)]
    allowed = [family for family in range(64) if verdict(program, arch, sockets, family) == seccomp.ALLOW]
    assert allowed == [socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK]
    assert verdict(program, arch, seccomp.X32_BIT + 1) == seccomp.REFUSE
    assert verdict(program, 0x40000003, 1) == seccomp.KILL
    assert seccomp.program("riscv64") is None


def test_what_judges_is_masked_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = tmp_path / "installed"
    for name in ("agents", "tasks", "sandbox", "numpy"):
        (prefix / "lib" / name).mkdir(parents=True)
        (prefix / "lib" / name / "inside.txt").touch()
    usual = mounts.interpreter

    def with_installed(prefixes: list[Path], packages: Path) -> list[str]:
        return usual(prefixes, packages) + usual([prefix], packages=prefix / "lib")

    monkeypatch.setattr(mounts, "interpreter", with_installed)
    for name in ("inputs", "workspace"):
        (tmp_path / name).mkdir()
    try:
        box = Bubblewrap(tmp_path / "inputs", tmp_path / "workspace", tmp_path / "inputs", Limits())
    except SandboxLost as error:
        pytest.skip(f"this machine lets nobody build a bubblewrap sandbox: {error}")
    with box:
        assert box.exec(["find", str(prefix / "lib"), "-type", "f"]).stdout == f"{prefix}/lib/numpy/inside.txt\n"


def test_of_an_environment_at_the_root_of_a_project_only_its_parts_are_bound(tmp_path: Path) -> None:
    """`python -m venv .`: beside `bin` and `lib` lie keys and runs."""

    def bound() -> set[Path]:
        words = mounts.interpreter([tmp_path], packages=tmp_path / "elsewhere")
        return {Path(words[k + 1]) for k, word in enumerate(words) if word.startswith("--ro-bind")}

    for name in ("bin", "lib", "include"):
        (tmp_path / name).mkdir()
    assert bound() == {tmp_path}
    (tmp_path / "runs").mkdir()
    assert bound() == {tmp_path / name for name in mounts.OF_PYTHON}


def test_a_command_no_kernel_would_start() -> None:
    with pytest.raises(ValueError, match="write it to a file"):
        check(["python", "-c", "x" * (LONGEST_WORD + 1)], "/workspace")
    with pytest.raises(ValueError, match="no command"):
        check([], "/workspace")


def test_folder_bytes_counts_links_and_empty_files_but_follows_nothing(tmp_path: Path) -> None:
    (tmp_path / "away").symlink_to("/usr")
    for k in range(10):
        (tmp_path / str(k)).touch()
    assert max(folder_bytes(tmp_path)) == 11 * 4096


def test_a_folder_that_a_command_has_shut_is_opened_and_counted(tmp_path: Path) -> None:
    """Where the operator is no root, who would not have noticed."""
    (tmp_path / "shut/inner").mkdir(parents=True)
    (tmp_path / "shut/inner/file").write_bytes(bytes(50_000))
    outside = tmp_path.with_name(f"{tmp_path.name}-outside")
    outside.mkdir()
    (tmp_path / "link").symlink_to(outside)
    for folder in (tmp_path / "shut/inner", tmp_path / "shut", outside):
        folder.chmod(0)
    assert open_up(tmp_path, str(tmp_path / "shut"))
    assert not open_up(tmp_path, str(tmp_path / "link"))
    assert not open_up(tmp_path, str(outside))
    assert (tmp_path / "shut").stat().st_mode & 0o777 == 0o700
    assert 50_000 < max(folder_bytes(tmp_path)) < 100_000
    assert outside.stat().st_mode & 0o777 == 0


def test_a_folder_too_deep_to_be_seen_counts_more_than_any_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(25):
        Path("d" * 200).mkdir()
        os.chdir("d" * 200)
    assert max(folder_bytes(tmp_path)) == UNSEEN


def test_choice_of_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    for engine in ("podman", "apptainer"):
        monkeypatch.setattr(f"sandbox.{engine}.which", lambda name: None)
    folders = (tmp_path / "inputs", tmp_path / "workspace", tmp_path / "tools")
    for folder in folders:
        folder.mkdir()
    with pytest.raises(ValueError, match="choose one of auto, docker, podman, apptainer, bubblewrap"):
        choose("chroot", *folders, Limits())  # type: ignore[arg-type]
    with pytest.raises(SandboxLost, match="beamcrew doctor"):
        choose("docker", *folders, Limits())
    try:
        with choose("auto", *folders, Limits()) as box:
            assert box.info.driver == "bubblewrap"
            assert box.info.reason.startswith("took bubblewrap, since there is no usable docker: looking for")
    except SandboxLost as error:
        pytest.skip(f"this machine lets nobody build a bubblewrap sandbox: {error}")


def test_no_bubblewrap_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.bubblewrap.candidates", list)
    with pytest.raises(SandboxLost, match="install the package bubblewrap"):
        Bubblewrap(tmp_path, tmp_path, tmp_path, Limits())


def test_the_image_is_built_from_pinned_packages_and_tools_alone(tmp_path: Path) -> None:
    fill_context(Path(__file__).parents[2], tmp_path)
    lines = (tmp_path / "requirements.txt").read_text().splitlines()
    assert {line.split("==")[0] for line in lines} >= {*NUMERICS, "torch", "zuko", "omnilearned"}
    assert len(lines) == len(set(lines))
    assert all("==" in line for line in lines)
    assert not {"openai", "docker", "langgraph"} & {line.split("==")[0] for line in lines}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["requirements.txt", "tools"]


def test_a_run_that_every_sandbox_could_read_is_refused(tmp_path: Path) -> None:
    """`--runs` below an environment at the root of a project, or anywhere below /usr."""
    (tmp_path / "lib").mkdir()
    words = mounts.interpreter([tmp_path], packages=tmp_path / "elsewhere")
    mounts.refuse_inside(words, tmp_path.parent / "runs/1")
    (tmp_path / "runs").mkdir()
    mounts.refuse_inside(mounts.interpreter([tmp_path], packages=tmp_path / "elsewhere"), tmp_path / "runs/1")
    for run in (tmp_path / "lib/runs/1", tmp_path / "lib"):
        with pytest.raises(SandboxLost, match="keep runs elsewhere"):
            mounts.refuse_inside(words, run)


def test_generators_are_hidden_as_modules_and_as_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one_file.py").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    words = " ".join(mounts.without(["one_file", "folder", "not_there"]))
    assert words.count("--tmpfs") == words.count("/dev/null") == 1
    assert f"--ro-bind /dev/null {tmp_path}/one_file.py" in words
    assert f"--tmpfs {tmp_path}/folder" in words
