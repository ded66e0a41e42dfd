"""The whole suite run against one driver: one line per check, and how many held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sandbox.conformance import (
    endings,
    faithful,
    files,
    formats,
    handback,
    kernel,
    keys,
    limits,
    memory,
    network,
    privileges,
    processes,
    runs,
    steps,
    workspace,
)
from sandbox.conformance.arena import Arena, Opener
from sandbox.conformance.check import Breach, Check, NotApplicable
from sandbox.driver import SandboxLost

THEMES = (
    *(faithful, files, keys, processes, network, privileges, kernel),
    *(memory, limits, workspace, endings, handback, formats, runs, steps),
)
CHECKS = [one for theme in THEMES for one in vars(theme).values() if isinstance(one, Check)]


class Verdict(NamedTuple):
    """The result of a check, and what was seen if it did not hold or had nothing to try."""

    state: Literal["ok", "FAIL", "skip"]
    seen: str = ""


@dataclass(frozen=True)
class Outcome:
    """The number of checks that held, and one line for each check."""

    passed: int
    failed: int
    skipped: int
    lines: list[str]


def run_check(check: Check, arena: Arena) -> Verdict:
    """Try one promise. A check that cannot be completed counts as failed: it has shown nothing."""
    lost = False
    try:
        check.run(arena)
    except NotApplicable as reason:
        return Verdict("skip", str(reason))
    except Breach as breach:
        return Verdict("FAIL", str(breach))
    except Exception as error:
        lost = isinstance(error, SandboxLost)
        return Verdict("FAIL", f"{type(error).__name__}: {error}")
    finally:
        arena.end_check(lost)
    return Verdict("ok")


def run_suite(open_sandbox: Opener, say: Callable[[str], None]) -> Outcome:
    """Run every check against sandboxes from `open_sandbox`; raises SandboxLost if it cannot make any."""
    lines: list[str] = []
    counts = {"ok": 0, "FAIL": 0, "skip": 0}
    with Arena(open_sandbox) as arena:
        arena.box.exec(["true"])
        for check in CHECKS:
            verdict = run_check(check, arena)
            counts[verdict.state] += 1
            lines.append(f"{verdict.state:4} {check.promise}{f' [{verdict.seen}]' if verdict.seen else ''}")
            say(lines[-1])
    return Outcome(counts["ok"], counts["FAIL"], counts["skip"], lines)
