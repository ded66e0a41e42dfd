"""Checks of reading and writing files where hostile code has set traps for reader and writer."""

from __future__ import annotations

import contextlib
import stat
import threading
from collections.abc import Callable
from typing import Any

from sandbox import reader, writer
from sandbox.conformance.arena import Arena
from sandbox.conformance.check import Breach, check, expect, expect_nothing
from sandbox.reader import UnsafeFile

BIG = 1 << 20
PATIENCE = 10.0  # seconds; nothing here takes one


def plant(arena: Arena, code: str, *words: object) -> None:
    """Run the program that prepares the workspace; raises if it fails."""
    arena.ask(f"import json, os, socket, sys\n{code}\nprint(json.dumps('planted'))", *words)


def in_time(function: Callable[..., Any], *words: object) -> Any:
    """Return or raise what the function does; raise Breach if it blocks."""
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.append(function(*words))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if not outcome:
        raise Breach("it waits for ever")
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def refused(function: Callable[..., Any], *words: object) -> None:
    """Expect that the file is refused, with a reason that the agent may read."""
    try:
        got = in_time(function, *words)
    except UnsafeFile:
        return
    expect(False, f"accepted: {got!r:.80}")


@check
def link_to_a_file(arena: Arena) -> None:
    """A link to a file of the host is not followed."""
    plant(arena, "os.symlink(sys.argv[1], 'link')", arena.labels)
    refused(reader.read_bytes, arena.box.workspace, "link", BIG)


@check
def link_to_a_folder(arena: Arena) -> None:
    """A link in the middle of a path is not followed."""
    plant(arena, "os.symlink(sys.argv[1], 'linked')", arena.scratch)
    refused(reader.read_bytes, arena.box.workspace, "linked/labels.csv", BIG)
    refused(reader.list_files, arena.box.workspace, "linked")


@check
def link_upwards(arena: Arena) -> None:
    """A relative link out of the workspace, and one to a process's own files, are not followed."""
    plant(arena, "os.symlink('../../host/labels.csv', 'up'); os.symlink('/proc/self/environ', 'own')")
    for name in ("up", "own"):
        refused(reader.read_bytes, arena.box.workspace, name, BIG)


@check
def link_to_a_device(arena: Arena) -> None:
    """A link to an endless device is not followed."""
    plant(arena, "os.symlink('/dev/zero', 'zero')")
    refused(reader.read_bytes, arena.box.workspace, "zero", BIG)


@check
def hard_link(arena: Arena) -> None:
    """A file with a second hard link, which might be somebody else's, is refused."""
    plant(arena, "open('first', 'w').close(); os.link('first', 'second')")
    refused(reader.read_bytes, arena.box.workspace, "second", BIG)


@check
def pipe(arena: Arena) -> None:
    """A named pipe in place of a result is neither read nor waited for."""
    plant(arena, "os.mkfifo('pipe')")
    refused(reader.read_bytes, arena.box.workspace, "pipe", BIG)


@check
def socket_file(arena: Arena) -> None:
    """A socket in place of a result is refused."""
    plant(arena, "socket.socket(socket.AF_UNIX).bind('socket')")
    refused(reader.read_bytes, arena.box.workspace, "socket", BIG)


@check
def folder(arena: Arena) -> None:
    """A folder in place of a result is refused."""
    plant(arena, "os.mkdir('result.json')")
    refused(reader.read_bytes, arena.box.workspace, "result.json", BIG)


@check
def paths_that_lead_out(arena: Arena) -> None:
    """Absolute paths, upward paths, and paths with a zero byte are always refused."""
    plant(arena, "os.makedirs('a/b')")
    for path in (str(arena.labels), "../../host/labels.csv", "a/../../../host/labels.csv", "a/b/..", "", "a\0b"):
        refused(reader.read_bytes, arena.box.workspace, path, BIG)


@check
def huge_file(arena: Arena) -> None:
    """A file larger than allowed is not read whole, sparse or not."""
    plant(arena, "open('sparse', 'wb').truncate(200 << 20); open('large', 'wb').write(bytes(2 << 20))")
    for name in ("sparse", "large"):
        refused(reader.read_bytes, arena.box.workspace, name, BIG)


@check
def closed_file(arena: Arena) -> None:
    """A file without read permission is either read or refused, and never causes a crash."""
    plant(arena, "open('closed', 'w').write('12'); os.chmod('closed', 0); os.mkdir('shut'); os.chmod('shut', 0)")
    for path in ("closed", "shut/file"):
        try:
            got = in_time(reader.read_bytes, arena.box.workspace, path, BIG)
        except UnsafeFile:
            continue
        expect(path == "closed" and got == b"12", f"{path} is {got!r}")


@check
def odd_names(arena: Arena) -> None:
    """Names that would forge a log line are listed as refused; other odd names do no harm."""
    names = "'a\\nforged: ok', '\\x1b[2J', '\\u202egnp.exe', ' ', '-rf', 'µ'"
    plant(arena, f"os.mkdir('odd')\nfor name in ({names}): open('odd/' + name, 'w').close()")
    listing = in_time(reader.list_files, arena.box.workspace, "odd")
    expect_nothing((repr(path) for path in listing.files if not path.isprintable()), "listed")
    expect(set(listing.files) == {"odd/ ", "odd/-rf", "odd/µ"}, f"listed {sorted(listing.files)}")
    expect(len(listing.refused) == 3, f"refused {sorted(listing.refused)}")


@check
def names_that_are_no_text(arena: Arena) -> None:
    """A name that is not UTF-8 is listed as refused."""
    plant(arena, "os.mkdir('bytes'); open(b'bytes/\\xff\\xfe', 'w').close()")
    listing = in_time(reader.list_files, arena.box.workspace, "bytes")
    expect(not listing.files and len(listing.refused) == 1, f"{listing}")


@check
def listing(arena: Arena) -> None:
    """A listing of files follows no links, and says what it leaves out."""
    code = "os.mkdir('mixed'); os.chdir('mixed'); open('file', 'w').close(); os.symlink(sys.argv[1], 'link'); "
    plant(arena, code + "os.symlink('..', 'loop'); os.mkfifo('pipe'); os.link('file', 'again')", arena.scratch)
    listing = in_time(reader.list_files, arena.box.workspace, "mixed")
    expect(not listing.files, f"listed {sorted(listing.files)}")
    left = {"mixed/file", "mixed/again", "mixed/link", "mixed/loop", "mixed/pipe"}
    expect(set(listing.refused) == left, f"refused {sorted(listing.refused)}")


@check
def many_files(arena: Arena) -> None:
    """The listing of a folder with very many files is cut short."""
    plant(arena, "os.mkdir('many')\nfor number in range(2000): open(f'many/{number}', 'w').close()")
    refused(reader.list_files, arena.box.workspace, "many")


DEEP = """
os.mkdir("deep")
os.chdir("deep")
for _ in range(60):
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
print(json.dumps("planted"), flush=True)
"""


@check
def deep_folders(arena: Arena) -> None:
    """Folders nested deeper than the longest path can be listed without a crash."""
    box = arena.make()
    planted = arena.python(f"import json, os\n{DEEP}", box=box)
    expect("planted" in planted.stdout, f"{planted}")  # the command may be ended for what it has made
    with contextlib.suppress(UnsafeFile):
        in_time(reader.list_files, box.workspace, "deep")


def writes(arena: Arena, name: str) -> None:
    """Expect that the writer writes the file to that place or refuses, but writes nowhere else."""
    before = sorted(arena.scratch.iterdir())
    try:
        in_time(writer.write_bytes, arena.box.workspace, name, b"the operator's")
    except UnsafeFile:
        pass
    else:
        status = (arena.box.workspace / name).lstat()
        expect(stat.S_ISREG(status.st_mode) and status.st_nlink == 1, f"it wrote through what was at {name}")
    expect(arena.secret in arena.labels.read_text(), "the labels were overwritten")
    expect(sorted(arena.scratch.iterdir()) == before, f"a file was written next to the labels: {name}")


@check
def write_over_a_link(arena: Arena) -> None:
    """A file that the host puts into the workspace is not written through a link in its place."""
    plant(arena, "os.symlink(sys.argv[1], 'step.py')", arena.labels)
    writes(arena, "step.py")


@check
def write_behind_a_link(arena: Arena) -> None:
    """A file that the host puts into a folder of the workspace does not go through a link in place of the folder."""
    plant(arena, "os.symlink(sys.argv[1], 'step')", arena.scratch)
    writes(arena, "step/labels.csv")
    writes(arena, "step/new")


@check
def write_over_a_pipe(arena: Arena) -> None:
    """The host does not wait for the reader of a pipe in the place of a file that it writes."""
    plant(arena, "os.mkfifo('plan.py'); os.mkfifo('folder')")
    writes(arena, "plan.py")
    writes(arena, "folder/plan.py")


@check
def write_over_a_hard_link(arena: Arena) -> None:
    """A file that the host puts into the workspace does not change other hard links to what it replaces."""
    plant(arena, "open('other', 'w').write('kept'); os.link('other', 'name')")
    writes(arena, "name")
    got = (arena.box.workspace / "other").read_text()
    expect(got == "kept", f"the other name holds {got!r}")


@check
def write_over_a_folder(arena: Arena) -> None:
    """A folder where the host wants to put a file is reported as such, and no half-written file remains."""
    plant(arena, "os.makedirs('taken/inner')")
    refused(writer.write_bytes, arena.box.workspace, "taken", b"the operator's")
    refused(writer.write_bytes, arena.box.workspace, "../host/new", b"the operator's")
    left = [path.name for path in arena.box.workspace.iterdir() if path.name.endswith(".new")]
    expect_nothing(left, "left behind")
