"""Checks that whatever fills the workspace ends the command. No attack takes more than three times the limit."""

from __future__ import annotations

from sandbox.conformance.arena import Arena
from sandbox.conformance.check import check, expect

LIMIT = 8  # MiB
FILES = 6000  # empty files: at the four kilobytes that each counts, three times the limit


def ended_for_it(arena: Arena, fill: str, *words: object) -> None:
    """Run a program that fills the workspace and waits, and expect that it is ended for it."""
    code = f"import os, sys, time\n{fill}\ntime.sleep(3)\nprint('survived')"
    result = arena.python(code, *words, box=arena.make(workspace_mib=LIMIT))
    expect(result.ended == "workspace" and "survived" not in result.stdout, f"it ended by {result.ended}: {result}")


@check
def one_file(arena: Arena) -> None:
    """A single file that is too large ends the command."""
    ended_for_it(arena, f"open('large', 'wb').write(bytes({3 * LIMIT} << 20))")


@check
def many_files(arena: Arena) -> None:
    """Many small files count as a whole, whatever folders they are in."""
    fill = """
for number in range(3 * int(sys.argv[1])):
    os.makedirs(f"a/{number}")
    with open(f"a/{number}/part", "wb") as file: file.write(bytes(1 << 20))
"""
    ended_for_it(arena, fill, LIMIT)


@check
def empty_files(arena: Arena) -> None:
    """Empty files count too, since a disk can be full of names."""
    ended_for_it(arena, "for number in range(int(sys.argv[1])): open(f'empty-{number}', 'w').close()", FILES)


@check
def empty_folders(arena: Arena) -> None:
    """Empty folders count as files do."""
    ended_for_it(arena, "for number in range(int(sys.argv[1])): os.mkdir(f'empty-{number}')", FILES)


@check
def deleted_files(arena: Arena) -> None:
    """A deleted file that is still open counts."""
    fill = """
file = open("large", "wb")
os.unlink("large")
file.write(bytes(3 * int(sys.argv[1]) << 20))
file.flush()
"""
    ended_for_it(arena, fill, LIMIT)


@check
def mapped_files(arena: Arena) -> None:
    """A deleted file that is still mapped, even in part, counts."""
    fill = """
import mmap
file = open("large", "w+b")
file.write(bytes(3 * int(sys.argv[1]) << 20))
file.flush()
mapped = mmap.mmap(file.fileno(), 4096)
file.close()
os.unlink("large")
"""
    ended_for_it(arena, fill, LIMIT)


@check
def files_in_flight(arena: Arena) -> None:
    """A deleted file that is waiting in a socket counts."""
    fill = """
import socket
file = open("large", "wb")
file.write(bytes(3 * int(sys.argv[1]) << 20))
file.flush()
os.fsync(file.fileno())
os.unlink("large")
pair = socket.socketpair()
socket.send_fds(pair[0], [b"file"], [file.fileno()])
file.close()
time.sleep(3)
"""
    ended_for_it(arena, fill, LIMIT)


@check
def deep_folders(arena: Arena) -> None:
    """A file in folders nested deeper than the longest path counts."""
    fill = """
for _ in range(40):
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
with open("large", "wb") as file: file.write(bytes(3 * int(sys.argv[1]) << 20))
"""
    ended_for_it(arena, fill, LIMIT)


@check
def unreadable_folders(arena: Arena) -> None:
    """A file in an unreadable folder counts."""
    fill = """
os.mkdir("hidden")
with open("hidden/large", "wb") as file: file.write(bytes(3 * int(sys.argv[1]) << 20))
os.chmod("hidden", 0)
"""
    ended_for_it(arena, fill, LIMIT)


@check
def filled_in_passing(arena: Arena) -> None:
    """A full workspace is reported even if the command ends before the first check."""
    box = arena.make(workspace_mib=LIMIT)
    result = arena.python(f"open('large', 'wb').write(bytes({3 * LIMIT} << 20))", box=box)
    expect(result.ended == "workspace" and not result.ok, f"{result}")
    (box.workspace / "large").unlink()
    expect(box.exec(["true"]).ok, "with space free again, the next command did not run")


@check
def holes_are_not_counted(arena: Arena) -> None:
    """A file that is mostly hole takes no space, and none is counted."""
    result = arena.python(f"open('sparse', 'wb').truncate({3 * LIMIT} << 20)", box=arena.make(workspace_mib=LIMIT))
    expect(result.ok, f"{result}")
