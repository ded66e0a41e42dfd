"""Whatever is done to a trace after it was written is found, and named by its line; a crash is told from tampering."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_trace_store import EVERY, STARTED, written

from agents.trace.events import ModelCalled, Trouble
from agents.trace.lines import chained
from agents.trace.result import build_result
from agents.trace.store import TRACE, Store, TraceError, read_trace
from agents.trace.verify import verified

Lines = list[bytes]


def edited(line: bytes, **fields: Any) -> bytes:
    """The line with other values, its chain as it was."""
    return json.dumps(json.loads(line) | fields, separators=(",", ":")).encode()


def forged(lines: Lines, k: int, **fields: Any) -> Lines:
    """A line with other values and a chain that fits; what follows is left as it was."""
    document = json.loads(lines[k]) | fields
    del document["chain"]
    line, _ = chained(json.dumps(document, separators=(",", ":")), json.loads(lines[k - 1])["chain"])
    return [*lines[:k], line.rstrip(b"\n"), *lines[k + 1 :]]


def renumbered(lines: Lines) -> Lines:
    return [edited(line, index=k) for k, line in enumerate(lines)]


DAMAGE: dict[str, tuple[Callable[[Lines], Lines], str]] = {
    "a value is changed": (lambda x: [*x[:4], edited(x[4], seconds=2.0), *x[5:]], "line 5: was changed"),
    "the last line is changed": (lambda x: [*x[:-1], edited(x[-1], seconds=2.0)], f"line {len(EVERY)}: was changed"),
    "one byte is flipped": (lambda x: [x[0].replace(b"resonance", b"resonancf"), *x[1:]], "line 1: was changed"),
    "the time is changed": (lambda x: [*x[:7], edited(x[7], time=1.0), *x[8:]], "line 8: was changed"),
    "a chain is changed": (lambda x: [*x[:3], edited(x[3], chain="0" * 64), *x[4:]], "line 4: was changed"),
    "a chain is made to fit": (lambda x: forged(x, 4, seconds=2.0), "line 6: was changed .* after line 5"),
    "a chain is left out": (lambda x: [*x[:3], x[3][:-76] + b"}", *x[4:]], "line 4: has no chain"),
    "a line is missing": (lambda x: x[:5] + x[6:], "line 6: contains event 6; lines are missing"),
    "a line is missing, the others renumbered": (lambda x: renumbered(x[:5] + x[6:]), "line 6: was changed"),
    "the first lines are missing": (lambda x: x[3:], "line 1: is not the start"),
    "the first line is nothing but brackets": (lambda x: [b"[" * 100_000, *x[1:]], "line 1: is not the start"),
    "two lines are exchanged": (lambda x: [*x[:5], x[6], x[5], *x[7:]], "line 6: contains event 6; .* out of order"),
    "two lines are exchanged and renumbered": (
        lambda x: renumbered([*x[:5], x[6], x[5], *x[7:]]),
        "line 6: was changed",
    ),
    "a line is there twice": (lambda x: [*x[:5], x[4], *x[5:]], "line 6: contains event 4, which is repeated"),
    "a line is put in": (lambda x: renumbered([*x[:5], x[4], *x[5:]]), "line 6: was changed"),
    "a line is cut in the middle": (lambda x: [*x[:5], x[5][:30], *x[6:]], "line 6: not an event"),
    "a blank is put in": (lambda x: [*x[:5], x[5].replace(b":", b": ", 1), *x[6:]], "line 6: was changed"),
    "the chain is taken out of all lines": (lambda x: [line[:-76] + b"}" for line in x], "line 1: has no chain"),
    "a newer format is written over": (lambda x: [edited(x[0], format=5), *x[1:]], "line 1: format 5, .* format 4"),
    "a format that is no number": (lambda x: [edited(x[0], format=True), *x[1:]], "line 1: format True"),
    "an older format is written over": (
        lambda x: [edited(x[0], format=3), *x[1:]],
        "line 1: format 3, .* use the version that wrote",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named_with_its_line(tmp_path: Path, what: str) -> None:
    path = written(tmp_path)
    damage, said = DAMAGE[what]
    path.write_bytes(b"\n".join(damage(path.read_bytes().splitlines())) + b"\n")
    for read in (read_trace, Store.open):
        with pytest.raises(TraceError, match=rf"{re.escape(str(path))}, {said}"):
            read(tmp_path)


def test_a_line_cut_short_at_the_end_is_a_crash_and_no_tampering(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    start = whole.rstrip().rfind(b"\n") + 1
    for end in (start + 1, start + 40, len(whole) - 77, len(whole) - 1):  # the last: all but the end of the line
        path.write_bytes(whole[:end])
        assert len(read_trace(tmp_path)) == len(EVERY) - 1
        with Store.open(tmp_path) as store:
            assert "cut short by a crash" in store.events()[-1].text  # type: ignore[union-attr]
            store.append(Trouble(who="model", where="worker/0/a", text="gone on"))
        assert len(read_trace(tmp_path)) == len(EVERY) + 1


def test_a_trace_of_an_earlier_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = written(tmp_path)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([edited(lines[0], format=3), *lines[1:]]) + b"\n")
    before = path.read_bytes()
    for look in (read_trace, Store.open, Store.reading):
        with pytest.raises(
            TraceError, match=r"format 3, but this version .* replays format 4; use the version that wrote"
        ):
            look(tmp_path)
    assert path.read_bytes() == before


def with_blobs(run_dir: Path) -> ModelCalled:
    with Store.create(run_dir) as store:
        store.append(STARTED)
        called = EVERY[4].model_copy(update={"request": store.put(b"asked"), "reply": store.put(b"answer")})
        return store.append(called)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(b"Answer"), "the content does not have the SHA-256 it is named by"),
        (lambda path: path.write_bytes(b""), "the content does not have the SHA-256 it is named by"),
        (lambda path: path.unlink(), "cannot be read: No such file"),
    ],
)
def test_a_blob_that_is_missing_or_changed_is_named_with_the_line(
    tmp_path: Path, damage: Callable[[Path], Any], said: str
) -> None:
    called = with_blobs(tmp_path)
    assert verified(tmp_path)[-1] == called
    damage(tmp_path / "blobs" / called.reply[:2] / called.reply[2:])
    with pytest.raises(TraceError, match=rf"{TRACE}, line 2, model_called, reply: .*{said}"):
        verified(tmp_path)


def test_lines_taken_off_the_end_are_found_by_the_result_that_was_made_from_them(tmp_path: Path) -> None:
    with_blobs(tmp_path)
    with Store.open(tmp_path) as store:
        store.append(EVERY[-1])
    (tmp_path / "result.json").write_text(build_result(tmp_path).model_dump_json())
    assert len(verified(tmp_path)) == 3
    path = tmp_path / TRACE
    whole = path.read_bytes()
    with Store.open(tmp_path) as store:  # a run that was gone on with since
        store.append(Trouble(who="operator", where="worker/0/a", text="t"))
    assert len(verified(tmp_path)) == 4
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    with pytest.raises(TraceError, match=r"ends before the last line that result\.json was made from"):
        verified(tmp_path)


def test_the_chain_is_what_the_format_says(tmp_path: Path) -> None:
    """Checked the plain way: a reader needs nothing of beamcrew."""
    before = ""
    lines = written(tmp_path).read_text().splitlines()
    assert len(lines) > 2
    for line in lines:
        body, _, chain = line.rpartition(',"chain":"')
        before = hashlib.sha256((before + body + "}").encode()).hexdigest()
        assert chain == before + '"}'
