"""Handing a GPU into a container: the engine must know how, and the toolkit must have no known escape.

The toolkit's programs are real executables on a PATH of the test; only the GPU itself is pretended.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox import gpu
from sandbox.driver import SandboxLost

RUNTIME = {"Runtimes": {"runc": {}, "nvidia": {"path": "nvidia-container-runtime"}}}
CDI = {"Runtimes": {"runc": {}}, "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]}
NO_WAY = {"Runtimes": {"runc": {}}, "DiscoveredDevices": None}
CTK = "NVIDIA Container Toolkit CLI version {}\ncommit: f8daa5e26de9fd7eb79259040b6dd5a52060048c\n"
CLI = "cli-version: {0}\nlib-version: {0}\nbuild date: 2026-07-08T11:05+00:00\nbuild compiler: gcc 8.5.0\n"
RUNC = "NVIDIA Container Runtime version {}\ncommit: f8daa5e\nspec: 1.2.0\n\nrunc version 1.3.0\nlibseccomp: 2.5.4\n"
Programs = Callable[..., None]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Put programs on an otherwise empty PATH, `name=what it prints`; None: it fails."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpu, "gpu_model", lambda: "NVIDIA H100")

    def put(**prints: str | None) -> None:
        for name, text in prints.items():
            path = tmp_path / name.replace("_", "-")
            path.write_text("#!/bin/sh\nexit 1\n" if text is None else f"#!/bin/sh\nprintf '%s' '{text}'\n")
            path.chmod(0o755)

    return put


@pytest.mark.parametrize(
    ("prints", "version"),
    [
        ({"nvidia_ctk": CTK.format("1.17.8")}, "1.17.8"),
        ({"nvidia_ctk": CTK.format("1.17.8-1")}, "1.17.8"),
        ({"nvidia_ctk": CTK.format("v1.19.1")}, "1.19.1"),
        ({"nvidia_ctk": CTK.format("1.17.8~rc.1")}, "1.17.8~rc.1"),
        ({"nvidia_container_cli": CLI.format("1.20.0")}, "1.20.0"),
        ({"nvidia_container_runtime": RUNC.format("1.16.1")}, "1.16.1"),  # not runc's
        ({"nvidia_ctk": None, "nvidia_container_cli": CLI.format("1.14.0-rc.2")}, "1.14.0-rc.2"),
        ({"nvidia_ctk": "no version here", "nvidia_container_runtime": RUNC.format("1.19.1")}, "1.19.1"),
        ({"nvidia_ctk": None}, None),
        ({}, None),
    ],
)
def test_the_toolkit_tells_its_version(programs: Programs, prints: dict[str, str | None], version: str | None) -> None:
    programs(**prints)
    assert gpu.toolkit_version() == version


@pytest.mark.parametrize(
    ("version", "holes"),
    [
        ("1.16.1", 4),
        ("1.16.2", 3),
        ("1.17.3", 3),
        ("1.17.4", 2),
        ("1.17.7", 2),
        ("1.17.8~rc.1", 2),
        ("1.17.8-rc.1", 2),
        ("1.17.8", 1),
        ("1.17.8-1", 1),
        ("1.19.1~rc.2", 1),
        ("1.19.1", 0),
        ("1.19.1-1", 0),
        ("1.19.10", 0),
        ("1.20.0", 0),
        ("2.0.0", 0),
        (None, 4),
    ],
)
def test_each_release_has_the_holes_that_it_has(version: str | None, holes: int) -> None:
    said = gpu.objection(version)
    assert said.count("CVE-") == holes
    assert all(cve in said for cve in list(gpu.HOLES)[4 - holes :])  # the later ones are the last to be closed
    assert ("1.19.1 or newer" in said) == bool(holes)


@pytest.mark.parametrize("facts", [RUNTIME, CDI])
def test_a_sound_toolkit_hands_in(programs: Programs, facts: dict[str, object]) -> None:
    programs(nvidia_ctk=CTK.format("1.19.1"))
    assert gpu.hand_in("auto", facts)
    assert gpu.hand_in("insist", facts)
    assert not gpu.hand_in("none", facts)
    assert gpu.remark("auto", facts) == gpu.remark("insist", facts) == ""


@pytest.mark.parametrize("prints", [{"nvidia_ctk": CTK.format("1.17.7")}, {}])
def test_a_toolkit_with_holes_is_refused_and_the_operator_told_the_ways_out(
    programs: Programs, prints: dict[str, str]
) -> None:
    programs(**prints)
    with pytest.raises(SandboxLost) as refused:
        gpu.hand_in("auto", RUNTIME)
    for said in ("CVE-2025-23266", "CVE-2026-24260", "1.19.1", "--gpu none", "--gpu insist"):
        assert said in str(refused.value)
    assert not gpu.hand_in("none", RUNTIME)
    assert gpu.hand_in("insist", RUNTIME)
    assert "insists" in gpu.remark("insist", RUNTIME)
    assert "CVE-2026-24260" in gpu.remark("insist", RUNTIME)


def test_an_engine_that_knows_no_way(programs: Programs) -> None:
    programs(nvidia_ctk=CTK.format("1.19.1"))
    assert not gpu.hand_in("auto", NO_WAY)
    assert "nvidia-ctk runtime configure" in gpu.remark("auto", NO_WAY)
    with pytest.raises(SandboxLost, match="neither the runtime nvidia nor the CDI device"):
        gpu.hand_in("insist", NO_WAY)


def test_a_host_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "gpu_model", lambda: None)
    assert not gpu.hand_in("auto", RUNTIME)
    assert gpu.remark("auto", RUNTIME) == ""
    with pytest.raises(SandboxLost, match="no NVIDIA GPU"):
        gpu.hand_in("insist", RUNTIME)


def test_the_request_is_in_the_words_of_the_engine() -> None:
    assert gpu.request(RUNTIME)["Capabilities"] == [["gpu"]]
    assert (gpu.request(CDI)["Driver"], gpu.request(CDI)["DeviceIDs"]) == ("cdi", [gpu.CDI_DEVICE])
