"""Choice of the driver of a run: containers if an engine and the image are available, else bubblewrap."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

from sandbox.bubblewrap import Bubblewrap
from sandbox.docker import IMAGE, Docker
from sandbox.driver import Gpu, Kind, Limits, Sandbox, SandboxLost


def choose(
    kind: Kind,
    inputs: Path,
    workspace: Path,
    tools: Path,
    limits: Limits,
    *,
    image: str = IMAGE,
    gpu: Gpu = "auto",
) -> Sandbox:
    """Return the sandbox for a run; `info.reason` says why this one was chosen.

    A driver requested by name is never replaced by another: SandboxLost says what is missing.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"no sandbox {kind!r}; choose one of {', '.join(get_args(Kind))}")
    if kind == "bubblewrap":
        return Bubblewrap(inputs, workspace, tools, limits, gpu=gpu)
    if kind == "docker":
        return Docker(inputs, workspace, tools, limits, image=image, gpu=gpu)
    try:
        return Docker(
            inputs, workspace, tools, limits, image=image, gpu=gpu, reason=f"an engine answers and has {image}"
        )
    except SandboxLost as error:
        where = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        reason = f"took bubblewrap, since there is no usable Docker at {where}: {error}"
        return Bubblewrap(inputs, workspace, tools, limits, gpu=gpu, reason=reason)
