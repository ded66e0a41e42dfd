"""Build the image of the container sandbox from sandbox/Dockerfile.

By the docker command, since only BuildKit takes secrets; what it prints is handed on line by line. The context is made
for the purpose and holds nothing but what belongs into the image, so nothing else of the project reaches the engine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import tomllib
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from sandbox.docker import IMAGE
from sandbox.driver import SandboxLost

NUMERICS = ("iminuit", "matplotlib", "numpy", "pyarrow", "pydantic", "scikit-learn", "scipy")


def build_image(
    root: Path,
    tag: str = IMAGE,
    build_args: Mapping[str, str] | None = None,
    *,
    certificates: Path | None = None,
    network: str = "default",
    say: Callable[[str], None] = print,
) -> None:
    """Build `tag` from the checkout in `root`; `build_args` are those of the Dockerfile, such as BASE or PIP_INDEX_URL.

    `certificates` is what pip trusts during the build, and is not part of the image. `network` is that of the build
    alone: 'host' where only the host itself reaches the package index.
    """
    if not (command := shutil.which("docker")):
        raise SandboxLost(f"cannot build {tag}: the docker command is not on the PATH")
    if not (root / "pyproject.toml").is_file():
        raise SandboxLost(f"cannot build {tag}: {root} is not a checkout of the project, it has no pyproject.toml")
    words = [command, "build", "--progress=plain", "--tag", tag, "--network", network]
    words += ["--file", str(Path(__file__).with_name("Dockerfile"))]
    for name, value in (build_args or {}).items():
        words += ["--build-arg", f"{name}={value}"]
    if certificates:
        words += ["--secret", f"id=certs,src={certificates}"]
    with tempfile.TemporaryDirectory(prefix="beamcrew-image-") as context:
        fill_context(root, Path(context))
        _run([*words, context], tag, say)


def fill_context(root: Path, context: Path) -> None:
    """All that the engine gets to see: the pinned requirements, and tools/."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    core = [line for line in project["dependencies"] if line.split("==")[0] in NUMERICS]
    pinned = core + project["optional-dependencies"]["tools"]
    (context / "requirements.txt").write_text("\n".join(pinned) + "\n")
    shutil.copytree(root / "tools", context / "tools", ignore=shutil.ignore_patterns("__pycache__"))


def _run(words: list[str], tag: str, say: Callable[[str], None]) -> None:
    last: deque[str] = deque(maxlen=5)
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as build:
        for line in build.stdout or ():
            if line.strip():
                last.append(line.rstrip())
                say(last[-1])
    if build.returncode:
        raise SandboxLost("\n".join([f"the build of {tag} failed:", *last]))
