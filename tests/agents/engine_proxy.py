"""A Unix socket in front of the Docker engine, which a test may cut: the engine itself is left alone."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

ENGINE = "/var/run/docker.sock"


class EngineProxy:
    """Connections to `path` reach the engine until `cut`, and again after `mend`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connections: list[socket.socket] = []
        self.mend()

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def mend(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """As when the engine dies: connections end, and there is nobody to connect to."""
        self.path.unlink()
        for one in [self._listener, *self._connections]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._connections.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(ENGINE)
                self._connections += [client, engine]
                for pair in ((client, engine), (engine, client)):
                    threading.Thread(target=forward, args=pair, daemon=True).start()


def forward(source: socket.socket, target: socket.socket) -> None:
    """One direction, to its end."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
