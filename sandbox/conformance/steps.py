"""Checks on concurrent steps of a run, each in its own folder: none writes to another's files or reaches its processes.

A step reads what others have made, since it may depend on that. The kernel's Landlock keeps the folders apart; if the
kernel has none, or the container engine's call filter does not know it, the checks do not apply.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sandbox import landlock
from sandbox.conformance.arena import Arena
from sandbox.conformance.calls import program
from sandbox.conformance.check import NotApplicable, check, expect, expect_nothing
from sandbox.conformance.processes import INTRUDE
from sandbox.driver import Sandbox

OTHER, MINE = "/workspace/i0/other", "/workspace/i0/mine"
ASK = Path(landlock.__file__).read_text() + "\nprint(version())"

STEP = """
import os, pathlib, tempfile, time
number, temporary = tempfile.mkstemp()
os.write(number, b"honest")
pathlib.Path("temporary").write_text(temporary)
pathlib.Path("made").write_text("by the other")
pathlib.Path("arguments.json").write_text("honest")
pathlib.Path("new").write_text(str(os.getpid()))
os.rename("new", "ready")
end = time.monotonic() + 20
while not os.path.exists("stop") and time.monotonic() < end: time.sleep(0.05)
kept = os.path.exists(temporary) and pathlib.Path(temporary).read_text()
if kept is not False: os.unlink(temporary)
print(pathlib.Path("arguments.json").read_text(), kept)
"""


@contextlib.contextmanager
def other_step(arena: Arena) -> Iterator[tuple[Sandbox, int]]:
    """Yield the sandbox in which another step is at work, and the number of its process inside."""
    box = arena.make()
    if int(arena.python(ASK, box=box).stdout or 0) < landlock.OLDEST:
        raise NotApplicable("no Landlock: the kernel is older than 5.19, or the engine's call filter is")
    with ThreadPoolExecutor() as pool:
        job = pool.submit(box.exec, ["python", "-c", STEP], cwd=OTHER, seconds=30)
        folder = box.workspace / "i0/other"
        try:
            while not (folder / "ready").exists():
                if job.done():
                    raise RuntimeError(f"the other step did not start: {job.result()}")
                time.sleep(0.02)
            yield box, int((folder / "ready").read_text())
        finally:
            with contextlib.suppress(FileNotFoundError):  # if the folder could be moved away
                (folder / "stop").touch()
        expect(job.result().stdout == "honest honest\n", f"the other step found other files: {job.result()}")


WRITES = f"""
import json, os
tried = {{
    "write": lambda: open("{OTHER}/arguments.json", "w").write("hostile"),
    "append": lambda: open("{OTHER}/made", "a").write("hostile"),
    "truncate": lambda: os.truncate("{OTHER}/made", 1),
    "remove": lambda: os.unlink("{OTHER}/made"),
    "make": lambda: open("{OTHER}/planted", "x").close(),
    "make a folder": lambda: os.mkdir("{OTHER}/folder"),
    "link": lambda: os.symlink("/tmp", "{OTHER}/link"),
    "hard link out": lambda: os.link("{OTHER}/arguments.json", "linked"),
    "move in": lambda: (open("mine", "w").close(), os.rename("mine", "{OTHER}/arguments.json")),
    "move the folder": lambda: os.rename("{OTHER}", "/workspace/i0/moved"),
    "beside": lambda: open("/workspace/i0/planted", "x").close(),
    "through a link": lambda: (os.symlink("{OTHER}/arguments.json", "l"), open("l", "w").write("hostile")),
}}
done = []
for name, how in tried.items():
    try: how()
    except OSError: continue
    done.append(name)
print(json.dumps(done))
"""


@check
def files_of_another_step(arena: Arena) -> None:
    """A step cannot write, remove, move or link anything in the folder of another, nor outside its own."""
    with other_step(arena) as (box, _):
        result = box.exec(["python", "-c", WRITES], cwd=MINE, seconds=20)
        expect(result.ok, f"{result}")
        done = json.loads(result.stdout)
        expect_nothing((name for name in done if name != "truncate" or landlock.version() >= 3), "done")


SPOIL = f"""
import contextlib, os, shutil
path = open("{OTHER}/temporary").read()
with contextlib.suppress(OSError): os.chmod(path, 0o600); open(path, "w").write("hostile")
with contextlib.suppress(OSError): os.unlink(path)
with contextlib.suppress(OSError): open("mine", "w").write("hostile"); shutil.move("mine", path)
"""


@check
def temporary_files_of_another_step(arena: Arena) -> None:
    """Temporary files of a step stay unchanged, whatever another step does."""
    with other_step(arena) as (box, _):
        expect((result := box.exec(["python", "-c", SPOIL], cwd=MINE, seconds=20)).ok, f"{result}")


@check
def processes_of_another_step(arena: Arena) -> None:
    """Memory and environment of another step's process can be neither read nor written, nor can it be signalled."""
    code = program(
        INTRUDE
        + 'print(json.dumps(intrude(int(sys.argv[1])) + ["kill"] * (attempt(os.kill, int(sys.argv[1]), 0) == "ok")))'
    )
    with other_step(arena) as (box, pid):
        if box.info.driver == "bubblewrap" and not _seen(box, pid):
            return  # each command has its own process namespace
        result = box.exec(["python", "-c", code, str(pid)], cwd=MINE, seconds=20)
        expect(result.ok, f"{result}")
        done = [how for how in json.loads(result.stdout) if how not in ("kill", "maps") or landlock.version() >= 6]
        expect_nothing(done, "done")


def _seen(box: Sandbox, pid: int) -> bool:
    """Return whether a later command finds the step's process under its number."""
    found = box.exec(["sh", "-c", f"tr '\\0' ' ' < /proc/{pid}/cmdline"], cwd=MINE)
    return "by the other" in found.stdout


@check
def work_of_another_step(arena: Arena) -> None:
    """A step can read what another has made, and do anything in its own folder."""
    code = f"""
import os, shutil
assert open("{OTHER}/made").read() == "by the other"
shutil.copytree("{OTHER}", "copied")
os.makedirs("a/b"); open("a/b/c", "w").write("text"); os.rename("a/b/c", "a/d"); os.truncate("a/d", 2)
os.symlink("a/d", "l"); os.link("a/d", "h"); os.unlink("h"); os.rmdir("a/b"); shutil.rmtree("copied")
open("/tmp/mine", "w").close(); open("/dev/null", "w").close(); open("/dev/shm/mine", "w").close()
print(open("l").read())
"""
    with other_step(arena) as (box, _):
        result = box.exec(["python", "-c", code], cwd=MINE, seconds=20)
        expect(result.stdout == "te\n", f"{result}")
