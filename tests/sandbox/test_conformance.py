"""The conformance suite against every driver; and the proof that its checks can fail.

Without walls (tests/sandbox/leaky.py) every check of a wall or a limit fails, and with a careless reader and writer
every check of what is handed back.
"""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from leaky import Leaky

from sandbox import reader, writer
from sandbox.conformance import handback, suite
from sandbox.conformance.arena import Arena
from sandbox.conformance.check import Breach, Check, NotApplicable, check, expect, expect_refused
from sandbox.driver import Limits, Sandbox

THEMES = {name: [one for one in suite.CHECKS if one.name.startswith(f"{name}.")] for name in ("handback", "formats")}
HANDED_BACK = [one for checks in THEMES.values() for one in checks]
FAITHFUL = [one for one in suite.CHECKS if one.name.startswith("faithful.")]
WALLS = [one for one in suite.CHECKS if one not in HANDED_BACK and one not in FAITHFUL]


@pytest.mark.parametrize("one", suite.CHECKS, ids=lambda one: one.name)
def test_driver(one: Check, arena: Arena) -> None:
    verdict = suite.run_check(one, arena)
    if verdict.state == "skip":
        pytest.skip(verdict.seen)
    assert verdict.state == "ok", f"{one.promise}: {verdict.seen}"


# --- the checks can fail ------------------------------------------------------------------------------------------

OUTPUT = {"faithful.capped_output", "faithful.capped_output_of_a_cut_command"}  # the leaky driver caps nothing
# What nobody has to hold back where the kernel of the host has no such thing, and what holds without any driver.
WITHOUT = {
    "kernel.magic_keys": not Path("/proc/sysrq-trigger").exists(),
    "files.generators": not any(map(find_spec, ("pythia8mc", "pythia8"))),
    "keys.key_rings": not Path("/proc/keys").exists(),
    "network.machine_sockets": not Path("/dev/vsock").exists(),
    "network.interfaces": {path.name for path in Path("/sys/class/net").iterdir()} == {"lo"},
    "network.routes": len(Path("/proc/net/route").read_text().splitlines()) <= 1,
    "network.routes_v6": {"lo"} >= {line.split()[-1] for line in Path("/proc/net/ipv6_route").read_text().splitlines()}
    if Path("/proc/net/ipv6_route").exists()
    else True,
    "limits.cpus": True,  # a busy machine gives two busy processes less than two CPUs anyway
    "workspace.holes_are_not_counted": True,  # promises not to do too much
    "steps.work_of_another_step": True,
}
# What the kernel, or its usual settings, keep from every user but root, with or without a sandbox.
ONLY_ROOT = {
    *("files.label_file_by_handle", "kernel.clock", "kernel.control_groups"),
    *("kernel.devices", "kernel.disks", "kernel.kernel_log", "kernel.kernel_memory", "kernel.kernel_programs"),
    *("kernel.kernel_settings", "kernel.modules", "kernel.name_of_the_machine", "kernel.performance_counters"),
    *("kernel.system_tree", "network.interfaces_stay", "network.raw_sockets", "privileges.become_root"),
    *("privileges.bind_mount", "privileges.block_devices", "privileges.character_devices"),
    *("privileges.detached_mounts", "privileges.enter_namespaces", "privileges.join_root", "privileges.mount_tmpfs"),
    *("privileges.other_namespaces", "privileges.other_root", "privileges.priority"),
    *("privileges.privileged_files", "privileges.remount", "privileges.unmount", "privileges.user_is_not_root"),
    *("privileges.user_namespaces",),
}
ALONE = {"limits.cpus", "endings.operator_killed"}  # one measures the CPUs, one forks this process


def leaky(folder: Path) -> Arena:
    tools = folder / "tools"
    tools.mkdir(parents=True)
    (tools / "__init__.py").touch()
    return Arena(lambda inputs, workspace, limits: Leaky(inputs, workspace, tools, limits))


def outcome(one: Check, arena: Arena) -> str:
    """'breach' only where the promise was seen to be broken, not where the check broke down."""
    try:
        one.run(arena)
    except Breach:
        return "breach"
    except NotApplicable:
        return "not applicable"
    except Exception as error:
        return f"broke down: {error!r}"
    finally:
        arena.end_check()
    return "held"


def outcomes(checks: list[Check], folder: Path) -> dict[str, str]:
    """Most checks wait for most of their time: some at a time, each worker with a host folder of its own."""

    def work(number: int, share: list[Check]) -> dict[str, str]:
        with leaky(folder / str(number)) as arena:
            return {one.name: outcome(one, arena) for one in share}

    alone = work(0, [one for one in checks if one.name in ALONE])
    rest = [one for one in checks if one.name not in ALONE]
    with ThreadPoolExecutor(6) as pool:
        parts = list(pool.map(work, range(1, 7), [rest[k::6] for k in range(6)]))
    return {name: how for part in (alone, *parts) for name, how in part.items()}


def left_on_the_host() -> set[str]:
    """What outlives a process: objects of System V, names in shared memory."""
    found = {
        f"{kind} {line.split()[1]}"
        for kind in ("sem", "shm", "msg")
        if (table := Path("/proc/sysvipc", kind)).exists()
        for line in table.read_text().splitlines()[1:]
    }
    return found | {str(path) for path in Path("/dev/shm").glob("beamcrew-*")}


def test_without_walls_every_wall_is_seen_to_be_missing(tmp_path: Path) -> None:
    before = left_on_the_host()
    seen = outcomes(WALLS, tmp_path)
    deadline = time.monotonic() + 20  # what a neighbour uses at this moment goes
    while (left := left_on_the_host() - before) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == set()
    excused = {name for name, here in WITHOUT.items() if here} | (ONLY_ROOT if os.geteuid() else set())
    odd = {name: how for name, how in seen.items() if how not in ("breach", "not applicable") and name not in excused}
    assert odd == {}
    assert sum(how == "breach" for how in seen.values()) >= 80


def test_a_plain_process_is_faithful(tmp_path: Path) -> None:
    seen = outcomes(FAITHFUL, tmp_path)
    assert {name for name, how in seen.items() if how == "breach"} == OUTPUT
    assert {name for name, how in seen.items() if how == "held"} == seen.keys() - OUTPUT


class Careless:
    """Reads and writes as one would if nobody were hostile."""

    def read_bytes(self, workspace: Path, relative: str, max_bytes: int) -> bytes:
        with (workspace / relative).open("rb") as file:
            return file.read(max_bytes)

    def read_json(self, workspace: Path, relative: str) -> Any:
        return json.loads((workspace / relative).read_text(errors="replace") or "0")

    def read_png(self, workspace: Path, relative: str) -> bytes:
        return (workspace / relative).read_bytes()

    def read_parquet(self, workspace: Path, relative: str, *limits: Any) -> Any:
        return pq.ParquetFile(workspace / relative).read_row_group(0)

    def read_npz(self, workspace: Path, relative: str, *limits: Any) -> Any:
        return dict(np.load(workspace / relative, allow_pickle=True))

    def read_safetensors(self, workspace: Path, relative: str, *limits: Any) -> Any:
        return (workspace / relative).read_bytes()

    def list_files(self, workspace: Path, sub: str) -> reader.Listing:
        return reader.Listing({str(path): 0 for path in (workspace / sub).rglob("*")}, {})

    def write_bytes(self, workspace: Path, relative: str, data: bytes) -> None:
        (workspace / relative).parent.mkdir(exist_ok=True)
        (workspace / relative).write_bytes(data)


# Promises of what is done, not of what is refused; and a door that today's pyarrow has closed itself.
PLAIN = {"formats.plain_formats", "handback.deep_folders", "handback.closed_file", "formats.pickle_in_parquet"}


def test_with_a_careless_reader_nothing_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (reader, writer):
        for name in (name for name in vars(Careless) if not name.startswith("_") and hasattr(module, name)):
            monkeypatch.setattr(module, name, getattr(Careless(), name))
    monkeypatch.setattr(handback, "PATIENCE", 1.0)
    with leaky(tmp_path) as arena:
        seen = {one.name: suite.run_check(one, arena).state for one in HANDED_BACK}
    assert {name for name, state in seen.items() if state == "ok"} <= PLAIN


# --- the suite itself ---------------------------------------------------------------------------------------------


def test_there_are_many_checks_and_each_has_a_promise_of_its_own() -> None:
    assert len(suite.CHECKS) >= 150
    assert len({one.promise for one in suite.CHECKS}) == len({one.name for one in suite.CHECKS}) == len(suite.CHECKS)


def test_a_check_needs_its_promise_in_one_line() -> None:
    def silent(arena: Arena) -> None: ...

    with pytest.raises(ValueError, match="in one line"):
        check(silent)


def test_an_attempt_that_was_not_made_is_no_refusal() -> None:
    expect_refused({"mount": "EPERM"})
    for answers in ({}, {"mount": "ok"}, {"mount": "EPERM", "bind": "EINVAL"}):
        with pytest.raises(Breach):
            expect_refused(answers)


def test_outcome_counts_each_check_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @check
    def holds(arena: Arena) -> None:
        """It holds."""

    @check
    def breaks(arena: Arena) -> None:
        """It breaks."""
        expect(False, "a leak")

    @check
    def breaks_down(arena: Arena) -> None:
        """It breaks down."""
        arena.ask("raise SystemExit('no attack')")

    @check
    def has_no_ground(arena: Arena) -> None:
        """It has no ground."""
        raise NotApplicable("nothing to try")

    monkeypatch.setattr(suite, "CHECKS", [holds, breaks, breaks_down, has_no_ground])
    said: list[str] = []
    tools = tmp_path / "tools"
    tools.mkdir()

    def open_leaky(inputs: Path, workspace: Path, limits: Limits) -> Sandbox:
        return Leaky(inputs, workspace, tools, limits)

    got = suite.run_suite(open_leaky, said.append)
    assert (got.passed, got.failed, got.skipped) == (1, 2, 1)
    assert got.lines == said
    assert said[:2] == ["ok   It holds", "FAIL It breaks [a leak]"]
    assert "no attack" in said[2]
    assert said[3] == "skip It has no ground [nothing to try]"
