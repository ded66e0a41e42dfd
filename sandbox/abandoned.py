"""What dead runs left behind, removed: containers, known by their labels, and scratch folders of bubblewrap.

A container ends with the process that made it, and a folder is removed by it; something is left only where the host
or the engine failed, or the process was killed. What may still be in use is never touched.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import docker
import docker.errors
import requests

from sandbox import owner

YOUNG = 60.0  # seconds: a folder may be so new that its owner has not locked it yet


class Found(NamedTuple):
    """Something of a run, whether it was removed, and why it was not or whose it was."""

    name: str
    removed: bool
    why: str


def clean() -> Iterator[Found]:
    """Remove what is provably nobody's any more, and name everything that was found."""
    yield from clean_containers()
    yield from clean_folders(Path(tempfile.gettempdir()))


def clean_containers() -> Iterator[Found]:
    """Of all runs that share the engine, other hosts' too; without an engine there are none."""
    try:
        client = docker.from_env()
    except docker.errors.DockerException as error:
        yield Found("containers", False, f"no engine answers: {error}")
        return
    try:
        for container in client.containers.list(all=True, filters={"label": owner.RUN}, ignore_removed=True):
            name, run = f"container {container.name}", container.labels[owner.RUN]
            if why := owner.alive(container.labels):
                yield Found(name, False, f"of {run}: {why}; if nobody uses it: docker rm -f {container.name}")
                continue
            try:
                container.remove(force=True)
            except docker.errors.NotFound:
                yield Found(name, True, f"of {run}: it went by itself")
            except docker.errors.APIError as error:
                yield Found(name, False, f"of {run}, its process is dead, but: {error.explanation or error}")
            else:
                yield Found(name, True, f"of {run}: its process is dead")
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        yield Found("containers", False, f"the engine stopped answering: {error}")
    finally:
        client.close()


def clean_folders(where: Path) -> Iterator[Found]:
    """Scratch folders of this user."""
    for folder in sorted(where.glob(f"{owner.PREFIX}*")):
        try:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # gone, a link, or somebody else's
            continue
        try:
            status = os.fstat(fd)
            if status.st_uid != os.geteuid():
                continue
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - status.st_ctime < YOUNG:
                yield Found(f"folder {folder}", False, "is quite new")
                continue
            shutil.rmtree(folder)
            yield Found(f"folder {folder}", True, "its process is dead")
        except BlockingIOError:
            yield Found(f"folder {folder}", False, "its process lives")
        except OSError as error:
            yield Found(f"folder {folder}", False, f"its process is dead, but: {error}")
        finally:
            os.close(fd)
