"""The report names everything once, keeps secrets, and says what to do."""

from __future__ import annotations

import io
import os
import re
import uuid
from pathlib import Path

import docker
import pytest

from agents.doctor import machine as doctor
from sandbox.image import LABEL, requirements_hash

TEST_IMAGE = os.environ.get("BEAMCREW_TEST_IMAGE", "beamcrew-sandbox:test")


def test_report_names_each_thing_once_and_shows_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    monkeypatch.setenv("OPENAI_API_KEY", "a-planted-key")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    checks = {check.name: check for check in doctor.report()}
    names = [
        *("docker", "podman", "apptainer", "bubblewrap", "control groups", "home"),
        "gpu",
        "machine",
        "model service",
        "extra tools",
        "extra simulate",
        "extra local",
        "data",
    ]
    assert list(checks) == names
    assert not checks["docker"].ok
    assert "no engine responds" in checks["docker"].detail
    assert checks["model service"].ok
    assert "http://127.0.0.1:1/v1" in checks["model service"].detail
    assert not any("a-planted-key" in check.detail for check in checks.values())


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.EXTRAS, "tools", ("torch", "no_such_package"))
    tools = next(iter(doctor.check_extras()))
    assert (tools.ok, tools.detail) == (False, "no no_such_package: pip install 'beamcrew[tools]'")


def test_a_host_whose_gpu_may_not_go_into_a_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    monkeypatch.setattr(doctor, "gpu_model", lambda: "NVIDIA H100")
    monkeypatch.setattr(doctor, "toolkit_version", lambda: "1.17.7")
    checks = {check.name: check for check in doctor.check_gpu("beamcrew-sandbox:test")}
    drivers = ("docker", "podman", "apptainer", "bubblewrap")
    assert list(checks) == ["gpu", "gpu toolkit", *(f"gpu in {name}" for name in drivers)]
    assert checks["gpu"].detail == "NVIDIA H100"
    assert not checks["gpu toolkit"].ok
    assert all(said in checks["gpu toolkit"].detail for said in ("1.17.7", "CVE-2026-24260", "1.19.1", "--gpu none"))
    assert not checks["gpu in docker"].ok
    assert "no.sock" in checks["gpu in docker"].detail or "engine" in checks["gpu in docker"].detail


def test_torch_is_asked_inside_the_sandbox() -> None:
    check = doctor.check_torch("bubblewrap", "no image is needed")
    if "could not build the sandbox" in check.detail:
        pytest.skip(check.detail)
    import torch

    assert check.detail.startswith(f"torch {torch.__version__}, CUDA {torch.version.cuda}, ")
    assert check.ok == ("CPU only" not in check.detail) == torch.cuda.is_available()


@pytest.mark.docker
def test_an_image_that_is_not_there() -> None:
    there = doctor.check_docker(TEST_IMAGE)
    assert there.ok
    assert all(said in there.detail for said in ("sha256:", " GB", " days old", "unknown which packages"))
    assert "beamcrew doctor --build" in doctor.check_docker("beamcrew-no-such-image:test").detail


@pytest.mark.docker
def test_an_image_of_other_packages_is_told_from_one_of_ours() -> None:
    client = docker.from_env()
    tag = f"beamcrew-doctor-test:{uuid.uuid4().hex[:8]}"
    try:
        for value, ok in ((requirements_hash(doctor.ROOT), True), ("0" * 64, False)):
            client.images.build(
                fileobj=io.BytesIO(f"FROM {TEST_IMAGE}\nLABEL {LABEL}={value}\n".encode()), tag=tag, rm=True
            )
            check = doctor.check_docker(tag)
            assert check.ok == ok
            assert ("beamcrew doctor --build" in check.detail) != ok
            client.images.remove(tag)
    finally:
        client.close()


@pytest.mark.docker
def test_torch_is_asked_inside_the_container() -> None:
    check = doctor.check_torch("docker", TEST_IMAGE)
    assert re.match(r"torch \d+\.\d+\.\d+\S*, CUDA \S+, \w+", check.detail)
    assert check.ok == ("CPU only" not in check.detail)
