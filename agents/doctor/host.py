"""Checks of what a host or a cluster's node may lack: control groups, a home to write to, an account, SELinux."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from agents.doctor.check import Check
from sandbox import cgroup, selinux
from sandbox.driver import Limits

DELEGATE = "systemd-run --user --scope -p Delegate=yes beamcrew run ..."


def check_host() -> Iterator[Check]:
    """Check the host; each line that fails says what to do."""
    yield check_control_groups()
    yield check_home()
    if selinux.enforcing():
        yield Check(name="selinux", ok=True, detail="enforcing: containers run without a label (label=disable)")


def check_control_groups() -> Check:
    """Check whether the kernel limits memory and processes of a run that no container engine limits."""
    group = cgroup.make(Limits())
    held = group.holds if group else ()
    if group:
        group.close()
    if missing := [name for name in cgroup.CONTROLLERS if name not in held]:
        what = " and ".join({"memory": "memory", "pids": "processes"}[name] for name in missing)
        detail = f"only a check ten times a second limits {what} in bubblewrap and Apptainer; with systemd: {DELEGATE}"
        return Check(name="control groups", ok=False, detail=detail)
    return Check(name="control groups", ok=True, detail="the kernel limits memory and processes of a run")


def check_home() -> Check:
    """Check that there are a home and an account: libraries look for both, and fail late if there are none."""
    home = os.environ.get("HOME", "")
    caches = "set HOME to a folder of your own, or MPLCONFIGDIR and XDG_CACHE_HOME"
    if not home or not os.access(home, os.W_OK):
        return Check(name="home", ok=False, detail=f"HOME={home} cannot be written to: {caches}")
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        if not os.environ.get("USER"):
            return Check(name="home", ok=False, detail=f"user {os.geteuid()} has no account: set USER and LOGNAME")
    return Check(name="home", ok=True, detail=str(Path(home)))
