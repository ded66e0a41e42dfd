"""Checks that there are no privileges and no way to gain any; no new namespaces, mounts or devices."""

from __future__ import annotations

from sandbox.conformance.arena import Arena
from sandbox.conformance.calls import program
from sandbox.conformance.check import REFUSALS, check, expect, expect_nothing, expect_refused

STATUS = "import json; print(json.dumps(dict(line.split(':\\t', 1) for line in open('/proc/self/status'))))"


def status(arena: Arena) -> dict[str, str]:
    """Return the status that the kernel reports for a command."""
    return {name: value.strip() for name, value in arena.ask(STATUS).items()}


@check
def user_is_not_root(arena: Arena) -> None:
    """No user or group number of a command is that of root."""
    fields = status(arena)
    for name in ("Uid", "Gid", "Groups"):
        expect("0" not in fields[name].split(), f"{name} {fields[name]}")


@check
def no_capabilities(arena: Arena) -> None:
    """A command has no capability and cannot regain any."""
    fields = status(arena)
    held = {name: value for name, value in fields.items() if name.startswith("Cap")}
    expect(len(held) == 5, f"the kernel reports only {sorted(held)}")
    expect_nothing((f"{name} {value}" for name, value in held.items() if int(value, 16)), "held")


@check
def no_new_privileges(arena: Arena) -> None:
    """No program that a command starts gains privileges from its file."""
    expect((value := status(arena)["NoNewPrivs"]) == "1", f"NoNewPrivs {value}")


@check
def call_filter(arena: Arena) -> None:
    """System calls go through a filter."""
    expect((value := status(arena)["Seccomp"]) == "2", f"Seccomp {value}")


BECOME_USER = """
print(json.dumps({
    "setuid": attempt(os.setuid, 0), "seteuid": attempt(os.seteuid, 0), "setresuid": attempt(os.setresuid, 0, 0, 0)
}))
"""


@check
def become_root(arena: Arena) -> None:
    """A command cannot become root."""
    expect_refused(arena.ask(program(BECOME_USER)), ("EPERM", "EINVAL"))  # EINVAL: root has no number in here


BECOME_GROUP = """
print(json.dumps({
    "setgroups": attempt(os.setgroups, [0]), "setgid": attempt(os.setgid, 0),
    "setresgid": attempt(os.setresgid, 0, 0, 0)
}))
"""


@check
def join_root(arena: Arena) -> None:
    """A command cannot join the group of root."""
    expect_refused(arena.ask(program(BECOME_GROUP)), ("EPERM", "EINVAL"))


GIFTS = """
import struct
open("gift", "w").close()
capability = struct.pack("<5I", 0x02000001, 0x3FFFFFFF, 0, 0x3FFFFFFF, 0)
print(json.dumps({
    "capabilities of a file": attempt(os.setxattr, "gift", "security.capability", capability),
    "file given to root": attempt(os.chown, "gift", 0, 0) if os.stat("gift").st_uid else "ok",
}))
"""


@check
def privileged_files(arena: Arena) -> None:
    """A file can be given neither capabilities nor to root."""
    expect_refused(arena.ask(program(GIFTS)), (*REFUSALS, "EINVAL", "EOPNOTSUPP"))


PRIORITY = """
print(json.dumps({
    "nice": attempt(os.setpriority, os.PRIO_PROCESS, 0, -5),
    "real time": attempt(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1)),
}))
"""


@check
def priority(arena: Arena) -> None:
    """A command cannot give itself priority over the processes of the host."""
    expect_refused(arena.ask(program(PRIORITY)))


USER_NAMESPACES = """
import signal
NEWUSER = 0x10000000
def forked(name, *words):
    sys.stdout.flush()
    answer = raw(name, *words)
    if answer == 0: os._exit(0)
    if answer > 0: os.waitpid(answer, 0)
    return "ok" if answer > 0 else errno.errorcode[-answer]
clone3 = (ctypes.c_uint64 * 8)(NEWUSER, 0, 0, 0, signal.SIGCHLD)
print(json.dumps({
    "unshare": apart("unshare", NEWUSER),
    "clone": forked("clone", NEWUSER | signal.SIGCHLD, 0, 0, 0, 0),
    "clone3": forked("clone3", ctypes.byref(clone3), 64),
}))
"""


@check
def user_namespaces(arena: Arena) -> None:
    """No user namespace can be made in which a command would be root over its own mounts."""
    expect_refused(arena.ask(program(USER_NAMESPACES)), (*REFUSALS, "ENOSPC", "EUSERS"))


NAMESPACES = """
kinds = {"mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "pid": 0x20000000,
         "net": 0x40000000, "time": 0x80}
print(json.dumps({name: apart("unshare", flag) for name, flag in kinds.items()}))
"""


@check
def other_namespaces(arena: Arena) -> None:
    """No namespace of any other kind can be made."""
    expect_refused(arena.ask(program(NAMESPACES)), (*REFUSALS, "EINVAL", "ENOSPC"))


ENTER = """
answers = {}
for who in ("self", "1"):
    for kind in ("net", "uts", "ipc", "mnt", "pid", "cgroup"):
        try: file = os.open(f"/proc/{who}/ns/{kind}", os.O_RDONLY)
        except OSError as error: answers[f"{who} {kind}"] = errno.errorcode[error.errno]
        else: answers[f"{who} {kind}"] = apart("setns", file, 0)
print(json.dumps(answers))
"""


@check
def enter_namespaces(arena: Arena) -> None:
    """No namespace can be entered, not even a visible one."""
    expect_refused(arena.ask(program(ENTER)), (*REFUSALS, "ENOENT"))


# An attempt that is let through changes nothing, or is undone at once.
MOUNTS = """
DETACH, EXPIRE, BIND, REMOUNT = 2, 4, 4096, 32
os.makedirs("mount-here", exist_ok=True)
def mounted(*words):
    answer = call("mount", *words)
    if answer == "ok": call("umount2", b"mount-here", DETACH)
    return answer
attempts = {
    "tmpfs": lambda: mounted(b"none", b"mount-here", b"tmpfs", 0, None),
    "proc": lambda: mounted(b"none", b"mount-here", b"proc", 0, None),
    "bind": lambda: mounted(b"/", b"mount-here", None, BIND, None),
    "remount": lambda: call("mount", b"none", b"/inputs", None, REMOUNT | BIND, None),
    "unmount": lambda: call("umount2", b"/proc", EXPIRE),  # the first time it only marks an unused mount
    "fsopen": lambda: apart("fsopen", b"tmpfs", 0),
    "open_tree": lambda: apart("open_tree", -100, b"/", 1),
}
print(json.dumps({sys.argv[1]: attempts[sys.argv[1]]()}))
"""


@check
def mount_tmpfs(arena: Arena) -> None:
    """No file system can be mounted, neither an empty one nor a new /proc."""
    expect_refused({**arena.ask(program(MOUNTS), "tmpfs"), **arena.ask(program(MOUNTS), "proc")})


@check
def bind_mount(arena: Arena) -> None:
    """No folder can be mounted again somewhere else."""
    expect_refused(arena.ask(program(MOUNTS), "bind"))


@check
def remount(arena: Arena) -> None:
    """The inputs cannot be mounted again as writable."""
    expect_refused(arena.ask(program(MOUNTS), "remount"))


@check
def unmount(arena: Arena) -> None:
    """Nothing can be unmounted to see what is under it."""
    expect_refused(arena.ask(program(MOUNTS), "unmount"))


@check
def detached_mounts(arena: Arena) -> None:
    """The newer mount calls do not work either."""
    expect_refused({**arena.ask(program(MOUNTS), "fsopen"), **arena.ask(program(MOUNTS), "open_tree")})


ROOTS = """
print(json.dumps({"chroot": apart("chroot", b"."), "pivot_root": apart("pivot_root", b".", b".")}))
"""


@check
def other_root(arena: Arena) -> None:
    """A command cannot change its root folder, which is how one escapes from one."""
    expect_refused(arena.ask(program(ROOTS)))


NODES = """
import stat
kind, device = (stat.S_IFBLK, os.stat(".").st_dev) if sys.argv[1] == "block" else (stat.S_IFCHR, os.makedev(1, 1))
def use():
    file = os.open("node", os.O_RDONLY)
    os.close(file)
answers = {"mknod": attempt(os.mknod, "node", kind | 0o600, device)}
if answers["mknod"] == "ok":
    answers["open"] = attempt(use)
    os.unlink("node")
print(json.dumps(answers))
"""


@check
def block_devices(arena: Arena) -> None:
    """The workspace's disk cannot be accessed as a device file."""
    expect_refused(arena.ask(program(NODES), "block", box=arena.make()))


@check
def character_devices(arena: Arena) -> None:
    """The machine's memory cannot be accessed as a device file."""
    expect_refused(arena.ask(program(NODES), "character", box=arena.make()))
