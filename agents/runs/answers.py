"""The channel by which a person answers a run that waits: a file `answer.json` in the run's folder.

Whoever asks people (the command line, a browser) calls `give(run_dir, answer)` and then, unless a process works on the
run (`at_work`), resumes it. The process that carries out the run takes the file, puts it into the trace and removes it.
Of several answers to one question the first counts, whichever way it comes; the others are told (`claim`).
`open_question(run_dir)` returns what is asked.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from agents.backends.built_in import FOLLOWS
from agents.trace import words
from agents.trace.approval import dialogue, pending
from agents.trace.events import Answered, AnyEvent, Asked, RunStarted
from agents.trace.store import read_trace
from tools.contract import Frozen
from tools.files import write_whole

FILE, LOCK = "answer.json", ".answer.lock"
CHANGES = 5  # answers with words at one gate of one run: each costs a plan


class Answer(Frozen):
    """What a person says to one question."""

    asked: int = Field(description="index of the question in the trace")
    answer: Literal["yes", "no", "say"]
    words: str = Field("", max_length=4000, description="with `say`, what is to change; with `no`, the reason")
    who: str = Field(min_length=1, max_length=200)
    when: float = Field(description="seconds since the epoch")
    via: Literal["terminal", "command", "browser"]


Ask = Callable[[Asked], Answer | None]  # asks whoever is there; None: nobody answered


def user() -> str:
    """Return the name of the user of this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def say(
    asked: Asked,
    answer: Literal["yes", "no", "say"],
    words: str = "",
    via: Literal["terminal", "command", "browser"] = "command",
    who: str = "",
) -> Answer:
    """Return an answer given now by `who`, by default the user of this process. Raises pydantic's ValidationError."""
    return Answer(asked=asked.index, answer=answer, words=words.strip(), who=who or user(), when=time.time(), via=via)


def open_question(run_dir: Path) -> Asked:
    """Return the question for which a run waits. Raises ValueError if it waits for none."""
    asked = pending(read_trace(run_dir))
    if asked is None:
        raise ValueError(f"{run_dir}: this run waits for no answer")
    return asked


def give(run_dir: Path, answer: Answer) -> Asked:
    """Write an answer into the folder of a run that waits for it, and return the question.

    Raises ValueError if the run waits for no answer, or for another one, or was answered already, by somebody else at
    this moment too, and for an answer that its gate does not take.
    """
    events = read_trace(run_dir)
    asked = open_question(run_dir)
    if asked.index != answer.asked:
        raise ValueError(f"asked={answer.asked}: this run waits for an answer to event {asked.index}: {asked.text}")
    check(answer, asked, events)
    first = claim(run_dir, asked, answer)
    if first != answer:
        raise ValueError(f"this question is answered already: {words.answer(first)}; that answer counts, not yours")
    return asked


def claim(run_dir: Path, asked: Asked, answer: Answer) -> Answer:
    """Return the answer that counts: this one, then written into the folder, or that of whoever was faster."""
    path = run_dir / FILE
    with (run_dir / LOCK).open("a") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        if first := _read(path, asked) or _recorded(run_dir, asked):
            return first
        write_whole(path, (answer.model_dump_json(indent=1) + "\n").encode())
    return answer


def _recorded(run_dir: Path, asked: Asked) -> Answer | None:
    """Return the answer to a question that the trace has by now: the file was taken."""
    for question, said in dialogue(read_trace(run_dir)):
        if question.index == asked.index and said:
            return Answer(asked=asked.index, **said.model_dump(include=set(Answer.model_fields) - {"asked"}))
    return None


def check(answer: Answer, asked: Asked, events: Sequence[AnyEvent]) -> None:
    """Raise ValueError for an answer that a question does not take."""
    if answer.answer == "yes" and answer.words:
        raise ValueError("yes: takes no words; to change something, say it instead")
    if answer.answer != "say":
        return
    if not answer.words:
        raise ValueError("say: words are missing")
    if asked.gate == "spend":
        with contextlib.suppress(ValueError):
            if 0 < float(answer.words) < math.inf:
                return
        raise ValueError(f"say={answer.words!r}: here, the dollars that may be spent next; or yes, or no")
    begun = events[0]
    if isinstance(begun, RunStarted) and begun.backend in FOLLOWS:
        raise ValueError(f"say: the built-in {begun.backend} follows rules and reads no words; answer yes or no")
    said = sum(isinstance(e, Answered) and (e.gate, e.answer) == (asked.gate, "say") for e in events)
    if said >= CHANGES:
        raise ValueError(f"say: at most {CHANGES} times at `{asked.gate}`; answer yes or no")


def answered(run_dir: Path, events: Sequence[AnyEvent], asked: Asked, ask: Ask | None) -> Answered | None:
    """Return the answer to a question, from the file or from whoever is there; None if there is none."""
    found = _read(run_dir / FILE, asked) or (ask(asked) if ask else None)
    if found is None:
        return None
    check(found, asked, events)
    found = claim(run_dir, asked, found)
    said = found.model_dump(exclude={"asked"})
    return Answered(where=asked.where, gate=asked.gate, **said)


def waiting(run_dir: Path, asked: Asked) -> Answer | None:
    """Return the answer that somebody has put into the folder meanwhile; None if there is none."""
    return _read(run_dir / FILE, asked)


def taken(run_dir: Path) -> None:
    """Remove the file: its answer is in the trace."""
    (run_dir / FILE).unlink(missing_ok=True)


def _read(path: Path, asked: Asked) -> Answer | None:
    """Return the answer in a file; None without one, or if it is to another question."""
    try:
        found = Answer.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: is not an answer ({error}); remove it and answer again") from None
    return found if found.asked == asked.index else None
