"""A test that asks for `arena` runs in bubblewrap, and with `-m docker` in Docker.

The Docker tests take the image beamcrew-sandbox:test, which tests/sandbox/make_base_image.sh makes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from sandbox.bubblewrap import Bubblewrap
from sandbox.conformance.arena import Arena
from sandbox.docker import Docker
from sandbox.driver import Limits, Sandbox, SandboxLost

TEST_IMAGE = os.environ.get("BEAMCREW_TEST_IMAGE", "beamcrew-sandbox:test")
TOOLS = Path(__file__).parents[2] / "tools"


def open_sandbox(kind: str, inputs: Path, workspace: Path, limits: Limits) -> Sandbox:
    if kind == "docker":
        return Docker(inputs, workspace, TOOLS, limits, image=TEST_IMAGE)
    try:
        return Bubblewrap(inputs, workspace, TOOLS, limits)
    except SandboxLost as error:
        if "could not build the sandbox" in str(error):
            pytest.skip(f"this machine lets nobody build a bubblewrap sandbox: {error}")
        raise


@pytest.fixture(scope="session", params=["bubblewrap", pytest.param("docker", marks=pytest.mark.docker)])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def arena(driver: str) -> Iterator[Arena]:
    """Where the checks of the conformance suite take place."""
    with Arena(partial(open_sandbox, driver)) as arena:
        yield arena
