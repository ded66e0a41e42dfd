"""The sandbox of a run: the one it begins in, and the same again when the run is resumed or its sandbox was lost."""

from __future__ import annotations

from pathlib import Path

import tools
from agents.trace.events import CanaryChecked
from agents.trace.store import Store
from sandbox.canaries import plant_and_probe
from sandbox.docker import IMAGE
from sandbox.driver import Gpu, Kind, Limits, Sandbox, SandboxInfo, SandboxLost
from sandbox.select import choose


def first(run_dir: Path, kind: Kind, limits: Limits, image: str, gpu: Gpu) -> Sandbox:
    """The sandbox that a new run works in. Raises SandboxLost."""
    return choose(kind, run_dir / "inputs", run_dir / "workspace", _tools(), limits, image=image, gpu=gpu)


def again(run_dir: Path, info: SandboxInfo, gpu: Gpu) -> Sandbox:
    """A sandbox like the one that a run began in: the same driver, limits and choice of GPU, the very same image.

    Raises SandboxLost, which names the image, for a tag may mean another one by now.
    """
    if info.driver != "docker":
        return first(run_dir, "bubblewrap", info.limits, IMAGE, gpu)
    image = info.image or IMAGE
    try:
        return first(run_dir, "docker", info.limits, image, gpu)
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


def fresh(store: Store, info: SandboxInfo, gpu: Gpu) -> Sandbox:
    """What takes over from a sandbox that was lost: the same again, and probed. Raises SandboxLost."""
    sandbox = again(store.run_dir, info, gpu)
    try:
        probe(sandbox, store)
    except BaseException:
        sandbox.close()
        raise
    return sandbox


def _tools() -> Path:
    return Path(tools.__file__).parent
