"""The report names everything once, keeps secrets, and says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents import doctor


def test_report_names_each_thing_once_and_shows_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    monkeypatch.setenv("OPENAI_API_KEY", "a-planted-key")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    checks = {check.name: check for check in doctor.report()}
    names = ["docker", "bubblewrap", "gpu", "machine", "model service", "extra tools", "extra simulate", "data"]
    assert list(checks) == names
    assert not checks["docker"].ok
    assert "no engine answers" in checks["docker"].detail
    assert checks["model service"].ok
    assert "http://127.0.0.1:1/v1" in checks["model service"].detail
    assert not any("a-planted-key" in check.detail for check in checks.values())


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.EXTRAS, "tools", ("torch", "no_such_package"))
    tools = next(iter(doctor.check_extras()))
    assert (tools.ok, tools.detail) == (False, "no no_such_package: pip install 'beamcrew[tools]'")


@pytest.mark.docker
def test_an_image_that_is_not_there() -> None:
    assert doctor.check_docker("beamcrew-sandbox:test").ok
    assert "beamcrew doctor --build" in doctor.check_docker("beamcrew-no-such-image:test").detail
