"""Checks on host files: only inputs, tools and system files can be seen, only workspace files written."""

from __future__ import annotations

import itertools
import json
import os
import stat
import sys
from pathlib import Path

from sandbox.canaries import plant_and_probe
from sandbox.conformance.arena import EVENTS, Arena, identity
from sandbox.conformance.calls import file_handle, program
from sandbox.conformance.check import check, expect, expect_nothing, expect_refused

CODE = Path(__file__).parents[2]

READ = """
import glob, json, os, sys
found = {}
for pattern in sys.argv[2:]:
    for folder in glob.glob(pattern):
        path = folder + sys.argv[1]
        try:
            with open(path) as file: found[path] = file.read(4096)
        except OSError: pass
print(json.dumps(found))
"""


@check
def label_file(arena: Arena) -> None:
    """A label file of the host cannot be read by its path."""
    found = arena.ask(READ, arena.labels, "/", "/proc/../", "/workspace/../", "/inputs/../")
    expect_nothing(found, "read")


@check
def label_file_through_proc(arena: Arena) -> None:
    """No visible process leads to the host's files through its root or working folder."""
    found = arena.ask(READ, arena.labels, "/proc/[0-9]*/root", "/proc/[0-9]*/cwd/..", "/proc/[0-9]*/task/*/root")
    expect_nothing((path for path, text in found.items() if arena.secret in text), "read")


HANDLE = """
handle = ctypes.create_string_buffer(bytes.fromhex(sys.argv[1]))
here = os.open(".", os.O_RDONLY)
print(json.dumps({"open_by_handle_at": call("open_by_handle_at", here, handle, os.O_RDONLY)}))
"""


@check
def label_file_by_handle(arena: Arena) -> None:
    """A file outside the workspace cannot be opened by its file handle."""
    expect_refused(arena.ask(program(HANDLE), file_handle(arena.labels).hex()))


DESCRIPTORS = """
import json, os
found = []
for number in range(3, 1024):
    try: found.append(os.readlink(f"/proc/self/fd/{number}"))
    except OSError: pass
print(json.dumps(found))
"""


@check
def open_files_of_the_operator(arena: Arena) -> None:
    """No open file of the operator's process is passed on to a command."""
    with arena.labels.open() as labels:
        os.set_inheritable(labels.fileno(), True)
        expect_nothing(arena.ask(DESCRIPTORS), "open in a command")


SAME = """
import json, os, sys
found = []
for path, device, inode in json.loads(sys.argv[1]):
    try: status = os.stat(path)
    except OSError: continue
    if (status.st_dev, status.st_ino) == (device, inode): found.append(path)
print(json.dumps(found))
"""


def seen_inside(arena: Arena, paths: list[Path]) -> None:
    """Expect that none of these host files is the same file inside, although another may have the same name."""
    there = [identity(path) for path in paths if path.exists()]
    expect_nothing(arena.ask(SAME, json.dumps(there)), "the host's own")


@check
def home(arena: Arena) -> None:
    """The operator's home and its content are not there."""
    seen_inside(arena, [Path.home(), *itertools.islice(Path.home().iterdir(), 500)])


@check
def folders_of_the_host(arena: Arena) -> None:
    """The host's root, settings, logs and temporary files are not there."""
    names = "etc root home var var/log var/lib run boot opt srv mnt media tmp etc/passwd etc/shadow etc/ssh etc/hosts"
    seen_inside(arena, [Path("/"), *(Path("/", name) for name in names.split())])


@check
def our_code(arena: Arena) -> None:
    """The code that plans and judges, and its history, are not there."""
    seen_inside(
        arena, [CODE / name for name in ("agents", "tasks", "sandbox", ".git", "agents/cli/main.py", "tasks/lhco")]
    )


IMPORTS = """
import importlib.util, json
print(json.dumps([name for name in ("agents", "tasks", "sandbox") if importlib.util.find_spec(name)]))
"""


@check
def imports(arena: Arena) -> None:
    """Of our packages only `tools` can be imported."""
    expect_nothing(arena.ask(IMPORTS), "can be imported")


GENERATORS = """
import json
found = []
for name in ("pythia8mc", "pythia8"):
    try: __import__(name)
    except ImportError: continue
    found.append(name)
print(json.dumps(found))
"""


@check
def generators(arena: Arena) -> None:
    """No event generator can be imported that could reproduce shipped events from their public seeds."""
    expect_nothing(arena.ask(GENERATORS), "can be imported")


WRITE = """
import json, os, sys
made = []
for folder in sys.argv[2:]:
    path = os.path.join(folder, sys.argv[1])
    try: os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except OSError: continue
    made.append(path)
    os.unlink(path)
print(json.dumps(made))
"""


@check
def root_is_read_only(arena: Arena) -> None:
    """No file can be made outside the workspace and the temporary folders."""
    names = "usr usr/bin usr/lib usr/local/bin bin lib etc etc/ld.so.conf.d opt opt/beamcrew var var/tmp var/lib run"
    names += " run/lock home root srv mnt media boot dev proc sys sys/fs/cgroup inputs"
    folders = ["/", *(f"/{name}" for name in names.split()), sys.prefix, sys.base_prefix]
    expect_nothing(arena.ask(WRITE, f".beamcrew-{arena.secret}", *folders), "made")


APPEND = """
import json, os, sys
import numpy, pyarrow
paths = [*sys.argv[1:], sys.executable, os.path.realpath(sys.executable), json.__file__, numpy.__file__]
opened = []
for path in paths:
    try: os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
    except OSError: continue
    opened.append(path)
print(json.dumps(opened))
"""


@check
def system_files_stay(arena: Arena) -> None:
    """No file of the system, of the interpreter or of its packages can be opened for writing."""
    names = ("passwd", "group", "hosts", "hostname", "resolv.conf", "ld.so.cache", "localtime")
    expect_nothing(arena.ask(APPEND, *(f"/etc/{name}" for name in names), "/usr/bin/env", "/bin/sh"), "opened")


@check
def tools_stay(arena: Arena) -> None:
    """The tools can be neither changed nor added to."""
    tools = "/opt/beamcrew/tools"
    made = arena.ask(WRITE, f".beamcrew-{arena.secret}", tools)
    opened = arena.ask(APPEND, f"{tools}/__init__.py")
    expect_nothing([path for path in [*made, *opened] if "tools" in path], "written")


SPOIL = """
import json, os
done = []
def spoil(what, function, *words, **named):
    try: function(*words, **named)
    except OSError: return
    done.append(what)
spoil("truncated", os.truncate, "/inputs/events.txt", 3)
spoil("mode changed", os.chmod, "/inputs/events.txt", 0o600)
spoil("times changed", os.utime, "/inputs/events.txt", (1, 1))
spoil("attribute set", os.setxattr, "/inputs/events.txt", "user.beamcrew", b"x")
spoil("added to", os.mkdir, "/inputs/new")
spoil("renamed", os.rename, "/inputs/events.txt", "/inputs/labels.txt")
spoil("replaced", os.symlink, "/etc/passwd", "/inputs/events.txt")
spoil("hard linked", os.link, "/inputs/labels.txt", "/inputs/again")
print(json.dumps(done))
"""


@check
def inputs_stay(arena: Arena) -> None:
    """The inputs cannot be changed in any way, not even their names and times."""
    box = arena.make()
    inputs = arena.inputs
    before = (inputs / "events.txt").stat()
    done = arena.ask(SPOIL, box=box)
    expect_nothing(done, "events.txt of the inputs")
    names = [path.name for path in inputs.iterdir()]
    expect(names == ["events.txt"], f"{names}")
    expect(
        (inputs / "events.txt").read_text() == EVENTS and (inputs / "events.txt").stat().st_mtime == before.st_mtime,
        "another content or time",
    )


LINK = """
import json, os
found = {}
for name in ("/inputs/events.txt", "/bin/sh", "/usr/bin/env"):
    try: os.link(name, "linked")
    except OSError as error: found[name] = error.strerror; continue
    found[name] = "ok"; os.unlink("linked")
print(json.dumps(found))
"""


@check
def no_hard_links_out(arena: Arena) -> None:
    """No input or system file can be linked into the workspace, where it could be written."""
    found = arena.ask(LINK, box=arena.make())
    expect_nothing((name for name, answer in found.items() if answer == "ok"), "linked")


@check
def working_folder_behind_a_link(arena: Arena) -> None:
    """A working folder behind a link out of the workspace creates nothing on the host."""
    expect(arena.box.exec(["ln", "-s", str(arena.scratch), "away"]).ok, "no link was made")
    result = arena.box.exec(["true"], cwd="/workspace/away/made")
    expect(not (arena.scratch / "made").exists(), "a folder was made next to the labels")
    expect(not result.ok, "the command ran")


@check
def folder_of_the_run(arena: Arena) -> None:
    """No other user of the host can reach a workspace while a command runs, even if the command opens the folder."""
    box = arena.make()
    arena.python("import os; os.chmod('/workspace', 0o777)", box=box)
    mode = stat.S_IMODE(box.workspace.parent.stat().st_mode)
    expect(not mode & (stat.S_IRWXG | stat.S_IRWXO), f"the folder around it has mode {mode:o}")


@check
def set_uid_files(arena: Arena) -> None:
    """A set-uid program made in the workspace is of no use to anybody on the host."""
    box = arena.make()
    expect(box.exec(["sh", "-c", "chmod 777 . && cp /bin/sh shell && chmod 6755 shell; true"]).ok, "it did not run")
    shell, workspace = (box.workspace / "shell").stat(), box.workspace.stat()
    if shell.st_mode & (stat.S_ISUID | stat.S_ISGID):
        expect(workspace.st_mode & 0o077 == 0, f"{shell.st_mode:o} in a folder with {workspace.st_mode:o}")


@check
def canaries(arena: Arena) -> None:
    """The canaries of a run stay out of reach."""
    verdict = plant_and_probe(arena.box, arena.scratch / "canary.csv")
    expect_nothing((line for line in verdict.lines if not line.startswith("ok")), "leaks")
