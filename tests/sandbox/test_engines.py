"""What Podman and Apptainer are told, and what a host that forbids something says; the real engines: `-m engines`."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import pytest

from agents.doctor import host
from sandbox import apptainer, cgroup, container, inside, podman, selinux, userns
from sandbox.conformance.arena import Arena
from sandbox.driver import Limits, SandboxLost
from sandbox.gpu import ARRIVED, CDI_DEVICE, request
from tools.hdf5 import open_hdf5

ROOT = Path(__file__).parents[2]


def test_apptainer_keeps_every_wall_and_hands_in_a_gpu() -> None:
    words = apptainer.isolation(gpu=False)
    for wall in ("--containall", "--userns", "--pid", "--ipc", "--net", "--no-privs", "--cleanenv", "--no-home"):
        assert wall in words
    assert words[words.index("--network") + 1] == "none"
    assert words[words.index("--drop-caps") + 1] == "all"
    assert "--nv" not in words
    assert "--nv" in apptainer.isolation(gpu=True)


def test_a_mount_of_apptainer_takes_any_path(tmp_path: Path) -> None:
    odd = tmp_path / 'a,b "c'
    odd.mkdir()
    words = apptainer.bound(odd, tmp_path, tmp_path)
    assert f'type=bind,"source={tmp_path}/a,b ""c",destination=/inputs,ro' in words
    assert f"type=bind,source={tmp_path},destination=/workspace" in words
    assert "type=bind,source=/proc/sys,destination=/proc/sys,ro" in words


def test_an_image_file_is_exactly_the_one_that_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert apptainer.image_file("beamcrew-sandbox:latest") == tmp_path / "beamcrew/beamcrew-sandbox_latest.sif"
    (file := tmp_path / "one.sif").write_bytes(b"an image")
    _, exact = apptainer.found(str(file))
    (tmp_path / "a@b").mkdir()
    shutil.copy(file, tmp_path / "a@b/c.sif")
    assert apptainer.found(str(tmp_path / "a@b/c.sif"))[0].parent.name == "a@b"
    assert apptainer.found(exact) == (file.resolve(), exact)
    file.write_bytes(b"another")
    os.utime(file, ns=(0, 0))
    with pytest.raises(SandboxLost, match=r"is sha256:\w+, not sha256:"):
        apptainer.found(exact)
    with pytest.raises(SandboxLost, match="beamcrew doctor --build --sandbox apptainer"):
        apptainer.found("none:latest")


def test_root_needs_no_apptainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(SandboxLost, match="for plain users"):
        apptainer.Apptainer(tmp_path, tmp_path, tmp_path, Limits())


def test_an_apptainer_that_does_not_start_leaves_no_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Group:
        holds, closed = (), False

        def words(self, words: list[str]) -> list[str]:
            return words

        def close(self) -> None:
            self.closed = True

    made: list[Group] = []
    monkeypatch.setattr(cgroup, "make", lambda limits: made.append(Group()) or made[-1])
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() or 1)
    monkeypatch.setattr(inside, "own", lambda *_: None)
    monkeypatch.setattr(apptainer, "which", lambda name: str(tmp_path / "nothing" / name))
    monkeypatch.setattr(apptainer, "version", lambda program: "1.4")
    monkeypatch.setattr(apptainer, "set_uid", lambda program: True)
    monkeypatch.setattr(apptainer.watch, "gpu_model", lambda: None)
    (work := tmp_path / "work").mkdir()
    with pytest.raises(SandboxLost, match="this host has no NVIDIA GPU"):
        apptainer.Apptainer(tmp_path, work, tmp_path, Limits(), str(tmp_path), gpu="insist")
    assert not [group for group in made if not group.closed]
    with pytest.raises(SandboxLost, match="does not start"):
        apptainer.Apptainer(tmp_path, work, tmp_path, Limits(), str(tmp_path))
    assert [group.closed for group in made] == [True]


def test_podman_gets_the_gpu_by_its_cdi_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(podman, "CDI", (str(tmp_path),))
    monkeypatch.setattr(podman.Docker, "_facts", lambda self: {"Rootless": True})
    box = podman.Podman.__new__(podman.Podman)
    assert box._facts() == {"Rootless": True}
    (tmp_path / "nvidia.yaml").touch()
    facts = box._facts()
    assert facts["DiscoveredDevices"] == [{"ID": CDI_DEVICE}]
    assert request(facts)["DeviceIDs"] == [CDI_DEVICE]


def test_a_rootless_podman_keeps_the_operators_number(tmp_path: Path) -> None:
    process: dict[str, Any] = {"environment": {"HOME": "/tmp"}, "command": ["python3", "-I"]}
    settings: dict[str, Any] = {"tmpfs": {"/tmp": "size=64m,nr_inodes=16384,mode=1777"}, "security_opt": []}
    podman.Podman.__new__(podman.Podman)._adapt(process, settings, {"Rootless": True})
    assert process["user"] == f"{os.geteuid()}:{os.getegid()}"
    assert process["command"][:2] == ["/usr/bin/env", "-i"]
    assert process["command"][-3:] == ["HOME=/tmp", "python3", "-I"]
    assert (settings["tmpfs"], settings["UsernsMode"]) == ({"/tmp": "size=64m,mode=1777"}, "keep-id")
    assert "/proc/cmdline" in settings["security_opt"][0]


def test_without_a_gpu_the_question_inside_says_so() -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU here")
    done = subprocess.run([sys.executable, "-c", ARRIVED], capture_output=True, text=True)
    assert done.returncode == 1
    assert "libcuda.so.1" in done.stderr or "CUDA error" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces="),
        ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "profile bwrap /usr/bin/bwrap flags=(unconfined) { userns",
        ),
        ("kernel/something", "1", "seccomp=unconfined"),
    ],
)
def test_what_forbids_user_namespaces_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setattr(userns, "SYSCTL", tmp_path)
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(f"{value}\n")
    advice = userns.advice("/usr/bin/bwrap", "or use Docker")
    assert said in advice
    assert advice.endswith("; or use Docker")


def test_bubblewrap_is_run_not_looked_for() -> None:
    """On a real kernel that allows no further user namespace, the check fails although bwrap is there, and says why."""
    code = "from agents.doctor.machine import check_sandbox; print(check_sandbox('bubblewrap').model_dump_json())"
    forbid = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
    words = ["unshare", "-Ur", "sh", "-c", forbid, "sh", sys.executable, "-c", code]
    if not shutil.which("unshare") or subprocess.run([*words[:2], "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a user namespace")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert '"ok":false' in done.stdout, done.stderr
    assert "sysctl user.max_user_namespaces=" in done.stdout


def test_where_selinux_judges_containers_have_no_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace := tmp_path / "run/workspace").mkdir(parents=True)

    def options() -> list[str]:
        settings = container.isolation(tmp_path, workspace, tmp_path, Limits(), {"NCPU": 2}, gpu=False)
        return list(settings["security_opt"])

    (tmp_path / "enforce").write_text("1")
    monkeypatch.setattr(selinux, "ENFORCE", tmp_path / "absent")
    assert options() == ["no-new-privileges"]
    monkeypatch.setattr(selinux, "ENFORCE", tmp_path / "enforce")
    assert options() == ["no-new-privileges", "label=disable"]


def test_limits_that_an_engine_ignores_are_not_taken_for_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (group := tmp_path / "engine.scope/container").mkdir(parents=True)
    monkeypatch.setattr(cgroup, "_groups", lambda pid: iter([group, group.parent]))
    limits = Limits(memory_mib=512, processes=64)
    for name in ("memory.max", "pids.max"):
        (group / name).write_text("max\n")
    assert cgroup.held(1, limits) == set()
    (group.parent / "memory.max").write_text(f"{512 << 20}\n")
    (group.parent / "pids.max").write_text("66\n")
    (group.parent / "cpu.max").write_text("200000 100000\n")
    assert cgroup.held(1, limits) == {"memory", "pids", "cpu"}
    (group.parent / "memory.max").write_text(f"{1024 << 20}\n")
    assert "memory" not in cgroup.held(1, limits)


def test_a_host_without_control_groups_is_told_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "make", lambda limits: None)
    check = host.check_control_groups()
    assert not check.ok
    assert "memory and processes" in check.detail
    assert "Delegate=yes" in check.detail


def test_a_home_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    assert "MPLCONFIGDIR" in host.check_home().detail
    assert not host.check_home().ok


def test_a_user_without_an_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 123_456_789)
    for name in ("USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    assert host.check_home().detail == "user 123456789 has no account: set USER and LOGNAME"
    monkeypatch.setenv("USER", "crew")
    assert host.check_home().ok


def test_inside_there_are_a_home_a_name_and_no_locks(arena: Arena) -> None:
    code = "import getpass, os, pathlib; print(getpass.getuser(), os.access(pathlib.Path.home(), os.W_OK))"
    assert arena.python(code).stdout == "crew True\n"
    assert inside.environment(Limits(), gpu=False)["HDF5_USE_FILE_LOCKING"] == "FALSE"


def test_a_file_that_somebody_has_locked_is_read(tmp_path: Path) -> None:
    """As on a network disk whose lock service refuses."""
    with h5py.File(path := tmp_path / "events.h5", "w") as file:
        file["x"] = [1.0, 2.0]
    with path.open("rb+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="lock"):
            h5py.File(path, "r", locking=True)
        with open_hdf5(path) as file:
            assert file["x"][:].tolist() == [1.0, 2.0]
