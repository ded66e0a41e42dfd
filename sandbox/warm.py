"""The first process of a container: starts commands by fork when the host asks, and reports how they ended.

A fork of this warm interpreter takes milliseconds, the engine's own exec ten times as long. For each command, the host
writes a line of JSON to standard input, and reads a line of JSON from standard output when the command is over:

    {"id": 1, "argv": ["pwd"], "cwd": "/workspace", "limits": {"NOFILE": 1024}, "seconds": 900.0, "output": 262144,
     "temporary": "/run/beamcrew"}
    {"id": 1, "code": 0, "ended": "exit", "stdout": "/workspace\\n", "stderr": "", "dropped": 0, "peak_mib": 9.5}

A line {"end": "workspace"} ends all commands for that reason, {"end": "memory", "of": 12} only that of supervisor 12.
The end of the input ends everything: the operator's process holds it open as a lifeline.

Each command has a supervisor (`sandbox.entry.supervise`) that ends what the command leaves behind. Generated code can
kill its supervisor, but not this process: the kernel delivers no signals from inside to the first process of a PID
namespace, and since it is not dumpable, nothing inside can trace it or open its pipes. Processes that lose their
supervisor become children of this process, and are ended at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil  # noqa: F401 - loaded for its forks
import signal
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import entry, landlock, seccomp
from sandbox.capture import Capture

DUMPABLE = 4  # PR_SET_DUMPABLE
GRACE = 1.0  # seconds that a supervisor has after its time limit before this process ends it
PATIENCE = 2.0  # seconds to hunt down what a command left behind before all other commands have to end too
TICK = 0.01  # seconds between two checks while something is hunted down
PIPE = 1 << 16
FDS = 4096  # more than this process ever opens
OOM_FILES = ("memory.events", "memory/memory.oom_control")  # cgroup v2, v1


@dataclass(eq=False)
class Command:
    """A command that is running or has just ended."""

    id: int
    supervisor: int
    began: float
    seconds: float
    outputs: dict[int, Capture]  # standard output and error, by the reading end of their pipe
    ended: str = "exit"
    code: int | None = None
    over: float = 0.0  # when the supervisor ended
    peak_mib: float = 0.0


class Warm:
    """The server: forks commands, collects their output and reports their ends."""

    def __init__(self) -> None:
        self._live: dict[int, Command] = {}  # by the supervisor's pid
        self._input = b""
        self._oom_kills = oom_kills()
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Serve until the input ends."""
        wake, wake_write = os.pipe()
        for fd in (wake, wake_write):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._selector.register(0, selectors.EVENT_READ)
        self._selector.register(wake, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select(self._wait()):
                data = self._read(key.fd)
                if key.fd == 0 and not data:
                    return
                if key.fd == 0:
                    self._obey(data)
            self._reap()
            self._keep_time()
            self._settle()

    def _wait(self) -> float | None:
        if any(command.code is not None for command in self._live.values()):
            return TICK
        backups = [command.began + command.seconds + GRACE for command in self._live.values()]
        return max(0.0, min(backups) - time.monotonic()) if backups else None

    def _read(self, fd: int) -> bytes:
        try:
            data = os.read(fd, PIPE)
        except BlockingIOError:
            return b""
        for command in self._live.values():
            if capture := command.outputs.get(fd):
                capture.feed(data)
                if not data:
                    self._selector.unregister(fd)
        return data

    def _obey(self, data: bytes) -> None:
        *lines, self._input = (self._input + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if "end" in order:
                for command in self._live.values():
                    if order.get("of", command.supervisor) == command.supervisor:
                        self._end(command, order["end"])
            else:
                self._start(order)

    def _start(self, order: dict[str, Any]) -> None:
        pipes = [os.pipe(), os.pipe()]
        try:
            pid = os.fork()
        except OSError as error:  # other commands of the run use up its limit of processes
            for fd in pipes[0] + pipes[1]:
                os.close(fd)
            answer(order["id"], code=126, ended="processes", stderr=f"no process available: {error.strerror}\n")
            return
        if pid == 0:
            self._become(order, pipes[0][1], pipes[1][1])
        outputs = {}
        for reading, writing in pipes:
            os.close(writing)
            os.set_blocking(reading, False)
            self._selector.register(reading, selectors.EVENT_READ)
            outputs[reading] = Capture(order["output"])
        self._live[pid] = Command(order["id"], pid, time.monotonic(), order["seconds"], outputs)

    def _become(self, order: dict[str, Any], out: int, err: int) -> None:
        """Turn the fork into the supervisor of one command; never returns, whatever happens."""
        try:
            signal.set_wakeup_fd(-1)
            for number, fd in enumerate((os.open(os.devnull, os.O_RDONLY), out, err)):
                os.dup2(fd, number)
            os.closerange(3, FDS)
            volunteer()
            entry.run(
                order["argv"], order["cwd"], order["limits"], seconds=order["seconds"], temporary=order["temporary"]
            )
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)

    def _reap(self) -> None:
        """Record every child that has ended: supervisors, and processes that were hunted down."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return
                if command := self._live.get(pid):
                    code = os.waitstatus_to_exitcode(status)
                    command.code = 128 - code if code < 0 else code
                    command.over = time.monotonic()
                    command.peak_mib = usage.ru_maxrss / 1024  # of its largest process

    def _keep_time(self) -> None:
        now = time.monotonic()
        for command in self._live.values():
            if command.code is None and now > command.began + command.seconds + GRACE:
                self._end(command, "timeout")

    def _end(self, command: Command, why: str) -> None:
        if command.code is None:
            command.ended = why
            os.kill(command.supervisor, signal.SIGKILL)

    def _settle(self) -> None:
        """Answer for the commands that are over, once none of their processes runs any more."""
        over = [command for command in self._live.values() if command.code is not None]
        if not over:
            return
        if any(time.monotonic() - command.over > PATIENCE for command in over):
            for command in self._live.values():
                if command.code is None:
                    self._end(command, "lost")
        if len(over) == len(self._live):
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)  # all at once, so that no fork bomb can outrun it
            with contextlib.suppress(ChildProcessError):
                while True:
                    os.wait4(-1, 0)
        elif strays := [pid for pid in entry.children() if pid not in self._live]:
            for pid in strays:
                os.kill(pid, signal.SIGKILL)
            return
        for command in over:
            self._answer(command)

    def _answer(self, command: Command) -> None:
        del self._live[command.supervisor]
        for fd, capture in command.outputs.items():
            with contextlib.suppress(BlockingIOError):  # another process may have emptied the pipe
                for _ in range(64):
                    capture.feed(os.read(fd, PIPE))
            with contextlib.suppress(KeyError):
                self._selector.unregister(fd)
            os.close(fd)
        out, err = command.outputs.values()
        answer(
            command.id,
            code=command.code,
            ended=self._why(command),
            stdout=out.text(),
            stderr=err.text(),
            dropped=out.dropped + err.dropped,
            peak_mib=command.peak_mib,
        )

    def _why(self, command: Command) -> str:
        before, self._oom_kills = self._oom_kills, oom_kills()
        if command.ended != "exit" or not command.code:
            return command.ended
        if self._oom_kills > before:
            return "memory"
        late = command.over - command.began >= command.seconds
        return "timeout" if late and command.code == 128 + signal.SIGKILL else "exit"


def answer(number: int, **how: Any) -> None:
    line = json.dumps({"id": number, "stdout": "", "stderr": "", "dropped": 0, "peak_mib": 0.0} | how) + "\n"
    data = memoryview(line.encode())
    while data:
        data = data[os.write(1, data) :]


def set_dumpable(yes: bool) -> None:
    """Set whether other processes of the same user may trace this one and read its /proc folder."""
    landlock.LIBC.prctl(DUMPABLE, int(yes), 0, 0, 0)


def volunteer() -> None:
    """Make this process the kernel's first victim when memory runs out, in place of the first process."""
    set_dumpable(True)  # otherwise its files in /proc would belong to root
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    set_dumpable(False)


def oom_kills() -> int:
    """Return how often the kernel has killed a process here because memory ran out."""
    for name in OOM_FILES:
        if (file := Path("/sys/fs/cgroup", name)).exists():
            return int(dict(line.split() for line in file.read_text().splitlines()).get("oom_kill", 0))
    return 0


def main() -> None:
    if os.getpid() != 1:
        raise SystemExit("this ends every process that it sees: run it only in a PID namespace of its own")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own handler would let it be interrupted from inside
    set_dumpable(False)
    seccomp.install()
    Warm().serve()
