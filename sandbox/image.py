"""Build the image of the container sandbox from sandbox/Dockerfile.

Uses the command of Docker, since only BuildKit takes secrets, or of Podman, and passes its output on line by line. The
build context holds only what belongs in the image, so nothing else of the project reaches the engine.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from sandbox.docker import IMAGE
from sandbox.driver import SandboxLost

NUMERICS = ("matplotlib", "numpy", "pandas", "pyarrow", "pydantic", "safetensors", "scikit-learn", "scipy")
LABEL = "beamcrew.requirements"  # label of an image: SHA-256 of the requirements it was built from
BUILDKIT = {"DOCKER_BUILDKIT": "1"}


def build_image(
    root: Path,
    tag: str = IMAGE,
    build_args: Mapping[str, str] | None = None,
    *,
    certificates: Path | None = None,
    network: str = "default",
    engine: str = "docker",
    say: Callable[[str], None] = print,
) -> str:
    """Build `tag` from the checkout in `root` and return its digest. Raises SandboxLost if that fails.

    `build_args` are those of the Dockerfile, such as BASE or PIP_INDEX_URL. `certificates` are trusted by pip during
    the build, and are not part of the image. `network` is used for the build only: 'host' if only the host itself can
    reach the package index.
    """
    if not (root / "pyproject.toml").is_file():
        raise SandboxLost(f"cannot build {tag}: {root} is not a checkout of the project, it has no pyproject.toml")
    if certificates and not certificates.is_file():
        raise SandboxLost(f"cannot build {tag}: there is no certificate file {certificates}")
    build = [docker_command(), "build", "--progress=plain"] if engine == "docker" else [podman_command(), "build"]
    words = [*build, "--tag", tag, "--network", network]
    words += ["--label", f"{LABEL}={requirements_hash(root)}", "--file", str(Path(__file__).with_name("Dockerfile"))]
    for name, value in (build_args or {}).items():
        words += ["--build-arg", f"{name}={value}"]
    if certificates:
        words += ["--secret", f"id=certs,src={certificates}"]
    with tempfile.TemporaryDirectory(prefix="beamcrew-image-") as folder:
        context, digest = Path(folder, "context"), Path(folder, "digest")
        context.mkdir()
        fill_context(root, context)
        _run([*words, "--iidfile", str(digest), str(context)], tag, say)
        return f"sha256:{digest.read_text().strip().removeprefix('sha256:')}"


def docker_command() -> str:
    """Return the first docker command on the PATH that can build with BuildKit, which needs the plugin buildx."""
    found = [path for folder in os.get_exec_path() if (path := shutil.which("docker", path=folder))]
    for path in found:
        usage = subprocess.run(
            [path, "build", "--help"], capture_output=True, text=True, env={**os.environ, **BUILDKIT}
        )
        if "--secret" in usage.stdout:
            return path
    if found:
        raise SandboxLost(f"{', '.join(found)}: no BuildKit. Install the plugin docker-buildx (docker-buildx-plugin)")
    raise SandboxLost("the docker command is not on the PATH: install docker-cli and docker-buildx")


def podman_command() -> str:
    if found := shutil.which("podman"):
        return found
    raise SandboxLost("the podman command is not on the PATH: install podman and uidmap")


def requirements(root: Path) -> str:
    """Return the requirements of the image, line by line: the numerical packages of the core and the extras `tools` and
    `jets`, in the versions of constraints.txt."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    core = [name for line in project["dependencies"] if (name := _name(line)) in NUMERICS]
    pins = {_name(line): line for line in (root / "constraints.txt").read_text().splitlines()}
    names = dict.fromkeys(core + [_name(line) for line in extras["tools"] + extras["jets"]])
    return "".join(f"{pins[name]}\n" for name in names)


def _name(requirement: str) -> str:
    return re.split("[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def requirements_hash(root: Path) -> str:
    return hashlib.sha256(requirements(root).encode()).hexdigest()


def fill_context(root: Path, context: Path) -> None:
    """Write all that the engine gets to see: the pinned requirements, and tools/."""
    (context / "requirements.txt").write_text(requirements(root))
    shutil.copytree(root / "tools", context / "tools", ignore=shutil.ignore_patterns("__pycache__"))


def _run(words: list[str], tag: str, say: Callable[[str], None]) -> None:
    last: deque[str] = deque(maxlen=5)
    environment = {**os.environ, **BUILDKIT}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as build:
        for line in build.stdout or ():
            if line.strip():
                last.append(line.rstrip())
                say(last[-1])
    if build.returncode:
        raise SandboxLost("\n".join([f"the build of {tag} failed:", *last]))
