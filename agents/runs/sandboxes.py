"""The sandboxes of a run: its first, the same again when it is resumed or one was lost, those of claim and audit."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import tools
from agents.trace.events import CanaryChecked
from agents.trace.store import Store
from sandbox.canaries import plant_and_probe
from sandbox.docker import IMAGE
from sandbox.driver import Gpu, Kind, Limits, Sandbox, SandboxInfo, SandboxLost
from sandbox.select import choose


class Place(NamedTuple):
    """What a sandbox sees as /inputs, and where its commands work."""

    inputs: Path
    workspace: Path


def searching(run_dir: Path) -> Place:
    """Where the crew works."""
    return Place(run_dir / "inputs", run_dir / "workspace")


def claiming(run_dir: Path) -> Place:
    """Where the claim is made, from the events held out; a task without such has no such inputs."""
    return Place(run_dir / "held_out", run_dir / "claim")


def auditing(run_dir: Path) -> Place:
    """Where the audit runs what made the claim once more; its inputs are written when there is a claim to audit."""
    return Place(run_dir / "decoy", run_dir / "audit")


def first(place: Place, kind: Kind, limits: Limits, image: str, gpu: Gpu) -> Sandbox:
    """The sandbox that a new run works in. Raises SandboxLost."""
    return choose(kind, *place, Path(tools.__file__).parent, limits, image=image, gpu=gpu)


def again(place: Place, info: SandboxInfo, gpu: Gpu) -> Sandbox:
    """A sandbox like the one that a run began in: the same driver, limits and choice of GPU, the very same image.

    Raises SandboxLost, which names the image, for a tag may mean another one by now.
    """
    if info.driver != "docker":
        return first(place, "bubblewrap", info.limits, IMAGE, gpu)
    image = info.image or IMAGE
    try:
        return first(place, "docker", info.limits, image, gpu)
    except SandboxLost as error:
        raise SandboxLost(
            f"{error}. This run goes on in its image {image} alone: if that is gone, load it again (docker load), or "
            "start a new run; one that is built anew is another image"
        ) from error


def probe(sandbox: Sandbox, store: Store) -> None:
    """See whether a sandbox holds, before anything of the run goes on in it. Raises SandboxLost when it does not."""
    verdict = plant_and_probe(sandbox, store.run_dir / "sealed" / "labels.parquet")
    store.append(CanaryChecked(held=verdict.held, lines=verdict.lines))
    if not verdict.held:
        raise SandboxLost("a canary was reached from inside: " + "; ".join(verdict.lines))


def fresh(store: Store, place: Place, info: SandboxInfo, gpu: Gpu) -> Sandbox:
    """The same again, and probed: what takes over from a sandbox that was lost. Raises SandboxLost."""
    sandbox = again(place, info, gpu)
    try:
        probe(sandbox, store)
    except BaseException:
        sandbox.close()
        raise
    return sandbox
