"""The conformance suite of the sandbox on this machine: whether the walls stand here, driver by driver."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from sandbox.conformance.suite import Outcome, run_suite
from sandbox.driver import Kind, Limits, Sandbox, SandboxLost
from sandbox.select import choose

DRIVERS: tuple[Kind, ...] = ("docker", "bubblewrap")
TOOLS = Path(__file__).parents[2] / "tools"


def run_selftest(wanted: str | None, image: str, say: Callable[[str], None]) -> bool:
    """Run every check against the driver that is wanted, or all that there are; whether at least one ran and all held.

    Raises ValueError for a driver that does not exist, SandboxLost for one that is wanted and not there.
    """
    drivers = [kind for kind in DRIVERS if wanted in (None, kind)]
    if not drivers:
        raise ValueError(f"no sandbox {wanted!r}; choose one of {', '.join(DRIVERS)}")
    outcomes: list[Outcome] = []
    for kind in drivers:
        if not wanted:
            say(f"{kind}:")
        try:
            outcomes.append(run_suite(partial(_open, kind, image), say))
        except SandboxLost as error:
            if wanted:
                raise
            say(f"not here: {error}")
    passed, failed = sum(one.passed for one in outcomes), sum(one.failed for one in outcomes)
    skipped = sum(one.skipped for one in outcomes)
    say(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return passed > 0 and failed == 0


def _open(kind: Kind, image: str, inputs: Path, workspace: Path, limits: Limits) -> Sandbox:
    return choose(kind, inputs, workspace, TOOLS, limits, image=image)
