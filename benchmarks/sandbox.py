"""Overhead of the sandboxes: `python -m benchmarks.sandbox [--quick] [--image NAME]`.

A command that does nothing, and one that hands back 100 MB, in each sandbox, compared with a plain subprocess and a
plain `docker run`; medians of interleaved repeats in one run, so that a busy machine slows all of them alike. The last
line is one JSON object; what could not be measured (no engine, no image) is null and reported as such:

    cold_start_s              Docker: from start to the end of the first command
    cold_start_s_bubblewrap   the same for bubblewrap
    exec_ms_docker, exec_ms_bubblewrap, subprocess_ms, docker_run_ms     one command that does nothing
    exec_over_docker_run      exec in the warm container over a fresh `docker run --rm`: target below 0.1
    exec_over_subprocess      {driver: exec over a plain subprocess}
    handback_s                {driver: 100 MB written inside and read on the host by the strict reader, s}
    handback_over_plain       {driver: the same over a plain subprocess and a plain read}
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

import tools
from sandbox.docker import IMAGE
from sandbox.driver import Kind, Limits, Sandbox, SandboxLost
from sandbox.reader import read_bytes
from sandbox.select import choose

DRIVERS: tuple[Kind, ...] = ("docker", "bubblewrap")
MEGABYTES = 100
WRITE = f"import os; open('big', 'wb').write(os.urandom(1 << 20) * {MEGABYTES})"


def opened(kind: Kind, folder: Path, image: str) -> Sandbox:
    """Return a new sandbox that has run its first command."""
    folder.mkdir()
    for name in ("inputs", "workspace"):
        (folder / name).mkdir()
    tools_folder = Path(str(tools.__file__)).parent
    box = choose(kind, folder / "inputs", folder / "workspace", tools_folder, Limits(), image=image)
    did(box, ["true"])
    return box


def did(box: Sandbox, argv: list[str]) -> None:
    if not (result := box.exec(argv)).ok:
        raise SandboxLost(f"{box.info.driver}: {argv[0]} ended by {result.ended}, {result.exit_code}: {result.stderr}")


def plain(argv: list[str], cwd: Path) -> None:
    subprocess.run(argv, cwd=cwd, check=True, capture_output=True)


def handback(box: Sandbox) -> None:
    did(box, ["python", "-c", WRITE])
    assert len(read_bytes(box.workspace, "big", MEGABYTES << 20)) == MEGABYTES << 20


def plain_handback(folder: Path) -> None:
    plain([sys.executable, "-c", WRITE], folder)
    assert len((folder / "big").read_bytes()) == MEGABYTES << 20


def measure(image: str, repeats: int, console: Console) -> dict[str, Any]:
    """Return seconds by name, each the median over interleaved repeats."""
    times: dict[str, list[float]] = {}

    def note(name: str, action: Callable[[], Sandbox | None]) -> None:
        start = time.perf_counter()
        fresh = action()
        times.setdefault(name, []).append(time.perf_counter() - start)
        if fresh:
            fresh.close()

    with tempfile.TemporaryDirectory(prefix="beamcrew-bench-") as top, contextlib.ExitStack() as stack:
        root = Path(top)
        root.chmod(0o755)  # the user inside is not the one who made it
        boxes: dict[str, Sandbox] = {}
        for kind in DRIVERS:
            try:
                for k in range(max(2, repeats // 10)):
                    note(f"cold {kind}", partial(opened, kind, root / f"{kind}-{k}", image))
                boxes[kind] = stack.enter_context(opened(kind, root / kind, image))
            except SandboxLost as error:
                console.print(f"[yellow]not measured: {kind}[/]: {error}")
        client = shutil.which("docker")
        run = [str(client), "run", "--rm", "--network", "none", image, "true"]
        for k in range(repeats):
            console.print(f"round {k + 1} of {repeats}")
            note("plain exec", partial(plain, ["true"], root))
            if client and "docker" in boxes and k < max(5, repeats // 4):
                note("docker run", partial(plain, run, root))
            for name, box in boxes.items():
                note(f"exec {name}", partial(did, box, ["true"]))
            if k < max(2, repeats // 8):
                note("plain handback", partial(plain_handback, root))
                for name, box in boxes.items():
                    note(f"handback {name}", partial(handback, box))
    return {name: median(values) for name, values in times.items()}


def ratios(seconds: dict[str, float]) -> dict[str, Any]:
    def of(name: str, scale: float = 1.0) -> float | None:
        return round(scale * seconds[name], 4) if name in seconds else None

    def over(name: str, base: str) -> float | None:
        return round(seconds[name] / seconds[base], 3) if name in seconds and base in seconds else None

    return {
        "exec_over_docker_run": over("exec docker", "docker run"),
        "exec_ms_docker": of("exec docker", 1e3),
        "exec_ms_bubblewrap": of("exec bubblewrap", 1e3),
        "cold_start_s": of("cold docker"),
        "cold_start_s_bubblewrap": of("cold bubblewrap"),
        "subprocess_ms": of("plain exec", 1e3),
        "docker_run_ms": of("docker run", 1e3),
        "exec_over_subprocess": {kind: over(f"exec {kind}", "plain exec") for kind in DRIVERS},
        "handback_s": {kind: of(f"handback {kind}") for kind in DRIVERS},
        "handback_over_plain": {kind: over(f"handback {kind}", "plain handback") for kind in DRIVERS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--image", default=IMAGE, help=f"image of the Docker sandbox (default {IMAGE})")
    choices = parser.parse_args()
    console = Console(stderr=True)
    seconds = measure(choices.image, 8 if choices.quick else 40, console)
    table = Table("what", "median, ms")
    for name, value in sorted(seconds.items()):
        table.add_row(name, f"{1e3 * value:.1f}")
    console.print(table)
    print(json.dumps(ratios(seconds)))


if __name__ == "__main__":
    main()
