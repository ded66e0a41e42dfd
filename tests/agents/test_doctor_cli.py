"""`beamcrew doctor`: what it is told reaches the build, and the digest of what was built is shown whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from agents.cli.main import app
from agents.doctor import machine as doctor
from sandbox import image
from sandbox.docker import IMAGE

DIGEST = f"sha256:{'0123456789abcdef' * 4}"


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the build was asked for; what the checks were asked about is under 'checked'."""
    calls: list[dict[str, Any]] = []

    def build_image(root: Path, tag: str, build_args: dict[str, str], **options: Any) -> str:
        options.pop("say")("[1/4] FROM [/red]")
        calls.append({"root": root, "tag": tag, "build_args": build_args, **options})
        return DIGEST

    def report(name: str) -> list[doctor.Check]:
        calls.append({"checked": name})
        return [doctor.Check(name="docker", ok=True, detail=f"{name} is {DIGEST}")]

    monkeypatch.delenv("PIP_CERT", raising=False)
    monkeypatch.setattr(image, "build_image", build_image)
    monkeypatch.setattr(doctor, "report", report)
    return calls


def call(*words: str) -> Result:
    return CliRunner(env={"COLUMNS": "60", "TERM": "dumb", "NO_COLOR": "1"}).invoke(app, ["doctor", *words])


def test_build_options_arrive_as_they_were_typed(built: list[dict[str, Any]]) -> None:
    words = ["--image", "ours:1", "--build", "--build-network", "host", "--certificates", "bundle.pem"]
    words += ["--build-arg", "BASE=python:3.11", "--build-arg", "PIP_INDEX_URL=https://x/?a=b", "--build-arg", "V=1.10"]
    result = call(*words)
    assert result.exit_code == 0, result.output
    asked, checked = built
    assert (asked["tag"], asked["network"], asked["certificates"]) == ("ours:1", "host", Path("bundle.pem"))
    assert asked["build_args"] == {"BASE": "python:3.11", "PIP_INDEX_URL": "https://x/?a=b", "V": "1.10"}
    assert (asked["root"] / "pyproject.toml").is_file()
    assert checked == {"checked": "ours:1"}
    assert f"beamcrew run --image {DIGEST}" in result.stdout, "in one piece, to be copied"
    assert "[1/4] FROM [/red]" in result.stderr


def test_certificates_of_pip_are_those_of_the_build(
    built: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CERT", "/etc/company.pem")
    call("--build")
    assert built[0]["certificates"] == Path("/etc/company.pem")
    assert (built[0]["tag"], built[0]["build_args"], built[0]["network"]) == (IMAGE, {}, "default")


def test_a_digest_is_not_cut_off_in_a_narrow_table(built: list[dict[str, Any]]) -> None:
    shown = "".join(call().stdout.replace("│", "").split())
    assert DIGEST in shown
    assert built == [{"checked": IMAGE}]


def test_what_is_no_pair_is_one_line(built: list[dict[str, Any]]) -> None:
    result = call("--build", "--build-arg", "BASE")
    assert result.exit_code == 2
    assert result.stderr.strip() == "error: --build-arg 'BASE': must be NAME=VALUE"
    assert not built
