"""Write constraints.txt from a report of pip: `python .ci/lock.py REPORT.json > constraints.txt`.

Names and versions alone, so that any package index or mirror will do; without the local label of a build (+cpu),
so any build of torch will do.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

HEADER = "# Exact versions that the tests run with, written by `make lock`: pip install -c constraints.txt ..."


def main(report: str) -> None:
    found = [item["metadata"] for item in json.loads(Path(report).read_text())["install"]]
    pins = {re.sub("[-_.]+", "-", it["name"]).lower(): it["version"].split("+")[0] for it in found}
    del pins["beamcrew"]
    print(HEADER, *(f"{name}=={version}" for name, version in sorted(pins.items())), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1])
