"""`beamcrew doctor --selftest`: one line a check, a total at the end, and an exit status that scripts can use."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agents.cli.main import app
from sandbox.bubblewrap import Bubblewrap
from sandbox.conformance import faithful, files, suite
from sandbox.conformance.arena import Arena
from sandbox.conformance.check import NotApplicable, check, expect
from sandbox.driver import Limits, SandboxLost


@check
def leaks(arena: Arena) -> None:
    """Nothing leaks."""
    expect(False, "a leak [/red]")


@check
def has_no_ground(arena: Arena) -> None:
    """There is ground."""
    raise NotApplicable("nothing to try")


@pytest.fixture(autouse=True)
def no_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    monkeypatch.setattr("sandbox.podman.sockets", lambda: iter(()))
    monkeypatch.setattr("sandbox.podman.which", lambda name: None)
    monkeypatch.setattr(suite, "CHECKS", [faithful.exit_codes, files.label_file])


@pytest.fixture
def bubblewrap(tmp_path: Path) -> None:
    try:
        Bubblewrap(tmp_path, tmp_path, tmp_path, Limits()).close()
    except SandboxLost as error:
        pytest.skip(f"this machine lets nobody build a bubblewrap sandbox: {error}")


def call(*words: str) -> Result:
    environment = {"COLUMNS": "60", "TERM": "dumb", "NO_COLOR": "1"}
    return CliRunner(env=environment).invoke(app, ["doctor", *words])


@pytest.mark.usefixtures("bubblewrap")
def test_a_driver_that_holds() -> None:
    result = call("--selftest", "--sandbox", "bubblewrap")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "ok   A command's exit code comes back unchanged",
        "ok   A label file of the host cannot be read by its path",
        "2 passed, 0 failed",
    ]


@pytest.mark.usefixtures("bubblewrap")
def test_every_driver_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "CHECKS", [faithful.exit_codes, has_no_ground])
    result = call("--selftest")
    assert result.exit_code == 0, result.output
    docker, absent, *others, _, checks, total = result.stdout.splitlines()
    assert docker == "docker:"
    assert [line for line in others if line.endswith(":")] == ["podman:", "apptainer:", "bubblewrap:"]
    assert absent.startswith("not available: looking for the Docker engine")
    assert checks == "skip There is ground [nothing to try]"
    assert total == "1 passed, 0 failed, 1 skipped"


@pytest.mark.usefixtures("bubblewrap")
def test_a_promise_that_does_not_hold_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "CHECKS", [leaks])
    result = call("--selftest", "--sandbox", "bubblewrap")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == ["FAIL Nothing leaks [a leak [/red]]", "0 passed, 1 failed"]


def test_no_check_at_all_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.bubblewrap.candidates", list)
    result = call("--selftest")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (1, "0 passed, 0 failed")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--selftest", "--sandbox", "docker"), "looking for the Docker engine"),
        (("--selftest", "--sandbox", "podman"), "there is no podman command: install Podman"),
        (("--selftest", "--sandbox", "lxc"), "no sandbox 'lxc'; choose one of docker, podman, apptainer, bubblewrap"),
        (("--sandbox", "docker"), "--sandbox is for --selftest and --build"),
    ],
)
def test_what_cannot_be_tested_is_an_error(words: tuple[str, ...], message: str) -> None:
    result = call(*words)
    assert result.exit_code == 2
    assert message in result.stderr
