"""Test of the client against the behaviour of real services: a battery of loopback services, each played once.

The behaviours come from public bug reports and the services' own documentation; no real service is contacted.
`--quick` runs the same: it takes a minute.
"""

from __future__ import annotations

import argparse
import json

from benchmarks.services import kept, refused, replies, troubles
from benchmarks.services.scene import Behaviour, Failed, play

BEHAVIOURS: tuple[Behaviour, ...] = (
    *kept.BEHAVIOURS,
    *refused.BEHAVIOURS,
    *replies.BEHAVIOURS,
    *troubles.BEHAVIOURS,
)


def outcome(behaviour: Behaviour) -> str:
    """Return '' if the client did what could be done, else what it failed to do."""
    try:
        play(behaviour)
    except Failed as failure:
        return str(failure)
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the same, as all of it is quick")
    parser.parse_args()
    found = {behaviour: outcome(behaviour) for behaviour in BEHAVIOURS}
    width = max(len(behaviour.name) for behaviour in BEHAVIOURS)
    for behaviour, failure in found.items():
        print(f"{behaviour.like:11} {behaviour.name:{width}}  {failure or 'passed'}")
    print(json.dumps({"behaviours": len(found), "passed": sum(not failure for failure in found.values())}))


if __name__ == "__main__":
    main()
