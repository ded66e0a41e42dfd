"""Runs whose real sandbox is taken from them in the middle of a command."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import psutil
import pytest
from engine_proxy import EngineProxy
from scripted import Scripted, TinyTask, call, python, two_rounds

import sandbox.disk as of_disk
from agents.crew import worker
from agents.runs.run import Settings, resume, start
from agents.trace import recorders
from agents.trace.events import CanaryChecked, Executed, RunResumed, SandboxRenewed, Trouble
from agents.trace.record import identity
from agents.trace.result import RunResult
from agents.trace.store import read_trace
from sandbox.driver import SandboxLost
from tasks import catalogue

TEST_IMAGE = os.environ.get("BEAMCREW_TEST_IMAGE", "beamcrew-sandbox:test")
# A command that fails where an earlier try of it has left something.
SCRIPT = two_rounds("import os, time\nassert not os.path.exists('half')\nopen('half', 'w').close()\ntime.sleep(2)")
SETTINGS = Settings(request="Is there anything?", task="tiny", sandbox="bubblewrap", salt="")
DOCKER = SETTINGS.model_copy(update={"sandbox": "docker", "image": TEST_IMAGE})
SAME = {"iterations", "best_iteration", "steering", "sealed", "claims", "claim", "status", "reason", "cost", "options"}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorders, "PAUSES", (0.2, 0.5))


@pytest.fixture(autouse=True, scope="module")
def never_long() -> Iterator[None]:
    """Requests tell seconds of calls that took long, as any may on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "LONG", float("inf"))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunResult, Path]]:
    """The same run, undisturbed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalogue.catalogue(), "tiny", TinyTask)
        run_dir = tmp_path_factory.mktemp("whole") / "run"
        yield start(SETTINGS, Scripted(SCRIPT), run_dir), run_dir


def disturbed(settings: Settings, run_dir: Path, disturb: Callable[[], object]) -> RunResult:
    """A run that is disturbed once, when its slow command has done half its work."""

    def watch_for_it() -> None:
        while not (run_dir / "workspace" / "i0" / "c" / "half").exists():
            time.sleep(0.02)
        disturb()

    threading.Thread(target=watch_for_it, daemon=True).start()
    return start(settings, Scripted(SCRIPT), run_dir)


def work(run_dir: Path) -> Counter[tuple[str, str]]:
    """What was asked, run, graded and said."""
    kinds = ("run_started", "run_resumed", "run_finished", "canary_checked", "sandbox_renewed")
    events = [e for e in read_trace(run_dir) if e.kind not in kinds]
    return Counter(identity(e) for e in events if not (isinstance(e, Trouble) and e.who != "model"))


def as_if_nothing_had_happened(result: RunResult, run_dir: Path, whole: tuple[RunResult, Path]) -> None:
    assert result.model_dump(include=SAME) == whole[0].model_dump(include=SAME)
    assert work(run_dir) == work(whole[1])
    assert all(e.exit_code == 0 for e in read_trace(run_dir) if isinstance(e, Executed) and "score.py" in e.argv)


def troubles(run_dir: Path) -> list[str]:
    """For the operator, during the slow command."""
    found = [e for e in read_trace(run_dir) if isinstance(e, Trouble) and e.who == "operator"]
    assert {e.where for e in found} <= {"worker/0/c"}
    return [e.text for e in found]


def of(run_dir: Path, kind: type) -> list[Any]:
    return [event for event in read_trace(run_dir) if isinstance(event, kind)]


def containers(run_dir: Path) -> list[Any]:
    place = str((run_dir / "workspace").resolve())
    found = docker.from_env().containers.list()
    return [c for c in found if any(mount["Source"] == place for mount in c.attrs["Mounts"])]


def kill_container(run_dir: Path) -> None:
    (container,) = containers(run_dir)
    container.kill()


@pytest.mark.docker
def test_a_container_killed_from_outside(tmp_path: Path, whole: tuple[RunResult, Path]) -> None:
    run_dir = tmp_path / "run"
    result = disturbed(DOCKER, run_dir, lambda: kill_container(run_dir))
    as_if_nothing_had_happened(result, run_dir, whole)
    (text,) = troubles(run_dir)
    assert "container" in text
    (renewed,) = of(run_dir, SandboxRenewed)
    assert renewed.sandbox == result.sandbox
    assert renewed.sandbox.image == read_trace(run_dir)[0].sandbox.image
    assert [e.held for e in of(run_dir, CanaryChecked)] == [True, True]
    assert (result.sandbox_renewals, result.renewal_seconds) == (1, renewed.seconds)
    for name in ("report.md", "report.html"):
        assert "lost once and replaced" in (run_dir / name).read_text()
    assert containers(run_dir) == []


@pytest.mark.docker
def test_two_workers_lose_one_container_and_share_the_next(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    code = "import os, time\nassert not os.path.exists('half')\nopen('half', 'w').close()\ntime.sleep(2)\nprint('ok')"
    script = dict(two_rounds()) | {f"worker/0/{name}": [python(code), call("finish", summary="")] for name in "ab"}

    def disturb() -> None:
        while not all((run_dir / "workspace" / "i0" / name / "half").exists() for name in "ab"):
            time.sleep(0.02)
        kill_container(run_dir)

    thread = threading.Thread(target=disturb)
    thread.start()
    result = start(DOCKER, Scripted(script), run_dir)
    thread.join()
    assert (result.status, result.sandbox_renewals) == ("converged", 1)
    executed = [e for e in of(run_dir, Executed) if e.where in ("worker/0/a", "worker/0/b")]
    assert sorted((e.where, e.exit_code) for e in executed) == [("worker/0/a", 0), ("worker/0/b", 0)]
    assert sorted(e.where for e in of(run_dir, Trouble) if e.who == "operator") == ["worker/0/a", "worker/0/b"]


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineProxy]:
    folder = Path(f"/tmp/proxy-{os.getpid()}")  # a Unix socket has no room for a long path
    folder.mkdir()
    found = EngineProxy(folder / "s")
    monkeypatch.setenv("DOCKER_HOST", found.url)
    yield found
    shutil.rmtree(folder)


@pytest.mark.docker
def test_an_engine_that_stays_away_ends_the_run_and_one_that_is_back_goes_on_with_it(
    tmp_path: Path, whole: tuple[RunResult, Path], proxy: EngineProxy
) -> None:
    run_dir = tmp_path / "run"
    result = disturbed(DOCKER, run_dir, proxy.cut)
    assert (result.status, result.sandbox_renewals, len(result.iterations)) == ("lost", 0, 0)
    assert "beamcrew doctor" in result.reason
    assert "beamcrew resume" in (run_dir / "report.md").read_text()
    assert len(troubles(run_dir)) == 3
    assert [e.where for e in of(run_dir, Executed)].count("worker/0/c") == 0
    with pytest.raises(SandboxLost, match="Is the engine running"):
        resume(run_dir, Scripted(SCRIPT))
    proxy.mend()
    result = resume(run_dir, Scripted(SCRIPT))
    as_if_nothing_had_happened(result, run_dir, whole)
    (resumed,) = of(run_dir, RunResumed)
    assert resumed.sandbox.image == read_trace(run_dir)[0].sandbox.image


@pytest.mark.docker
def test_an_engine_that_restarts_is_waited_for(
    tmp_path: Path, whole: tuple[RunResult, Path], proxy: EngineProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "PAUSES", (0.2, 4))
    run_dir = tmp_path / "run"

    def restart() -> None:
        proxy.cut()
        time.sleep(1.5)
        proxy.mend()

    result = disturbed(DOCKER, run_dir, restart)
    as_if_nothing_had_happened(result, run_dir, whole)
    assert len(troubles(run_dir)) == 2
    (renewed,) = of(run_dir, SandboxRenewed)
    assert renewed.seconds > 4
    assert result.seconds > renewed.seconds, "the time is in the account, and said"


@pytest.fixture
def own_image() -> Iterator[tuple[str, str]]:
    """Name and digest of an image that a test may lose."""
    client, tag = docker.from_env(), f"beamcrew-sandbox:lost-{os.getpid()}"
    recipe = f"FROM {TEST_IMAGE}\nLABEL made={time.time_ns()}\n".encode()
    subprocess.run(["docker", "build", "-q", "-t", tag, "-"], input=recipe, check=True, capture_output=True)
    digest = client.images.get(tag).id
    yield tag, digest
    for name in (tag, digest):
        with contextlib.suppress(docker.errors.ImageNotFound):
            client.images.remove(name, force=True)


@pytest.mark.docker
def test_a_name_that_means_another_image_by_now_is_not_followed(
    tmp_path: Path, whole: tuple[RunResult, Path], own_image: tuple[str, str]
) -> None:
    (tag, digest), run_dir = own_image, tmp_path / "run"

    def disturb() -> None:
        docker.from_env().images.get(TEST_IMAGE).tag(tag)
        kill_container(run_dir)

    result = disturbed(DOCKER.model_copy(update={"image": tag}), run_dir, disturb)
    as_if_nothing_had_happened(result, run_dir, whole)
    assert (result.sandbox_renewals, result.sandbox.image) == (1, digest)


@pytest.mark.docker
def test_a_run_whose_image_is_gone_says_which_one_it_needs(tmp_path: Path, own_image: tuple[str, str]) -> None:
    (tag, digest), run_dir = own_image, tmp_path / "run"

    def disturb() -> None:
        docker.from_env().images.get(TEST_IMAGE).tag(tag)
        kill_container(run_dir)
        while True:
            try:
                return docker.from_env().images.remove(digest, force=True)
            except docker.errors.APIError:  # the container is not quite gone
                time.sleep(0.02)

    result = disturbed(DOCKER.model_copy(update={"image": tag}), run_dir, disturb)
    assert result.status == "lost"
    assert digest in result.reason
    assert "docker load" in result.reason
    with pytest.raises(SandboxLost, match=rf"{digest}.*docker load"):
        resume(run_dir, Scripted(SCRIPT))


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Callable[[bool], None]]]:
    """A folder on a disk of its own, and a way to fill and to empty it; where nobody may mount one, it is said so."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mib = (of_disk.DISK_RESERVE >> 20) + 64
    words = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(disk)]
    mounted = subprocess.run(words, capture_output=True, check=False).returncode == 0

    def fill(full: bool) -> None:
        if not mounted:
            monkeypatch.setattr(of_disk, "disk_low", lambda workspace: full)
        elif full:
            with (disk / "filling").open("wb") as file:
                file.write(bytes(80 << 20))
        else:
            (disk / "filling").unlink()

    yield disk, fill
    if mounted:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk(
    tmp_path: Path, whole: tuple[RunResult, Path], small_disk: tuple[Path, Callable[[bool], None]]
) -> None:
    disk, fill = small_disk
    result = disturbed(SETTINGS, disk / "run", lambda: fill(True))
    assert result.status == "lost"
    assert "free some, then resume" in result.reason
    assert [e.where for e in of(disk / "run", Executed)].count("worker/0/c") == 0
    with pytest.raises(SandboxLost, match="free some"):
        resume(disk / "run", Scripted(SCRIPT))
    fill(False)
    as_if_nothing_had_happened(resume(disk / "run", Scripted(SCRIPT)), disk / "run", whole)


def kill_bwrap(run_dir: Path) -> None:
    """The outermost process of the sandbox, which nothing inside can reach."""
    (bwrap,) = [
        process
        for process in psutil.Process().children()
        if process.name() == "bwrap" and str(run_dir / "workspace") in process.cmdline()
    ]
    bwrap.kill()


def test_a_bwrap_killed_from_outside(tmp_path: Path, whole: tuple[RunResult, Path]) -> None:
    run_dir = tmp_path / "run"
    result = disturbed(SETTINGS, run_dir, lambda: kill_bwrap(run_dir))
    as_if_nothing_had_happened(result, run_dir, whole)
    assert result.sandbox_renewals == 1


def test_a_run_killed_in_the_middle_of_a_command_leaves_nothing_of_it(
    tmp_path: Path, whole: tuple[RunResult, Path]
) -> None:
    run_dir = tmp_path / "run"
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\nimport test_lost_real as t\n"
        "t.catalogue.catalogue()['tiny'] = t.TinyTask\n"
        "t.start(t.SETTINGS, t.Scripted(t.SCRIPT), Path(sys.argv[1]))\n"
    )
    half = run_dir / "workspace" / "i0" / "c" / "half"
    with subprocess.Popen([sys.executable, "-c", code, str(run_dir), *sys.path]) as process:
        while not half.exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    assert half.exists()
    result = resume(run_dir, Scripted(SCRIPT))
    as_if_nothing_had_happened(result, run_dir, whole)
