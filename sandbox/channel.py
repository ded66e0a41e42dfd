"""The host's end of the channel to the first process of a container (`sandbox.warm`): commands out, answers back.

Answers come from among generated code and are not trusted: lines are capped, each must be a well-formed answer to an
open question, and anything else ends the conversation.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

import docker.utils.socket as multiplexed
from pydantic import ConfigDict, Field

from sandbox.driver import TEMPORARY, Frozen

LINE_MAX = 64 << 20
LAST_WORDS = 2000  # bytes kept of the first process's own error output


class Answer(Frozen):
    """The end of a command as reported by the first process."""

    model_config = ConfigDict(strict=True)
    id: int
    code: int = Field(ge=0, le=255)
    ended: Literal["exit", "timeout", "memory", "processes", "workspace", "lost"]
    stdout: str
    stderr: str
    dropped: int = Field(ge=0)
    peak_mib: float = Field(ge=0)


class Question:
    """A requested command: `over` is set when there is an answer, or when there will never be one."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.answer: Answer | None = None


class Line(Protocol):
    """The three standard streams of a first process, however an engine hands them out."""

    def send(self, data: bytes) -> None: ...

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Yield what it writes, each piece with the number of its stream, until it ends."""
        ...

    def close(self) -> None: ...


class Attached:
    """The line through an engine's socket, on which standard output and error come interleaved."""

    def __init__(self, attached: Any) -> None:
        self._attached = attached
        self._socket = getattr(attached, "_sock", attached)  # a unix socket comes wrapped for reading only
        self._socket.settimeout(None)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        yield from multiplexed.frames_iter(self._attached, tty=False)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(2)
        self._attached.close()


class Channel:
    """The channel. Several threads may ask at once; a thread of its own listens."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._open: dict[int, Question] = {}
        self._last_words: deque[bytes] = deque(maxlen=8)
        self._ended = False
        threading.Thread(target=self._listen, name="sandbox-channel", daemon=True).start()

    def ask(self, argv: Sequence[str], cwd: str, limits: dict[str, int], seconds: float, output: int) -> Question:
        """Have a command started. If the channel has ended, the question is over at once."""
        question, number = Question(), next(self._numbers)
        order = {"id": number, "argv": list(argv), "cwd": cwd, "limits": limits, "seconds": seconds, "output": output}
        order |= {"temporary": TEMPORARY}
        with self._lock:
            self._open[number] = question
            self._say(order)
        return question

    def end(self, why: str, supervisor: int | None = None) -> None:
        """Have every command ended, or the one of this supervisor; the answer will give `why` as the reason."""
        with self._lock:
            self._say({"end": why} if supervisor is None else {"end": why, "of": supervisor})

    def _say(self, order: dict[str, Any]) -> None:
        try:
            if self._ended:
                raise OSError("the channel has ended")
            self._line.send(json.dumps(order).encode() + b"\n")
        except OSError:
            self._give_up()

    def last_words(self) -> str:
        """Return the error output of the first process, or of whatever was to start it."""
        return b"".join(self._last_words)[-LAST_WORDS:].decode(errors="replace").strip()

    def _listen(self) -> None:
        with contextlib.suppress(OSError, ValueError, KeyError):  # a KeyError is an answer to no open question
            for line in self._lines():
                answer = Answer.model_validate_json(line)
                with self._lock:
                    question = self._open.pop(answer.id)
                question.answer = answer
                question.over.set()
        with self._lock:
            self._give_up()

    def _lines(self) -> Iterator[bytes]:
        pieces: list[bytes] = []
        size = 0
        for stream, data in self._line.pieces():
            if stream == multiplexed.STDERR:
                self._last_words.append(data[-LAST_WORDS:])
                continue
            *ends, rest = data.split(b"\n")
            for end in ends:
                yield b"".join([*pieces, end])
                pieces, size = [], 0
            pieces.append(rest)
            size += len(rest)
            if size > LINE_MAX:
                return

    def _give_up(self) -> None:
        self._ended = True
        for question in self._open.values():
            question.over.set()
        self._open.clear()

    def close(self) -> None:
        """Close the channel: for the first process this is the end of its input."""
        self._ended = True
        self._line.close()
