"""Limits, tried with bombs and with processes that do not want to end; whoever ends, nothing is left on the machine."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from sandbox.driver import ExecResult, Sandbox, SandboxLost

REPO = Path(__file__).parents[2]
Make = Callable[..., Sandbox]


def python(box: Sandbox, code: str, *words: str, seconds: float = 30) -> ExecResult:
    return box.exec(["python", "-c", code, *words], seconds=seconds)


def running(marker: str) -> list[int]:
    """Processes of this machine, in whatever namespace, that have `marker` in their command line."""
    return [p.pid for p in psutil.process_iter(["cmdline"]) if marker in " ".join(p.info["cmdline"] or [])]


def gone(marker: str) -> bool:
    deadline = time.monotonic() + 3
    while running(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not running(marker)


DAEMON = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.execlp("sleep", "sleep", sys.argv[1])
    os._exit(0)
time.sleep(0.3)
if sys.argv[2] == "stay":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
"""


@pytest.mark.parametrize(("then", "ended"), [("stay", "timeout"), ("leave", "exit")])
def test_nothing_survives_its_command(box: Sandbox, then: str, ended: str) -> None:
    marker = f"7{time.time_ns() % 10**8}"
    result = python(box, DAEMON, marker, then, seconds=1.5)
    assert (result.ended, result.exit_code) == (ended, 137 if ended == "timeout" else 0)
    assert result.seconds < 5
    assert gone(marker)


@pytest.mark.parametrize("blow", ["KILL", "STOP"])
def test_time_is_kept_without_the_first_process(box: Sandbox, blow: str) -> None:
    marker = f"7{time.time_ns() % 10**8}"
    result = box.exec(["sh", "-c", f"kill -{blow} $PPID; kill -{blow} 1; sleep {marker}"], seconds=1)
    assert result.ended == "timeout" or result.exit_code == 137
    assert result.seconds < 8
    assert gone(marker)
    assert box.exec(["true"]).ok


def test_memory_bomb(make: Make) -> None:
    box = make(memory_mib=256)
    result = python(box, "x = []\nwhile True: x.append(bytearray(8 << 20))")
    assert (result.ok, result.ended) == (False, "memory")
    assert box.exec(["true"]).ok


def test_the_peak_of_memory_is_told(box: Sandbox) -> None:
    code = "import time\nx = bytearray(200 << 20)\ntime.sleep(0.5)"
    peak, idle = python(box, code).peak_mib, box.exec(["sleep", "0.5"]).peak_mib
    assert peak is not None
    assert idle is not None
    assert 200 <= peak <= 300
    assert idle < 100


def test_memory_hidden_in_files_is_bounded(make: Make) -> None:
    box = make(memory_mib=256, tmp_mib=16)
    result = box.exec(["sh", "-c", "head -c 64M /dev/zero > /tmp/big; head -c 64M /dev/zero > /dev/shm/big"])
    assert result.stderr.count("No space left") == 2
    code = "import os\nfd = os.memfd_create('m')\nfor _ in range(512): os.write(fd, bytes(1 << 20))"
    assert not python(box, code).ok


def test_fork_bomb(make: Make) -> None:
    box = make(processes=32)
    code = """
import os, time
children = 0
for _ in range(400):
    try: pid = os.fork()
    except OSError: break
    if pid == 0: time.sleep(600)
    children += 1
    time.sleep(0.002)
print(children)
"""
    result = python(box, code)
    assert result.ended == "processes" or int(result.stdout) <= 33
    assert box.exec(["true"]).ok


def test_large_file_and_core_are_refused(make: Make) -> None:
    box = make(file_mib=1)
    result = python(box, "open('big', 'wb').write(bytes(2 << 20))")
    assert "File too large" in result.stderr
    assert (box.workspace / "big").stat().st_size <= 1 << 20
    box.exec(["sh", "-c", "kill -SEGV $$"])
    assert not list(box.workspace.glob("core*"))


def test_limits_cannot_be_lifted(box: Sandbox) -> None:
    code = "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (10**6, 10**6))"
    assert "ValueError" in python(box, code).stderr or "PermissionError" in python(box, code).stderr


@pytest.mark.parametrize("wait", [0, 600])
def test_workspace_fill(make: Make, wait: int) -> None:
    box = make(workspace_mib=8, file_mib=4)
    code = f"import time\nfor k in range(4): open(str(k), 'wb').write(bytes(4 << 20))\ntime.sleep({wait})"
    result = python(box, code)
    assert result.ended == "workspace"
    assert result.seconds < 8


# --- the sandbox itself -------------------------------------------------------------------------------------------

DYING_OPERATOR = """
import os, signal, sys, threading, time
from pathlib import Path
from sandbox.driver import Limits
from sandbox.select import choose
kind, image, folder, marker = sys.argv[1:]
inputs, workspace = Path(folder, "inputs"), Path(folder, "workspace")
inputs.mkdir(), workspace.mkdir()
box = choose(kind, inputs, workspace, Path("tools"), Limits(), image=image)
threading.Thread(target=lambda: box.exec(["sleep", marker]), daemon=True).start()
time.sleep(1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_ends_with_its_operator(driver: str, tmp_path: Path, box: Sandbox) -> None:
    marker = f"7{time.time_ns() % 10**8}.5"
    words = [driver, str(box.info.image), str(tmp_path), marker]
    died = subprocess.run([sys.executable, "-c", DYING_OPERATOR, *words], cwd=REPO, timeout=60)
    assert died.returncode == -signal.SIGKILL
    assert gone(marker)


def test_a_closed_sandbox_is_lost(make: Make) -> None:
    box = make()
    box.close()
    with pytest.raises(SandboxLost):
        box.exec(["true"])
