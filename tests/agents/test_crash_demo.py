"""The demo itself, killed at the boundary of every event and at random instants, ends as if nothing had happened.

It takes its time, on a busy machine most of an hour, so it has to be asked for. One life of the run is killed after
every new event of each session (in containers, which take seconds to begin, after every third), a second one at as
many random instants as are named. With these numbers that makes 105 kills in bubblewrap, and about 25 in containers:

    BEAMCREW_DEMO_KILLS=30 pytest -s tests/agents/test_crash_demo.py
    BEAMCREW_DEMO_KILLS=8 pytest -s tests/agents/test_crash_demo.py -m docker
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import docker
import pytest
from killed import Life, commands, facts
from scripted import log_call

from agents.backends.base import Reply, Request
from agents.backends.built_in import BuiltIn
from agents.runs.replay import replay
from agents.runs.run import Settings
from agents.trace.events import Confirmed, Executed, Graded, ModelCalled, Sealed
from agents.trace.record import said
from agents.trace.result import RunResult
from agents.trace.store import read_trace
from agents.trace.verify import verified
from tasks.catalogue import make_task

KILLS = int(os.environ.get("BEAMCREW_DEMO_KILLS", "0"))
TEST_IMAGE = os.environ.get("BEAMCREW_TEST_IMAGE", "beamcrew-sandbox:test")
LONGEST = 15.0  # seconds that a session lives at most when it is killed at any instant
# Fewer events, windows and iterations; all else, every step and tool up to the claim, as in the demo.
LESS = {"events": 30_000, "n_signal": 300, "search": [3.2, 3.9]}
SHORTER = {"bubblewrap": LESS | {"max_iterations": 2}, "docker": LESS | {"max_iterations": 1}}
STRIDE = {"bubblewrap": 1, "docker": 3}  # killed after so many new events; to begin a container takes seconds
OF_THIS_RUN = {  # its name, times, memory, sessions
    *("run", "seconds", "renewal_seconds", "sandbox_renewals", "peak_memory_mib", "troubles", "trace_sha256"),
}

pytestmark = [
    pytest.mark.skipif(not KILLS, reason="takes long: BEAMCREW_DEMO_KILLS says how many kills at random instants"),
    pytest.mark.timeout(0),
]


class Logged(BuiltIn):
    """The analyst, who writes down what he is asked before he answers."""

    def __init__(self, log: Path) -> None:
        super().__init__("analyst")
        self._log = log

    def complete(self, request: Request) -> Reply:
        log_call(request, self._log)
        return super().complete(request)


def result(life: Life) -> dict[str, Any]:
    document = RunResult.model_validate_json((life.run_dir / "result.json").read_text())
    return document.model_dump(exclude=OF_THIS_RUN)


def verdicts(life: Life) -> list[dict[str, Any]]:
    """All that the harness found out."""
    return [said(e) for e in read_trace(life.run_dir) if isinstance(e, Graded | Confirmed | Sealed)]


def arrays(life: Life) -> dict[tuple[str, str], str]:
    """What the commands made: place and path -> SHA-256. JSON files and the journal hold times."""
    made = [e for e in read_trace(life.run_dir) if isinstance(e, Executed)]
    return {(e.where, path): sha for e in made for path, sha in e.files.items() if path.endswith((".parquet", ".npz"))}


def files(life: Life) -> set[str]:
    """All that lies in the folder of the run but for blobs, of which those of a command that was cut off may stay."""
    found = (path.relative_to(life.run_dir) for path in life.run_dir.rglob("*"))
    return {str(path) for path in found if path.parts[0] != "blobs"}


def containers(life: Life) -> list[Any]:
    found = docker.from_env().containers.list(all=True)
    return [c for c in found if any(str(life.run_dir) in mount["Source"] for mount in c.attrs["Mounts"])]


@pytest.mark.parametrize("sandbox", ["bubblewrap", pytest.param("docker", marks=pytest.mark.docker)])
def test_the_demo_comes_to_the_same_end(tmp_path: Path, sandbox: Any) -> None:
    options = make_task("lhco-demo", SHORTER[sandbox]).options()
    settings = Settings(
        request="Is there a resonance?", options=options, sandbox=sandbox, image=TEST_IMAGE, salt="5" * 32
    )

    def life(name: str) -> Life:
        return Life(tmp_path / name, settings, Logged)

    whole, boundaries, instants = life("whole"), life("boundaries"), life("instants")
    whole.at_any_instant(random.Random(1), 0, LONGEST)
    assert result(whole)["status"] in ("converged", "exhausted")
    calls = [e for e in read_trace(whole.run_dir) if isinstance(e, ModelCalled)]
    boundaries.at_boundaries(STRIDE[sandbox])
    instants.at_any_instant(random.Random(1), KILLS, LONGEST)
    for killed in (boundaries, instants):
        print(f"{killed.folder.name}: {killed.kills} kills, {killed.asked.total()} calls for {len(calls)} replies")
        assert killed.asked.keys() == whole.asked.keys()
        assert killed.asked.total() <= len(calls) + 2 * killed.kills, "one call of each worker may have been under way"
        assert result(killed) == result(whole)
        assert verdicts(killed) == verdicts(whole)
        assert arrays(killed) == arrays(whole)
        assert facts(killed.run_dir) == facts(whole.run_dir)
        assert files(killed) == files(whole)
        assert set(commands(killed.run_dir).values()) == {1}
        assert verified(killed.run_dir)
        assert replay(killed.run_dir, killed.folder / "replay").agrees
        if sandbox == "docker":
            assert containers(killed) == []
    assert boundaries.kills >= len(facts(whole.run_dir)) // STRIDE[sandbox]
