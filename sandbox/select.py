"""Choice of the driver of a run: a container if an engine and the image are available, else bubblewrap.

A driver is a file and a line in DRIVERS.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

from sandbox.apptainer import Apptainer
from sandbox.bubblewrap import Bubblewrap
from sandbox.docker import IMAGE, Docker
from sandbox.driver import Gpu, Kind, Limits, Sandbox, SandboxLost
from sandbox.podman import Podman

DRIVERS: dict[Kind, Callable[..., Sandbox]] = {  # in the order in which `auto` tries them
    "docker": Docker,
    "podman": Podman,
    "apptainer": Apptainer,
    "bubblewrap": Bubblewrap,
}


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
    if kind != "auto":
        return DRIVERS[kind](inputs, workspace, tools, limits, image=image, gpu=gpu)
    missing: list[str] = []
    for name, driver in DRIVERS.items():
        reason = f"it is usable and has {image}" if not missing else f"took {name}, since {'; '.join(missing)}"
        try:
            return driver(inputs, workspace, tools, limits, image=image, gpu=gpu, reason=reason)
        except SandboxLost as error:
            missing.append(f"there is no usable {name}: {error}")
    raise SandboxLost("; ".join(missing))
