"""How long one waits at the doors of a run: a question, an approval, a call over MCP, the list of 1,000 runs.

    python -m benchmarks.doors [--quick]

| key | from ... to ... |
|---|---|
| ask_first_answer_s | the command `beamcrew ask` to its end, with the built-in analyst in a new process |
| approval_to_next_call_s | the command `beamcrew approve RUN --yes` to the end of the next call of the model |
| mcp_overhead_ms | a tool called over MCP on standard input, minus the same call from Python, both in a sandbox |
| view_1000_runs_s | the list of 1,000 runs in a browser, minus an empty page; null without Chromium |
| view_1000_runs_reply_s | the server's first reply with that list |

Medians. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from agents.mcp.roots import Roots
from agents.mcp.toolbench import Places, ToolBench
from agents.trace.events import Answered, ModelCalled
from agents.trace.store import TRACE, read_trace
from agents.view.answers import Answers
from agents.view.library import Library
from benchmarks.page_load import RUN, page_load
from tools.events.parquet import write_events

COMMAND = (sys.executable, "-c", "from agents.cli.main import main; main()")
TASK = ("--task", "spectrum", "--backend", "analyst", "--yes", "--sandbox", "bubblewrap")
WAITS, RUNS = 8, 1000
COUNT = {"events": "/inputs/m.parquet", "column": "m", "unit": "GeV", "fit_range": [8.3, 11.5], "window": [9.2, 9.7]}


def beamcrew(*arguments: str, status: int = 0) -> float:
    """Carry out a command and return its duration [s]."""
    start = time.perf_counter()
    done = subprocess.run([*COMMAND, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return time.perf_counter() - start


def approval(folder: Path, repeats: int) -> tuple[float, Path]:
    """Return the time from an approval to the next call of the model [s], and the folder of a run that has ended."""
    beamcrew("run", *TASK, "--approve", "plan=first", "--runs", str(folder / "waits"), status=WAITS)
    (waiting,) = (folder / "waits").iterdir()
    taken, last = [], waiting
    for number in range(repeats):
        last = Path(shutil.copytree(waiting, folder / f"again{number}"))
        began = time.time()
        beamcrew("approve", str(last), "--yes")
        events = read_trace(last)
        said = next(event.index for event in events if isinstance(event, Answered))
        taken.append(next(e.time for e in events[said:] if isinstance(e, ModelCalled)) - began)
    return median(taken), last


def ask(run_dir: Path, repeats: int) -> float:
    return median(beamcrew("ask", str(run_dir), "What was claimed, and why?") for _ in range(repeats))


class Client:
    """A client of MCP over standard input and output."""

    def __init__(self, root: Path, runs: Path) -> None:
        options = ("mcp", "--root", str(root), "--runs", str(runs), "--sandbox", "bubblewrap")
        pipe: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([*COMMAND, *options], **pipe)
        self._n = 0
        client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "doors", "version": "0"}}
        self.ask("initialize", client)
        self._say({"method": "notifications/initialized"})

    def call(self, tool: str, arguments: dict[str, Any]) -> None:
        answer = self.ask("tools/call", {"name": tool, "arguments": arguments})
        assert not answer["result"].get("isError"), answer

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._n += 1
        self._say({"id": self._n, "method": method, "params": params})
        assert self.process.stdout
        while line := self.process.stdout.readline():
            answer: dict[str, Any] = json.loads(line)
            if answer.get("id") == self._n:
                return answer
        raise AssertionError("the server has ended")

    def _say(self, message: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()


def mcp_overhead(folder: Path, repeats: int) -> float:
    """Return what the protocol adds to a call of a tool [s]; the calls take turns, so that both see the same load."""
    root = folder / "files"
    root.mkdir()
    events = {"m": np.random.default_rng(1).uniform(8, 12, 6000)}
    write_events(root / "m.parquet", events)
    for name in ("mcp", "python"):
        (folder / name).mkdir()
    client = Client(root, folder / "mcp")
    bench = ToolBench(folder / "python", Roots([root], folder / "python"), Places(kind="bubblewrap"))
    here = partial(bench.call, "spectrum.count", COUNT, threading.Event())
    there = partial(client.call, "spectrum_count", COUNT)
    try:
        client.call("files_add", {"path": str(root / "m.parquet")})
        bench.add(str(root / "m.parquet"))
        pairs = [(_took(there), _took(here)) for _ in range(repeats + 1)][1:]  # the first call opens sandboxes
        return median(a for a, _ in pairs) - median(b for _, b in pairs)
    finally:
        bench.close()
        client.process.terminate()
        client.process.wait()


def _took(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def view(folder: Path, run_dir: Path, runs: int, repeats: int) -> tuple[float | None, float]:
    """Return the load time of the list of so many runs, and the time to the server's first reply [s]."""
    for number in range(runs):
        copy = folder / f"run-{number:04}"
        copy.mkdir(parents=True)
        os.link(run_dir / TRACE, copy / TRACE)
    reply = _took(lambda: Answers(Library(folder)).answer("/api/runs"))
    return page_load(folder, "/", RUN, runs, repeats), reply


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    repeats = 1 if parser.parse_args().quick else 5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        next_call, run_dir = approval(folder, repeats)
        loaded, reply = view(folder / "many", run_dir, RUNS, repeats)
        figures = {
            "ask_first_answer_s": ask(run_dir, repeats),
            "approval_to_next_call_s": next_call,
            "mcp_overhead_ms": 1000 * mcp_overhead(folder, 4 * repeats),
            "view_1000_runs_s": loaded,
            "view_1000_runs_reply_s": reply,
        }
    table = Table("what", "measured")
    for key, value in figures.items():
        table.add_row(key, "-" if value is None else f"{value:.3g}")
    Console(stderr=True).print(table)
    print(json.dumps({key: value and round(value, 4) for key, value in figures.items()}))


if __name__ == "__main__":
    main()
