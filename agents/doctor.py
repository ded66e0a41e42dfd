"""What this machine offers to a run: a check of each thing that a run needs or can use, and what helps where it fails.

Nothing is changed by looking, and no secret is ever shown.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
import docker.errors
import psutil
from pydantic import BaseModel, ConfigDict

from sandbox.bubblewrap import Bubblewrap
from sandbox.docker import IMAGE
from sandbox.driver import Limits, SandboxLost
from sandbox.watch import folder_bytes

ROOT = Path(__file__).parents[1]
EXTRAS = {"tools": ("torch", "zuko", "h5py"), "simulate": ("pythia8mc", "fastjet", "awkward", "h5py")}
GIB = 1 << 30


class Check(BaseModel):
    """One line of the report: whether it is there, and what was found or what helps."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    ok: bool
    detail: str


def report(image: str = IMAGE) -> list[Check]:
    """All checks. A run needs one of the two sandboxes; everything else widens what it can do."""
    return [
        check_docker(image),
        check_bubblewrap(),
        check_gpu(),
        check_machine(),
        check_model_service(),
        *check_extras(),
        check_sample(),
    ]


def check_docker(image: str) -> Check:
    try:
        client = docker.from_env(timeout=5)
        version = client.version()["Version"]
    except docker.errors.DockerException as error:
        return Check(name="docker", ok=False, detail=f"no engine answers ({error}); start one, or use bubblewrap")
    try:
        digest = client.images.get(image).id
    except docker.errors.ImageNotFound:
        return Check(name="docker", ok=False, detail=f"engine {version}, no image {image}: beamcrew doctor --build")
    except docker.errors.DockerException as error:
        return Check(name="docker", ok=False, detail=f"engine {version} does not show its images: {error}")
    finally:
        client.close()
    return Check(name="docker", ok=True, detail=f"engine {version}, {image} is {digest}")


def check_bubblewrap() -> Check:
    """Builds a sandbox and runs a command in it: that is all a run would do."""
    with tempfile.TemporaryDirectory(prefix="beamcrew-doctor-") as folder:
        workspace = Path(folder, "workspace")
        workspace.mkdir()
        try:
            with Bubblewrap(Path(folder), workspace, ROOT / "tools", Limits()) as sandbox:
                milliseconds = 1e3 * sandbox.exec(["/bin/true"]).seconds
                detail = f"bwrap {sandbox.info.version} runs a command in {milliseconds:.0f} ms"
                return Check(name="bubblewrap", ok=True, detail=detail)
        except SandboxLost as error:
            return Check(name="bubblewrap", ok=False, detail=str(error))


def check_gpu() -> Check:
    command = shutil.which("nvidia-smi")
    seen = ""
    if command:
        query = [command, "--query-gpu=name,memory.total", "--format=csv,noheader"]
        seen = subprocess.run(query, capture_output=True, text=True, timeout=30).stdout.strip().replace("\n", "; ")
    if not seen:
        return Check(name="gpu", ok=False, detail="no NVIDIA GPU; everything runs on the CPU, the larger models slowly")
    if not importlib.util.find_spec("torch"):
        return Check(name="gpu", ok=False, detail=f"{seen}, but no torch: pip install 'beamcrew[tools]'")
    import torch  # heavy, and only worth its second where there is a GPU

    if not torch.cuda.is_available():
        return Check(name="gpu", ok=False, detail=f"{seen}, but torch {torch.__version__} cannot use it")
    return Check(name="gpu", ok=True, detail=f"{seen}; torch {torch.__version__}, CUDA {torch.version.cuda}")


def check_machine() -> Check:
    need = Limits()
    cpus = len(os.sched_getaffinity(0))
    memory = psutil.virtual_memory().available
    disk = shutil.disk_usage(Path.cwd()).free
    enough = memory > need.memory_mib << 20 and disk > need.workspace_mib << 20
    detail = f"{cpus} CPUs, {memory / GIB:.1f} GiB of memory available, {disk / GIB:.1f} GiB of disk free here"
    if not enough:
        detail += f"; a run may take {need.memory_mib} MiB of memory and {need.workspace_mib} MiB of disk"
    return Check(name="machine", ok=enough, detail=detail)


def check_model_service() -> Check:
    """Only whether a key is set, never what it is; the address is shown, since a wrong one is a common mistake."""
    address = os.environ.get("OPENAI_BASE_URL", "the default address").rpartition("@")[2]  # no name and password
    if os.environ.get("OPENAI_API_KEY"):
        return Check(name="model service", ok=True, detail=f"OPENAI_API_KEY is set; {address}")
    return Check(name="model service", ok=False, detail=f"OPENAI_API_KEY is not set; {address}; the analyst needs none")


def check_extras() -> Iterator[Check]:
    for extra, packages in EXTRAS.items():
        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        detail = f"no {', '.join(missing)}: pip install 'beamcrew[{extra}]'" if missing else ", ".join(packages)
        yield Check(name=f"extra {extra}", ok=not missing, detail=detail)


def check_sample() -> Check:
    sample = ROOT / "tasks" / "lhco" / "sample"
    if not sample.is_dir() or not any(sample.iterdir()):
        return Check(name="data", ok=False, detail="the sample of events is not in this installation")
    return Check(name="data", ok=True, detail=f"sample of {folder_bytes(sample) / (1 << 20):.1f} MiB")
