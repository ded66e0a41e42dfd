"""The whole suite against one driver: every check, one line each, and how many held."""

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
    """How one check ended, and what was seen where it did not hold or had nothing to try."""

    state: Literal["ok", "FAIL", "skip"]
    seen: str = ""


@dataclass(frozen=True)
class Outcome:
    """How many checks held, and the lines that were said."""

    passed: int
    failed: int
    skipped: int
    lines: list[str]


def run_check(check: Check, arena: Arena) -> Verdict:
    """Try one promise. A check that cannot be carried out has failed: nothing was shown."""
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
    """Run every check against the sandboxes that `open_sandbox` makes; SandboxLost when it makes none at all."""
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
