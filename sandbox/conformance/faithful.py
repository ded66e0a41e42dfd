"""Checks that what a command gets and returns is passed on unchanged: nothing added, lost or interpreted."""

from __future__ import annotations

import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

from sandbox.conformance.arena import EVENTS, ORDINARY, Arena
from sandbox.conformance.check import check, expect
from sandbox.driver import ExecResult, SandboxLost
from sandbox.inside import LONGEST_WORD
from sandbox.reader import read_bytes
from sandbox.writer import write_bytes

ECHO = "import json, sys; print(json.dumps(sys.argv[1:]))"


@check
def exit_codes(arena: Arena) -> None:
    """A command's exit code comes back unchanged."""
    for code in (0, 1, 7, 255):
        result = arena.box.exec(["sh", "-c", f"exit {code}"])
        expect((result.exit_code, result.ended, result.ok) == (code, "exit", code == 0), f"{code} became {result}")


@check
def signals(arena: Arena) -> None:
    """A command that dies of signal n has exit code 128 + n."""
    for name, code in (("SEGV", 139), ("KILL", 137), ("TERM", 143), ("ABRT", 134)):
        result = arena.box.exec(["sh", "-c", f"kill -{name} $$"])
        expect((result.exit_code, result.ended) == (code, "exit"), f"SIG{name} became {result}")


@check
def broken_pipes(arena: Arena) -> None:
    """A pipeline whose reader leaves early ends quietly."""
    result = arena.box.exec(["sh", "-c", "yes | head -n 1"], seconds=10)
    expect(result.ok and (result.stdout, result.stderr) == ("y\n", ""), f"{result}")


@check
def no_such_command(arena: Arena) -> None:
    """A command that does not exist has exit code 127 and says so."""
    result = arena.box.exec(["no-such-command"])
    expect((result.exit_code, result.stderr) == (127, "no-such-command: No such file or directory\n"), f"{result}")


@check
def not_executable(arena: Arena) -> None:
    """A file that cannot be executed has exit code 126."""
    write_bytes(arena.box.workspace, "plain.txt", b"no program")
    result = arena.box.exec(["./plain.txt"])
    expect(result.exit_code == 126 and "Permission denied" in result.stderr, f"{result}")


@check
def text(arena: Arena) -> None:
    """UTF-8 comes back on both streams, separately."""
    result = arena.python("import sys; print('mⱼⱼ = 3.5 TeV ± 1 %'); print('Züge 🚂', file=sys.stderr)")
    expect((result.stdout, result.stderr) == ("mⱼⱼ = 3.5 TeV ± 1 %\n", "Züge 🚂\n"), f"{result}")


@check
def arguments_are_literal(arena: Arena) -> None:
    """No shell interprets the arguments."""
    words = ["$HOME", "`id`", "$(id)", "; exit 3", "*", "~", "a  b", "", "'", '"', "\\n", "-rf", "> out", "%s", "{}"]
    expect((got := arena.ask(ECHO, *words)) == words, f"became {got}")


@check
def arguments_of_any_text(arena: Arena) -> None:
    """Arguments may hold any text, including newlines and all of Unicode."""
    words = ["µ → ττ", "two\nlines\n", "tab\t", "\u2028", "🎲", "\x01\x7f", "e\u0301"]
    expect((got := arena.ask(ECHO, *words)) == words, f"became {got}")


@check
def long_arguments(arena: Arena) -> None:
    """An argument may be as long as the kernel allows; a longer one is reported as the caller's mistake at once."""
    longest = arena.box.exec(["python", "-c", "import sys; print(len(sys.argv[1]))", "x" * LONGEST_WORD])
    expect(longest.stdout == f"{LONGEST_WORD}\n", f"{longest}")
    try:
        seen = f"{arena.box.exec(['true', 'x' * (LONGEST_WORD + 1)])}"
    except ValueError:
        return
    expect(False, seen)


@check
def bytes_that_are_no_text(arena: Arena) -> None:
    """Bytes of output that are not UTF-8 are replaced one by one, and never cause an error."""
    result = arena.python("import sys; sys.stdout.buffer.write(b'a\\xff\\xfeb\\x00c')")
    expect(result.stdout == "a\ufffd\ufffdb\x00c" and result.ok, f"{result}")


@check
def last_line_without_end(arena: Arena) -> None:
    """Output without a final newline is complete, and no output comes back as no output."""
    expect((got := arena.box.exec(["printf", "two\nlines"]).stdout) == "two\nlines", repr(got))
    silent = arena.box.exec(["true"])
    expect((silent.stdout, silent.stderr, silent.dropped_bytes) == ("", "", 0), f"{silent}")


@check
def much_on_both_streams(arena: Arena) -> None:
    """Neither stream waits for the other, and both are complete below the cap."""
    code = "import sys\nfor _ in range(60):\n    sys.stdout.write('o' * 1024)\n    sys.stderr.write('e' * 1024)"
    result = arena.python(code, seconds=20)
    expect((result.stdout, result.stderr) == ("o" * 61440, "e" * 61440), f"{len(result.stdout)}, {len(result.stderr)}")


def kept_and_dropped(stream: str) -> tuple[int, int]:
    """Return the bytes kept of a captured stream, and the bytes that it says were dropped."""
    if not (gap := re.search(r"\n\[\.\.\. (\d+) bytes dropped \.\.\.\]\n", stream)):
        return len(stream.encode()), 0
    return len(stream.encode()) - len(gap[0].encode()), int(gap[1])


def check_capped(result: ExecResult, written: int, kib: int) -> None:
    for stream in (result.stdout, result.stderr):
        kept, dropped = kept_and_dropped(stream)
        expect(kept == kib << 10, f"{kept} bytes kept, the cap is {kib << 10}")
        expect(kept + dropped == written, f"{kept} + {dropped} bytes of {written}")
        expect(stream.startswith("first\n") and stream.endswith("last\n"), "not both ends of the output were kept")
    expect(result.dropped_bytes == 2 * (written - (kib << 10)), f"{result.dropped_bytes} bytes dropped in all")


FLOOD = """
import sys, time
for stream in (sys.stdout, sys.stderr):
    stream.write("first\\n" + "x" * (4 << 20) + "last\\n")
    stream.flush()
time.sleep(float(sys.argv[1]))
"""


@check
def capped_output(arena: Arena) -> None:
    """Output beyond the cap is dropped from the middle and counted to the byte."""
    result = arena.python(FLOOD, 0, box=arena.make(output_kib=4))
    check_capped(result, (4 << 20) + 11, kib=4)


@check
def capped_output_of_a_cut_command(arena: Arena) -> None:
    """Output of a command whose time ran out is capped and counted in the same way."""
    result = arena.python(FLOOD, 20, box=arena.make(output_kib=4), seconds=2)
    expect(result.ended == "timeout", f"{result.ended}")
    check_capped(result, (4 << 20) + 11, kib=4)


@check
def closed_output(arena: Arena) -> None:
    """A command that closes its output is still waited for."""
    result = arena.box.exec(["sh", "-c", "exec >&- 2>&-; sleep 1; exit 5"])
    expect(result.exit_code == 5 and result.seconds >= 1, f"{result}")


@check
def empty_input(arena: Arena) -> None:
    """Standard input is empty, and reading it does not block."""
    result = arena.python("import sys; print(repr(sys.stdin.read()))", seconds=10)
    expect(result.stdout == "''\n", f"{result}")


TERMINAL = """
import json, os
found = [number for number in range(3) if os.isatty(number)]
try: os.open("/dev/tty", os.O_RDWR); found.append("/dev/tty")
except OSError: pass
print(json.dumps(found))
"""


@check
def no_terminal(arena: Arena) -> None:
    """There is no terminal into which a command could type."""
    expect(not (found := arena.ask(TERMINAL)), f"{found}")


@check
def working_folder(arena: Arena) -> None:
    """The working folder is created if it does not exist."""
    expect(arena.box.exec(["touch", "here"], cwd="/workspace/step 1/deep").ok, "the command did not run")
    expect((arena.box.workspace / "step 1/deep/here").exists(), "the command ran somewhere else")


@check
def working_folder_outside(arena: Arena) -> None:
    """A working folder outside the workspace is reported as the caller's mistake before anything runs."""
    for cwd in ("/tmp", "/workspace/../etc", "workspace", "/workspacex", "/", ""):
        try:
            seen = f"{cwd!r}: {arena.box.exec(['true'], cwd=cwd)}"
        except ValueError:
            continue
        expect(False, seen)


@check
def what_is_handed_in(arena: Arena) -> None:
    """Inputs are the same as on the host, and files that the host writes into the workspace can be read and changed."""
    box = arena.make()
    expect((got := box.exec(["cat", "/inputs/events.txt"]).stdout) == EVENTS, repr(got))
    write_bytes(box.workspace, "plan/step.py", "print('µ')".encode())
    result = box.exec(["sh", "-c", "python plan/step.py && echo >> plan/step.py && rm plan/step.py && touch plan/new"])
    expect(result.stdout == "µ\n" and result.ok, f"{result}")


@check
def files_stay(arena: Arena) -> None:
    """Files in the workspace are there for the next command."""
    box = arena.make()
    expect(box.exec(["sh", "-c", "mkdir a; printf 12 > a/scores"]).ok, "the first command failed")
    expect((got := box.exec(["cat", "a/scores"]).stdout) == "12", repr(got))


@check
def files_come_back(arena: Arena) -> None:
    """The operator can read, change and delete files made inside."""
    box = arena.make()
    expect(box.exec(["sh", "-c", "mkdir a; printf 12 > a/scores"]).ok, "the command failed")
    expect((got := read_bytes(box.workspace, "a/scores", 100)) == b"12", repr(got))
    file, owner = box.workspace / "a" / "scores", box.workspace.stat().st_uid
    expect(file.stat().st_uid == owner, f"it belongs to {file.stat().st_uid}, the workspace to {owner}")
    expect(os.access(file, os.R_OK | os.W_OK), "it cannot be changed")
    file.unlink()


MEET = """
import pathlib, sys, time
me, other = sys.argv[1:]
pathlib.Path(me).touch()
while not pathlib.Path(other).exists(): time.sleep(0.01)
print(me)
"""


@check
def side_by_side(arena: Arena) -> None:
    """Two commands run at the same time, and each gets its own output."""
    box = arena.make()
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(arena.python, MEET, *pair, box=box, seconds=10) for pair in (("a", "b"), ("b", "a"))]
        got = [job.result().stdout for job in jobs]
    expect(got == ["a\n", "b\n"], f"{got}")


@check
def time_tightened(arena: Arena) -> None:
    """A command that takes too long ends within a second of its limit, and its output until then comes back."""
    result = arena.python("import time; print('begun', flush=True); time.sleep(20)", seconds=2)
    expect((result.ended, result.exit_code, result.stdout) == ("timeout", 137, "begun\n"), f"{result}")
    expect(2 <= result.seconds < 3, f"after {result.seconds:.2f} s instead of 2")


@check
def time_not_widened(arena: Arena) -> None:
    """A command cannot get more time than the limit of the run."""
    result = arena.make(seconds=1).exec(["sleep", "20"], seconds=50)
    expect(result.ended == "timeout" and result.seconds < 2, f"{result}")


@check
def time_told(arena: Arena) -> None:
    """The reported seconds are those that passed."""
    start = time.monotonic()
    result = arena.box.exec(["sleep", "0.5"])
    passed = time.monotonic() - start
    expect(0.5 <= result.seconds <= passed, f"{result.seconds:.2f} s reported, {passed:.2f} s passed")


OWN_LOOPBACK = """
import json, socket
with socket.create_server(("127.0.0.1", 0)) as server:
    with socket.create_connection(server.getsockname(), timeout=5): pass
print(json.dumps("ok"))
"""


@check
def own_loopback(arena: Arena) -> None:
    """A command may talk to itself over its own loopback, as distributed training does."""
    expect(arena.ask(OWN_LOOPBACK) == "ok", "no connection")


TEMPORARY = """
import json, os, tempfile
for folder in (os.environ["HOME"], "/dev/shm", None):
    with tempfile.NamedTemporaryFile(dir=folder) as file: file.write(bytes(1 << 20))
print(json.dumps("ok"))
"""


@check
def temporary_files(arena: Arena) -> None:
    """Home, /tmp and /dev/shm are writable."""
    expect(arena.ask(TEMPORARY) == "ok", "not written")


@check
def tools_are_there(arena: Arena) -> None:
    """The package `tools` can be imported."""
    code = "import importlib.util as u, json; print(json.dumps(u.find_spec('tools') is not None))"
    expect(arena.ask(code), "it is not found")


@check
def it_says_what_it_is(arena: Arena) -> None:
    """A sandbox reports its driver, its version, why it was chosen, and its limits."""
    info = arena.box.info
    expect(info.driver and info.version and info.reason and info.limits == ORDINARY, json.dumps(info.model_dump()))


@check
def closed_is_lost(arena: Arena) -> None:
    """A closed sandbox runs nothing and says so."""
    box = arena.make()
    box.close()
    try:
        seen = f"{box.exec(['true'])}"
    except SandboxLost:
        return
    expect(False, seen)
