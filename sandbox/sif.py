"""The image file of Apptainer, from the same recipe as the image of Docker and Podman.

An engine builds the image (`sandbox.image`); Apptainer, on the same machine and without root, packs it into one file,
which can be copied to a cluster.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from sandbox.apptainer import INSTALL, image_file, sha256
from sandbox.driver import SandboxLost


def pack(engine: str, tag: str, say: Callable[[str], None] = print) -> str:
    """Pack the image `tag` of an engine (docker or podman) into Apptainer's file for that tag; return FILE@sha256:...

    Raises SandboxLost if that fails.
    """
    program = shutil.which("apptainer") or shutil.which("singularity")
    if not program:
        raise SandboxLost(f"there is no apptainer command to pack {tag}: {INSTALL}")
    file = image_file(tag)
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="beamcrew-sif-", dir=file.parent) as folder:
        archive, packed = Path(folder, "image.tar"), Path(folder, "image.sif")
        formats = ["--format", "docker-archive"] if engine == "podman" else []
        for words in (
            [engine, "save", *formats, "--output", str(archive), tag],
            [program, "build", str(packed), f"docker-archive:{archive}"],
        ):
            say(" ".join(words))
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                raise SandboxLost(f"{words[0]} {words[1]} failed: {(done.stderr or done.stdout).strip()[-1000:]}")
        packed.replace(file)
    return f"{file}@{sha256(file, file.stat().st_mtime_ns)}"
