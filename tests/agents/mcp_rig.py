"""A server for tests of the protocol: a folder of files, and a client that writes its messages by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import numpy as np
import psutil

from agents.mcp.roots import Roots
from agents.mcp.runs import RunSettings
from agents.mcp.server import Desk
from agents.mcp.toolbench import Places
from agents.runs.process import Service
from agents.view.library import Library
from tools.events.parquet import write_events

ROOT = Path(__file__).parents[2]
KEY = "sk-planted-in-the-environment-0123456789"
COMMAND = [sys.executable, "-c", "from agents.cli.main import main; main()", "mcp", "--sandbox", "bubblewrap"]
SLEEPER = {
    "script": "/inputs/sleeper.py",
    "data": "/inputs/spectrum.parquet",
    "resamples": "/inputs/resamples.json",
}
COUNT = {"column": "m", "unit": "GeV", "fit_range": [8.3, 11.5], "window": [9.2, 9.7]}
REQUEST = "Which resonances are there?"


def folder_of_files(folder: Path) -> Path:
    """A spectrum with a peak of 300 events, and a script that takes ten minutes."""
    random = np.random.default_rng(1)
    folder.mkdir(parents=True)
    m = np.concatenate([random.uniform(8, 12, 6000), random.normal(9.46, 0.06, 300)])
    write_events(folder / "spectrum.parquet", {"m": m})
    np.savetxt(folder / "muons.csv", np.column_stack([m, m > 9]), delimiter=",", header="m,is_signal", comments="")
    (folder / "sleeper.py").write_text("import time\ntime.sleep(600)\n")
    (folder / "resamples.json").write_text(json.dumps({"seed": 1, "bootstraps": 2}))
    return folder


def desk_for(folder: Path, service: Service | None = None) -> Desk:
    """What a server works on, with the files of `folder/files` and its runs beside them."""
    (folder / "runs").mkdir()
    library = Library(folder / "runs")
    settings = RunSettings(service or Service(), Places(kind="bubblewrap"))
    return Desk(library, Roots([folder_of_files(folder / "files")], library.folder), settings)


def environment() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "OPENAI_API_KEY": KEY, "OMP_NUM_THREADS": "1"}


class ByHand:
    """A client of the 2025 revision over standard input and output, that knows nothing but JSON."""

    def __init__(self, folder: Path, *options: str) -> None:
        files = str(folder_of_files(folder / "files"))
        self.process = subprocess.Popen(
            [*COMMAND, "--root", files, "--runs", str(folder / "runs"), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / "log").open("wb"),
            env=environment(),
            cwd=folder,
        )
        self.heard: Queue[dict[str, Any]] = Queue()  # raises in the thread for a line that is not JSON
        self.odd: list[bytes] = []
        self._n = 0
        threading.Thread(target=self._listen, daemon=True).start()
        client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "hand", "version": "0"}}
        self.opened = self.ask("initialize", client)
        self.say({"method": "notifications/initialized"})

    def say(self, message: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def send(self, method: str, params: dict[str, Any]) -> int:
        self._n += 1
        self.say({"id": self._n, "method": method, "params": params})
        return self._n

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = self.send(method, params)
        return self.until(lambda message: message.get("id") == number)

    def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        found = self.ask("tools/call", {"name": tool, "arguments": arguments})
        return dict(found["result"])

    def until(self, wanted: Any, seconds: float = 120) -> dict[str, Any]:
        while True:
            try:
                message = self.heard.get(timeout=seconds)
            except Empty:
                raise AssertionError("the server does not answer") from None
            if wanted(message):
                return message

    def family(self) -> list[psutil.Process]:
        """The processes below the server."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            try:
                self.heard.put(json.loads(line))
            except ValueError:
                self.odd.append(line)


def gone(processes: list[psutil.Process], seconds: float = 60) -> bool:
    """Return whether all of these processes end."""
    return not psutil.wait_procs(processes, timeout=seconds)[1]
