"""Ending a sandbox's processes from a signal handler, and once only however often the operator asks."""

from __future__ import annotations

import signal
import subprocess
import sys

# In processes of their own: what a defect here would do is hang, or kill the tests.
WAITED_FOR = """
import signal, subprocess
from sandbox.bubblewrap import end_tree

process = subprocess.Popen(["sleep", "60"])
signal.signal(signal.SIGALRM, lambda *_: end_tree(process))
signal.setitimer(signal.ITIMER_REAL, 0.2)
print(process.wait())
end_tree(process)
"""
ASKED_AGAIN = """
import os, signal, subprocess, tempfile, threading, time
from pathlib import Path
from agents.runs.session import _interruptible
from sandbox.bubblewrap import end_tree

class Bench:
    closed = 0
    process = subprocess.Popen(["sleep", "60"])

    def close(self):
        self.closed += 1
        for _ in range(3):  # the operator is impatient
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
        end_tree(self.process)

bench = Bench()
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
try:
    with tempfile.TemporaryDirectory() as folder, _interruptible([bench], [], Path(folder)):
        time.sleep(30)
except KeyboardInterrupt:
    print(bench.closed, bench.process.wait())
"""


def told(program: str) -> str:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


def test_a_handler_ends_the_process_that_it_interrupted_the_wait_for() -> None:
    assert told(WAITED_FOR).split() == [str(-signal.SIGKILL)]


def test_a_second_signal_does_not_disturb_the_stop_of_the_first() -> None:
    assert told(ASKED_AGAIN).split() == ["1", str(-signal.SIGKILL)]
