"""The line to a container's first process: what comes back is not believed, and a broken line leaves nobody waiting."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox import channel, inside
from sandbox.channel import Attached, Channel

ANSWER = {"id": 1, "code": 0, "ended": "exit", "stdout": "mjj", "stderr": "", "dropped": 0, "peak_mib": 1.5}


class Engine:
    """The other end, as a Docker engine frames it: stream number and length before every piece."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    def say(self, data: bytes, stream: int = 1) -> None:
        self.end.sendall(struct.pack(">BxxxL", stream, len(data)) + data)

    def answer(self, **changes: Any) -> None:
        self.say(json.dumps(ANSWER | changes).encode() + b"\n")

    def order(self) -> dict[str, Any]:
        return dict(json.loads(self.end.makefile("rb").readline()))


@pytest.fixture
def line() -> Iterator[tuple[Channel, Engine]]:
    ours, theirs = socket.socketpair()
    made = Channel(Attached(ours))
    with theirs:
        yield made, Engine(theirs)
    made.close()


def ask(line: Channel) -> channel.Question:
    return line.ask(["true"], "/workspace", {"CORE": 0}, 1.0, 1024)


def test_a_question_and_its_answer(line: tuple[Channel, Engine]) -> None:
    question = ask(line[0])
    order = line[1].order()
    assert (order["argv"], order["cwd"], order["seconds"]) == (["true"], "/workspace", 1.0)
    data = json.dumps(ANSWER).encode() + b"\n"
    for k in range(len(data)):  # in whatever pieces it comes
        line[1].say(data[k : k + 1])
    assert question.over.wait(5)
    assert question.answer
    assert question.answer.stdout == "mjj"


@pytest.mark.parametrize(
    "said",
    [
        b"no json\n",
        b"[]\n",
        b"\xff\n",
        json.dumps(ANSWER | {"id": 7}).encode() + b"\n",
        json.dumps(ANSWER | {"code": 256}).encode() + b"\n",
        json.dumps(ANSWER | {"ended": "converged"}).encode() + b"\n",
        json.dumps(ANSWER | {"dropped": -1}).encode() + b"\n",
        json.dumps(ANSWER | {"more": 1}).encode() + b"\n",
        json.dumps({k: v for k, v in ANSWER.items() if k != "code"}).encode() + b"\n",
        json.dumps(ANSWER | {"stdout": "\ud800"}).encode() + b"\n",
    ],
)
def test_what_is_no_answer_ends_the_conversation(line: tuple[Channel, Engine], said: bytes) -> None:
    question = ask(line[0])
    line[1].say(said)
    assert question.over.wait(5)
    assert question.answer is None
    assert ask(line[0]).over.wait(5), "a question on a dead line is over at once"


def test_a_line_without_end_is_not_kept(line: tuple[Channel, Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "LINE_MAX", 1000)
    question = ask(line[0])
    line[1].say(b"x" * 1001)
    assert question.over.wait(5)
    assert question.answer is None


def test_last_words_are_kept_and_short(line: tuple[Channel, Engine]) -> None:
    question = ask(line[0])
    for k in range(100):
        line[1].say(f"complaint {k} {'x' * 1000}\n".encode(), stream=2)
    line[1].say(b"no python3 here\n", stream=2)
    line[1].end.shutdown(socket.SHUT_RDWR)
    assert question.over.wait(5)
    assert line[0].last_words().endswith("no python3 here")
    assert len(line[0].last_words()) <= channel.LAST_WORDS


def test_the_first_process_refuses_to_be_any_other() -> None:
    """It kills all that it sees: outside of a PID namespace of its own that would be the whole machine."""
    assert os.getpid() != 1
    died = subprocess.run([sys.executable, *inside.warm_process()], capture_output=True, text=True, timeout=30)
    assert died.returncode == 1
    assert "PID namespace" in died.stderr
