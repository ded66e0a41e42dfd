"""The sandboxes of a run: the first, its replacement after a resume or a loss, and those of claim and audit."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

import tools
from agents.trace.events import CanaryChecked
from agents.trace.store import Store
from sandbox.canaries import plant_and_probe
from sandbox.docker import IMAGE
from sandbox.driver import Gpu, Kind, Limits, Sandbox, SandboxInfo, SandboxLost
from sandbox.select import choose

# How an operator brings back an image that is gone.
AGAIN = {"docker": "docker load", "podman": "podman load", "apptainer": "copy the file back"}


class Place(NamedTuple):
    """The host folders that a sandbox sees as /inputs and /workspace."""

    inputs: Path
    workspace: Path


def searching(run_dir: Path) -> Place:
    """Return the folders of the crew's sandbox."""
    return Place(run_dir / "inputs", run_dir / "workspace")


def claiming(run_dir: Path) -> Place:
    """Return the folders of the claim's sandbox; the inputs exist only if the task holds events out."""
    return Place(run_dir / "held_out", run_dir / "claim")


def auditing(run_dir: Path) -> Place:
    """Return the folders of the audit's sandbox; the inputs are written when there is a claim to audit."""
    return Place(run_dir / "decoy", run_dir / "audit")


def first(place: Place, kind: Kind, limits: Limits, image: str, gpu: Gpu) -> Sandbox:
    """Open a sandbox for a new run. Raises SandboxLost."""
    return choose(kind, *place, Path(tools.__file__).parent, limits, image=image, gpu=gpu)


def again(place: Place, info: SandboxInfo, gpu: Gpu) -> Sandbox:
    """Open a sandbox like the run's first: the same driver, limits and GPU choice, and exactly the same image.

    Raises SandboxLost; the message names the image by digest, since its tag may point to another one by now.
    """
    kind = TypeAdapter(Kind).validate_python(info.driver)
    if info.image is None:
        return first(place, kind, info.limits, IMAGE, gpu)
    try:
        return first(place, kind, info.limits, info.image, gpu)
    except SandboxLost as error:
        raise SandboxLost(
            f"{error}. This run can continue only in its image {info.image}: if that is gone, load it again "
            f"({AGAIN[kind]}), or start a new run; a rebuilt image is a different one"
        ) from error


def probe(sandbox: Sandbox, store: Store) -> None:
    """Probe a sandbox with canaries before the run uses it. Raises SandboxLost if one was reached."""
    verdict = plant_and_probe(sandbox, store.run_dir / "sealed" / "labels.parquet")
    store.append(CanaryChecked(held=verdict.held, lines=verdict.lines))
    if not verdict.held:
        raise SandboxLost("a canary was reached from inside: " + "; ".join(verdict.lines))


def fresh(store: Store, place: Place, info: SandboxInfo, gpu: Gpu) -> Sandbox:
    """Open and probe a replacement for a lost sandbox. Raises SandboxLost."""
    sandbox = again(place, info, gpu)
    try:
        probe(sandbox, store)
    except BaseException:
        sandbox.close()
        raise
    return sandbox
