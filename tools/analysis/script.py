"""Runs a script many times: each time in a fork of this process, which has loaded the script's libraries once."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import random
import runpy
import sys
from pathlib import Path

# Loaded before the forks if the script names them: loading takes longer than most analyses.
LIBRARIES = ("numpy", "pandas", "pyarrow.parquet", "scipy.stats", "scipy.optimize", "sklearn", "matplotlib.pyplot")
TOLD = 600  # characters of an error


def load_libraries(script: Path) -> None:
    """Import the libraries that the script names, with a plot backend that needs no display."""
    os.environ["MPLBACKEND"] = "Agg"
    text = script.read_text(errors="replace")
    for name in LIBRARIES:
        if name.split(".")[0] in text:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


def run_script(script: Path, data: Path, out: Path, log: Path, seconds: float) -> str:
    """Run `script data out`; return '' on success, else why it failed. Its output goes into the file `log`."""
    out.mkdir(parents=True, exist_ok=True)
    process = multiprocessing.get_context("fork").Process(target=_child, args=(script, data, out, log))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        return f"did not finish within {seconds:g} s"
    if process.exitcode == 0:
        return ""
    said = log.read_text(errors="replace").strip() if log.is_file() else ""
    return f"exit code {process.exitcode}: {said[-TOLD:]}"


def _child(script: Path, data: Path, out: Path, log: Path) -> None:
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout = sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)  # whatever they were in this process
    random.seed()  # a fork would inherit the state, and a script without a seed look as if it had one
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    sys.argv = [str(script), str(data), str(out)]
    sys.path.insert(0, str(script.parent))
    runpy.run_path(str(script), run_name="__main__")
