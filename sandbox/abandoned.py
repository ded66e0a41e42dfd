"""What dead runs left behind, removed: containers, known by their labels. Bubblewrap leaves nothing behind.

A container ends with the process that made it; one is left only where the host or the engine failed. What may still
be in use is never touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import docker
import docker.errors
import requests

from sandbox import owner


class Found(NamedTuple):
    """Something of a run, whether it was removed, and why it was not or whose it was."""

    name: str
    removed: bool
    why: str


def clean() -> Iterator[Found]:
    """Remove containers that are provably nobody's any more, and name every one that was found.

    Of all runs that share the engine, other hosts' too; without an engine there are none.
    """
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
