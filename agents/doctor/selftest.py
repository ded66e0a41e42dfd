"""The sandbox conformance suite, run on this machine for each driver."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from sandbox.conformance.suite import Outcome, run_suite
from sandbox.driver import Kind, Limits, Sandbox, SandboxLost
from sandbox.select import DRIVERS, choose

TOOLS = Path(__file__).parents[2] / "tools"


def run_selftest(wanted: str | None, image: str, say: Callable[[str], None]) -> bool:
    """Run every check against the wanted driver, or all available ones; return True if some passed and none failed.

    Raises ValueError for an unknown driver, SandboxLost if the wanted one is not available here.
    """
    drivers: list[Kind] = [kind for kind in DRIVERS if wanted in (None, kind)]
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
            say(f"not available: {error}")
    passed, failed = sum(one.passed for one in outcomes), sum(one.failed for one in outcomes)
    skipped = sum(one.skipped for one in outcomes)
    say(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return passed > 0 and failed == 0


def _open(kind: Kind, image: str, inputs: Path, workspace: Path, limits: Limits) -> Sandbox:
    return choose(kind, inputs, workspace, TOOLS, limits, image=image)
