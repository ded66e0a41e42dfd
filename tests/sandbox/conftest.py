"""A test that asks for `box` or `make` runs in bubblewrap, and with `-m docker` in Docker.

The Docker tests take the image beamcrew-sandbox:test, which tests/sandbox/make_base_image.sh makes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sandbox.bubblewrap import Bubblewrap
from sandbox.docker import Docker
from sandbox.driver import Limits, Sandbox, SandboxLost

TEST_IMAGE = os.environ.get("BEAMCREW_TEST_IMAGE", "beamcrew-sandbox:test")
TOOLS = Path(__file__).parents[2] / "tools"
Make = Callable[..., Sandbox]


def start(kind: str, folder: Path, limits: Limits) -> Sandbox:
    for name in ("inputs", "workspace"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    if kind == "docker":
        return Docker(folder / "inputs", folder / "workspace", TOOLS, limits, image=TEST_IMAGE)
    try:
        return Bubblewrap(folder / "inputs", folder / "workspace", TOOLS, limits)
    except SandboxLost as error:
        if "could not build the sandbox" in str(error):
            pytest.skip(f"this machine lets nobody build a bubblewrap sandbox: {error}")
        raise


@pytest.fixture(scope="session", params=["bubblewrap", pytest.param("docker", marks=pytest.mark.docker)])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(driver: str, tmp_path: Path) -> Iterator[Make]:
    """Start a sandbox with limits of one's own: `make(memory_mib=256)`."""
    with ExitStack() as stack:
        yield lambda **limits: stack.enter_context(start(driver, tmp_path, Limits(**limits)))


@pytest.fixture(scope="session")
def box(driver: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox with ordinary limits, shared by the tests that leave nothing behind."""
    with start(driver, tmp_path_factory.mktemp("shared"), Limits(memory_mib=2048, seconds=60)) as sandbox:
        yield sandbox
