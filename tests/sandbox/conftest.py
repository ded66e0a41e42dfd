"""A test that asks for `arena` runs in bubblewrap, with `-m docker` in Docker, and with `-m engines` in Podman and
Apptainer.

The Docker tests take the image beamcrew-sandbox:test, which tests/sandbox/make_base_image.sh makes; the others, which
need a plain user, that of tests/sandbox/engines.sh.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from sandbox.apptainer import Apptainer
from sandbox.bubblewrap import Bubblewrap
from sandbox.conformance.arena import Arena
from sandbox.docker import Docker
from sandbox.driver import Limits, Sandbox, SandboxLost
from sandbox.podman import Podman

TEST_IMAGE = os.environ.get("BEAMCREW_TEST_IMAGE", "beamcrew-sandbox:test")
TEST_SIF = os.environ.get("BEAMCREW_TEST_SIF", "")
TOOLS = Path(__file__).parents[2] / "tools"


def open_sandbox(kind: str, inputs: Path, workspace: Path, limits: Limits) -> Sandbox:
    if kind == "docker":
        return Docker(inputs, workspace, TOOLS, limits, image=TEST_IMAGE)
    if kind == "podman":
        return Podman(inputs, workspace, TOOLS, limits, image=TEST_IMAGE)
    if kind == "apptainer":
        return Apptainer(inputs, workspace, TOOLS, limits, image=TEST_SIF)
    try:
        return Bubblewrap(inputs, workspace, TOOLS, limits)
    except SandboxLost as error:
        if "could not build the sandbox" in str(error):
            pytest.skip(f"this machine lets nobody build a bubblewrap sandbox: {error}")
        raise


def missing(kind: str) -> str:
    """Return what an engine lacks here for its tests, or ''."""
    if kind not in ("podman", "apptainer"):
        return ""
    if not os.geteuid():
        return f"{kind} is tested as a plain user: tests/sandbox/engines.sh"
    if not shutil.which(kind):
        return f"there is no {kind} here"
    if kind == "apptainer" and not Path(TEST_SIF).is_file():
        return "BEAMCREW_TEST_SIF names no image: tests/sandbox/engines.sh makes one"
    return ""


@pytest.fixture(
    scope="session",
    params=[
        "bubblewrap",
        pytest.param("docker", marks=pytest.mark.docker),
        *(pytest.param(name, marks=pytest.mark.engines) for name in ("podman", "apptainer")),
    ],
)
def driver(request: pytest.FixtureRequest) -> str:
    if why := missing(str(request.param)):
        pytest.skip(why)
    return str(request.param)


@pytest.fixture(scope="session")
def arena(driver: str) -> Iterator[Arena]:
    """Where the checks of the conformance suite take place."""
    with Arena(partial(open_sandbox, driver)) as arena:
        yield arena
