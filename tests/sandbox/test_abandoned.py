"""What dead runs left is removed; what may still be in use, here or elsewhere, never is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from typer.testing import CliRunner

from agents.cli.main import app
from sandbox import abandoned, owner
from sandbox.docker import Docker
from sandbox.driver import Limits

ROOT = Path(__file__).parents[2]
TEST_IMAGE = os.environ.get("BEAMCREW_TEST_IMAGE", "beamcrew-sandbox:test")
TELL = "import json; from sandbox import owner; print(json.dumps(owner.labels('gone')))"
RUN_ON = """
import sys
from pathlib import Path
from sandbox.docker import Docker
from sandbox.driver import Limits
folder, tools, image = sys.argv[1:]
with Docker(Path(folder, "inputs"), Path(folder, "workspace"), Path(tools), Limits(), image=image):
    print("started", flush=True)
    input()
"""
RUN_BUBBLEWRAP = """
import sys
from pathlib import Path
from sandbox.bubblewrap import Bubblewrap
from sandbox.driver import Limits
folder, tools = sys.argv[1:]
with Bubblewrap(Path(folder, "inputs"), Path(folder, "workspace"), Path(tools), Limits()) as box:
    box.exec(["sh", "-c", "touch begun; sleep 60"])
"""
Labels = dict[str, str]


@pytest.fixture
def mine() -> Labels:
    return owner.labels("a-run")


@pytest.fixture
def dead() -> Labels:
    """The labels of a process that has ended."""
    told = subprocess.run([sys.executable, "-c", TELL], cwd=ROOT, capture_output=True, text=True, check=True)
    labels: Labels = json.loads(told.stdout)
    return labels


def elsewhere(labels: Labels) -> Labels:
    boot, rest = labels[owner.OWNER].split(" ", 1)
    return labels | {owner.HOST: "cluster7", owner.OWNER: f"{boot[::-1]} {rest}"}


def test_only_a_process_that_is_provably_dead_counts_as_dead(mine: Labels, dead: Labels) -> None:
    assert owner.alive(dead) == ""
    assert owner.alive(mine) == f"process {os.getpid()} lives"
    assert "cluster7" in owner.alive(elsewhere(dead))
    first = owner.labels("") | {owner.OWNER: mine[owner.OWNER].replace(f" {os.getpid()} ", " 1 ")}
    assert owner.alive(first) == "", "the number is in use again, by a process that began at another time"


@pytest.mark.parametrize("said", ["", "boot ns", "boot ns 1 x", "boot ns -1 2", f"boot ns {'9' * 30} 2", "a b 1 2 3"])
def test_labels_that_say_nothing_are_left_alone(said: str) -> None:
    assert owner.alive({owner.OWNER: said})
    assert owner.alive({})


def test_a_process_that_the_system_hides_is_not_dead(mine: Labels, monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(pid: int) -> str:
        raise FileNotFoundError(pid)

    monkeypatch.setattr(owner, "began", hidden)
    assert "lives" in owner.alive(mine)


def test_bubblewrap_puts_nothing_where_a_killed_process_could_leave_it(tmp_path: Path) -> None:
    for name in ("inputs", "workspace", "temporary"):
        (tmp_path / name).mkdir()
    words = [sys.executable, "-c", RUN_BUBBLEWRAP, str(tmp_path), str(ROOT / "tools")]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    with subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as operator:
        while not (tmp_path / "workspace" / "begun").exists():
            assert operator.poll() is None
            time.sleep(0.02)
        operator.kill()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["begun", "inputs", "temporary", "workspace"]


def test_without_an_engine_there_is_nothing_to_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    result = CliRunner().invoke(app, ["doctor", "--clean"])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].startswith("left containers: no engine answers")


@pytest.fixture
def left() -> Iterator[Callable[[Labels], str]]:
    """Make a container that stays although nobody holds it, with these labels; its name."""
    client = docker.from_env()
    made = []

    def make(labels: Labels) -> str:
        container = client.containers.run(
            TEST_IMAGE, ["sleep", "300"], labels=labels, network_mode="none", detach=True, stop_signal="KILL"
        )
        made.append(container)
        return str(container.name)

    yield make
    for container in client.containers.list(all=True):
        if container in made:
            container.remove(force=True)
    client.close()


@pytest.mark.docker
def test_a_container_that_outlives_its_killed_operator(tmp_path: Path) -> None:
    for name in ("inputs", "workspace"):
        (tmp_path / name).mkdir()
    words = [sys.executable, "-c", RUN_ON, str(tmp_path), str(ROOT / "tools"), TEST_IMAGE]
    client = docker.from_env()
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as operator:
        assert operator.stdout
        assert operator.stdout.readline() == "started\n"
        (container,) = client.containers.list(filters={"label": f"{owner.RUN}={tmp_path.name}"})
        container.pause()  # or it would see its standard input end
        name = f"container {container.name}"
        assert not any(found.removed for found in abandoned.clean() if found.name == name)
        operator.kill()
        operator.wait()
    assert [found.removed for found in abandoned.clean() if found.name == name] == [True]
    assert not client.containers.list(all=True, filters={"label": f"{owner.RUN}={tmp_path.name}"})
    client.close()


@pytest.mark.docker
def test_containers_of_dead_runs_go_and_no_others(
    tmp_path: Path, mine: Labels, dead: Labels, left: Callable[[Labels], str]
) -> None:
    for name in ("inputs", "workspace"):
        (tmp_path / name).mkdir()
    unsigned = {owner.RUN: "old"}
    names = {left(labels): labels for labels in (dead, mine, elsewhere(dead), unsigned)}
    with Docker(tmp_path / "inputs", tmp_path / "workspace", ROOT / "tools", Limits(), image=TEST_IMAGE) as box:
        found = {found.name.removeprefix("container "): found for found in abandoned.clean()}
        assert [name for name in names if found[name].removed] == [n for n, labels in names.items() if labels == dead]
        (live,) = (item for item in found.values() if f"of {tmp_path.name}: " in item.why)
        assert f"process {os.getpid()} lives" in live.why
        assert box.exec(["true"]).ok
    whys = {str(labels): found[name].why for name, labels in names.items()}
    assert whys[str(dead)] == "of gone: its process is dead"
    assert "made on cluster7" in whys[str(elsewhere(dead))]
    assert "docker rm -f" in whys[str(elsewhere(dead))]
    assert "does not say" in whys[str(unsigned)]
    again = [found.name for found in abandoned.clean() if found.removed]
    assert not set(again) & {f"container {name}" for name in names}
