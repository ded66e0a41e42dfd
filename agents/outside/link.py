"""The way to one outside server: a process of `go_between.py`, started when it is needed and killed when it hangs."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import psutil

from agents.backends.select import secrets
from agents.outside.messages import Call, Hello, Order, Said
from agents.outside.servers import Servers
from agents.trace.blobs import Redactor
from tools.contract import Frozen

OPEN = 30.0  # seconds until a server must have said what it offers
GRACE = 5.0  # seconds in which the process between answers after the time of a call, and in which it ends
LONGEST = 4 << 20  # bytes of one line
TAIL = 8000  # bytes of standard error that are kept
SHOWN = 500  # characters of them in a message


class ServerLost(RuntimeError):  # noqa: N818 - the server is lost, not the run
    """A server cannot be reached, has ended, hangs or speaks nonsense. The message is for the operator."""


class Link:
    """One server. Thread-safe: calls are made one after another."""

    def __init__(self, name: str, servers: Servers, taken: Sequence[str]) -> None:
        """`taken`: the names of the crew's own tools."""
        self._name = name
        self._order = Order(name=name, server=servers.servers[name], folder=servers.folder, taken=list(taken))
        self._redactor = Redactor(secrets(*servers.secrets()))
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._heard = self._tail = b""

    def open(self) -> Hello:
        """Start the server anew and return what it offers. Raises ServerLost."""
        with self._lock:
            return self._opened(OPEN)

    def call(self, tool: str, arguments: dict[str, Any], seconds: float) -> Said:
        """Return what came of a call of a tool, by the server's own name for it, within so many seconds.

        A server that does not run is started first. Raises ServerLost.
        """
        deadline = time.monotonic() + seconds
        if not self._lock.acquire(timeout=seconds):
            return Said(ended="timeout")
        try:
            if self._process is None or self._process.poll() is not None:
                self._opened(min(OPEN, seconds))
            left = max(0.0, deadline - time.monotonic())
            self._say(Call(tool=tool, arguments=arguments, seconds=left))
            said = Said.model_validate_json(self._line(left + GRACE))
            if said.ended == "lost":
                raise ServerLost(self._told(said.why))
            return said
        except ServerLost:
            self._kill()
            raise
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the server for good. Takes no lock: a signal handler cannot wait for others to release it."""
        self._closed = True
        self._kill()

    def _opened(self, seconds: float) -> Hello:
        if self._closed:
            raise ServerLost("it was closed")
        self._kill()
        # -P: a file in the operator's folder must not shadow a module.
        self._process = process = subprocess.Popen(
            [sys.executable, "-P", "-m", "agents.outside.go_between"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the run, which closes this
        )
        self._heard = self._tail = b""
        threading.Thread(target=self._listen, args=(process,), daemon=True).start()
        if self._closed:  # while it was being started
            self._kill()
        try:
            self._say(self._order)
            return Hello.model_validate_json(self._line(seconds))
        except ServerLost:
            self._kill()
            raise

    def _say(self, what: Frozen) -> None:
        process = self._process
        assert process
        assert process.stdin
        try:
            process.stdin.write(what.model_dump_json().encode() + b"\n")
            process.stdin.flush()
        except (OSError, ValueError):  # ended, or closed meanwhile
            raise ServerLost(self._told("it has ended")) from None

    def _line(self, seconds: float) -> bytes:
        """Return the next line of the process between. Raises ServerLost."""
        process, deadline = self._process, time.monotonic() + seconds
        assert process
        assert process.stdout
        while b"\n" not in self._heard:
            left = deadline - time.monotonic()
            try:
                if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                    raise ServerLost(self._told(f"no answer within {seconds:.3g} seconds"))
                piece = os.read(process.stdout.fileno(), 1 << 16)
            except (OSError, ValueError):  # closed meanwhile
                piece = b""
            if not piece:
                raise ServerLost(self._told("it has ended"))
            self._heard += piece
            if len(self._heard) > LONGEST:
                raise ServerLost(self._told("it sent too much"))
        line, _, self._heard = self._heard.partition(b"\n")
        return line

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr
        with contextlib.suppress(OSError, ValueError):
            while piece := os.read(process.stderr.fileno(), 1 << 16):
                self._tail = (self._tail + piece)[-TAIL:]

    def _told(self, why: str) -> str:
        """Return what is wrong with the server, with its own last words, and without secrets."""
        if self._process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.2)  # its last words come with its end
        last = self._redactor.text(" ".join(self._tail.decode(errors="replace").split()))[-SHOWN:]  # half a key is one
        return self._redactor.text(" ".join(why.split()))[:SHOWN] + (f": {last}" if last else "")

    def _kill(self) -> None:
        """End the process between, and all that it has started: by closing its input, and by force if need be."""
        process, self._process = self._process, None
        if process is None:
            return
        family = []
        with contextlib.suppress(psutil.Error):
            family = psutil.Process(process.pid).children(recursive=True)
        with contextlib.suppress(OSError, ValueError):
            assert process.stdin
            process.stdin.close()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for each in family:
            with contextlib.suppress(psutil.Error):
                each.kill()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
