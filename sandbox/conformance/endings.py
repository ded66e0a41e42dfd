"""Checks that nothing keeps running after the end of a command, its time, the sandbox or the operator."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

from sandbox.conformance.arena import Arena
from sandbox.conformance.check import check, expect
from sandbox.conformance.host import comes, gone, marker, running
from sandbox.conformance.processes import NAMESPACE, host_namespace
from sandbox.driver import ExecResult, SandboxLost

DAEMON = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(name, signal.SIG_IGN)
        null = os.open("/dev/null", os.O_RDWR)
        for number in range(3): os.dup2(null, number)
        os.execlp("sleep", "sleep", sys.argv[1])
    os._exit(0)
time.sleep(float(sys.argv[2]))
"""


def ended(result: ExecResult, how: str, mark: str, within: float) -> None:
    """Expect that the command ended as it should, in time, and left nothing running."""
    expect(result.ended == how, f"it ended by {result.ended}, exit code {result.exit_code}")
    expect(result.seconds < within, f"only after {result.seconds:.1f} s")
    expect(gone(mark), "a process that it started still runs")


@check
def daemon_after_the_end(arena: Arena) -> None:
    """A daemon ends with the command that started it."""
    ended(arena.python(DAEMON, mark := marker(), 0.3), "exit", mark, within=5)


@check
def daemon_at_time_out(arena: Arena) -> None:
    """A daemon ends when the time of its command is up."""
    ended(arena.python(DAEMON, mark := marker(), 20, seconds=1.5), "timeout", mark, within=3)


STUBBORN = """
import os, signal, sys
for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(name, signal.SIG_IGN)
os.execlp("sleep", "sleep", sys.argv[1])
"""


@check
def polite_signals_ignored(arena: Arena) -> None:
    """A command that ignores polite signals still ends in time."""
    ended(arena.python(STUBBORN, mark := marker(), seconds=1), "timeout", mark, within=2.5)


# Reads back its own output, so that nothing is left to read where something was announced.
THIEF = """
import os, signal, sys, threading, time
for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(name, signal.SIG_IGN)
def steal(number):
    mine = os.open(f"/proc/self/fd/{number}", os.O_RDONLY)
    while True: os.read(mine, 1 << 16)
def speak(number):
    while True: os.write(number, b"x")
for number in (1, 2):
    for how in (steal, steal, speak): threading.Thread(target=how, args=(number,), daemon=True).start()
time.sleep(1)
"""


@check
def stolen_output(arena: Arena) -> None:
    """A command that reads back its own output is still ended in time."""
    result = arena.python(THIEF + "time.sleep(8); os._exit(0)", mark := marker(), seconds=2)
    ended(result, "timeout", mark, within=4.5)


@check
def stolen_output_and_workspace(arena: Arena) -> None:
    """While a command reads back its own output, its files are still counted."""
    fill = "open('large', 'wb').write(bytes(24 << 20))\ntime.sleep(6)\nos._exit(0)"
    result = arena.python(THIEF + fill, mark := marker(), box=arena.make(workspace_mib=8), seconds=20)
    ended(result, "workspace", mark, within=7)


@check
def output_held_open(arena: Arena) -> None:
    """After a command has ended, a process that holds its output open is not waited for."""
    result = arena.box.exec(["sh", "-c", f"sleep {(mark := marker())} & echo done"], seconds=6)
    ended(result, "exit", mark, within=5)
    expect(result.ok and result.stdout == "done\n", f"{result}")


RESPAWN = """
import os, sys, time
end = time.monotonic() + 12
while time.monotonic() < end:  # a new process every time, none of which stays
    if os.fork(): os._exit(0)
    os.setsid()
    time.sleep(0.02 if time.monotonic() < end - 9 else 0.5)
"""


@check
def ever_new_processes(arena: Arena) -> None:
    """A process that survives in ever new children is caught."""
    code = f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {RESPAWN!r}, sys.argv[1]])\n"
    result = arena.python(code + "time.sleep(20)", mark := marker(), seconds=1.5)
    expect(not comes(mark, 4), "it still runs")  # by then the children live long enough to be found
    ended(result, "timeout", mark, within=3)


STOPPED = """
import os, signal, sys, time
child = os.fork()
if child == 0:
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3): os.dup2(null, number)
    os.execlp("sleep", "sleep", sys.argv[1])
waker = os.fork()
if waker == 0:  # if nobody ends it, it must not stay for ever
    os.setsid()
    for number in range(3): os.close(number)
    time.sleep(10)
    os.kill(child, signal.SIGCONT)
    os._exit(0)
time.sleep(0.2)
os.kill(child, signal.SIGSTOP)
"""


@check
def stopped_process(arena: Arena) -> None:
    """A process that has been stopped ends with its command."""
    ended(arena.python(STOPPED, mark := marker()), "exit", mark, within=5)


BLOW = """
import subprocess, signal
if shared: sys.exit("shared")
for target in (os.getppid(), 1, -1):
    try: os.kill(target, getattr(signal, sys.argv[2]))
    except OSError: pass
subprocess.run(["sleep", sys.argv[3]])
"""


def blow(arena: Arena, name: str) -> None:
    box = arena.make()
    result = arena.python(NAMESPACE + BLOW, host_namespace(), name, mark := marker(), box=box, seconds=2)
    expect("shared" not in result.stderr, "not attempted: it would have hit every process of the host")
    expect(not result.ok and result.ended in ("exit", "timeout"), f"{result}")
    expect(result.seconds < 8, f"only after {result.seconds:.1f} s")
    expect(gone(mark), "a process that it started still runs")
    expect(box.exec(["true"]).ok, "the next command did not run")


@check
def everything_killed(arena: Arena) -> None:
    """A command that kills all it can, even the sandbox's first process, ends in time, and the next one runs."""
    blow(arena, "SIGKILL")


@check
def everything_stopped(arena: Arena) -> None:
    """A command that stops all it can still ends in time, and the next one runs."""
    blow(arena, "SIGSTOP")


@check
def everything_asked_to_end(arena: Arena) -> None:
    """A command that sends all it can a polite signal still ends in time, and the next one runs."""
    blow(arena, "SIGTERM")


@check
def closed_meanwhile(arena: Arena) -> None:
    """Closing the sandbox ends a running command, and its caller is told so."""
    box, mark = arena.make(), marker()
    with ThreadPoolExecutor() as pool:
        job = pool.submit(box.exec, ["sleep", mark], seconds=8)
        expect(comes(mark), "the command did not start")
        box.close()
        try:
            seen = f"{job.result()}"
        except SandboxLost:
            seen = ""
    expect(gone(mark), "the command still runs")
    expect(not seen, f"the caller got a result: {seen}")


@check
def nothing_is_left(arena: Arena) -> None:
    """After the sandbox is closed, nothing that was started in it runs on the host."""
    box, marks = arena.make(), [marker() for _ in range(3)]
    for mark in marks:
        arena.python(DAEMON, mark, 0.1, box=box)
    box.close()
    expect(all(gone(mark) for mark in marks), f"{sum(bool(running(mark)) for mark in marks)} of 3 daemons still run")


@check
def operator_killed(arena: Arena) -> None:
    """When the operator's process is killed, what runs in its sandbox ends with it."""
    mark, (inputs, workspace) = marker(), arena.folders()
    operator = os.fork()
    if operator == 0:
        try:
            arena.open(inputs, workspace).exec(["sleep", mark])
        finally:
            os._exit(1)
    started = comes(mark, seconds=20)
    os.kill(operator, signal.SIGKILL)
    os.waitpid(operator, 0)
    expect(started, "the command did not start")
    expect(gone(mark, seconds=5), "the command still runs")
