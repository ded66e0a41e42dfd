"""Removal of containers that dead runs left behind, found by their labels. Bubblewrap leaves nothing behind.

A container ends with the process that made it; one is left only if the host or the engine failed. Anything that may
still be in use is never touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import docker
import docker.errors
import requests

from sandbox import owner


class Found(NamedTuple):
    """A container of a run, whether it was removed, and whose it was or why it was kept."""

    name: str
    removed: bool
    why: str


def clean() -> Iterator[Found]:
    """Remove containers whose owner is provably dead, and yield every container found.

    This covers all runs that share the engine, also those of other hosts; without an engine there are none.
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
                yield Found(name, True, f"of {run}: it was already gone")
            except docker.errors.APIError as error:
                yield Found(name, False, f"of {run}: its process is dead, but: {error.explanation or error}")
            else:
                yield Found(name, True, f"of {run}: its process is dead")
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        yield Found("containers", False, f"the engine stopped answering: {error}")
    finally:
        client.close()
