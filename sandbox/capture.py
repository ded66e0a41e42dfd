"""Capture of unlimited output in bounded memory. Used inside and outside the sandbox, so it needs only Python."""

from __future__ import annotations

from collections import deque


class Capture:
    """One output stream: keeps the first and last `cap` / 2 bytes and counts those in between.

    Both ends matter: a log begins with what was run and ends with the traceback.
    """

    def __init__(self, cap: int) -> None:
        self._head_cap, self._tail_cap = cap - cap // 2, cap // 2
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self.dropped = 0

    def feed(self, data: bytes) -> None:
        room = self._head_cap - len(self._head)
        self._head += data[:room]
        if rest := data[room:]:
            self._tail.append(rest)
            self._tail_bytes += len(rest)
        while self._tail_bytes > self._tail_cap:
            first = self._tail.popleft()
            cut = min(len(first), self._tail_bytes - self._tail_cap)
            self.dropped += cut
            self._tail_bytes -= cut
            if cut < len(first):
                self._tail.appendleft(first[cut:])

    def text(self) -> str:
        gap = f"\n[... {self.dropped} bytes dropped ...]\n".encode() if self.dropped else b""
        return (bytes(self._head) + gap + b"".join(self._tail)).decode(errors="replace")
