"""Script that makes the shipped sample from simulated jets: `python -m tasks.tagging.pack RAW_FILE`.

See sample/PROVENANCE.md for how RAW_FILE was made.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tasks.tagging.samples import JETS, PARTICLES, SAMPLE, as_tops, pack
from tools.arrays import sha256
from tools.jet_model.jets_file import read_jets


def main(raw: Path) -> None:
    SAMPLE.mkdir(exist_ok=True)
    pack(SAMPLE, as_tops(read_jets(raw)))
    made = json.loads(raw.with_name(raw.name + ".provenance.json").read_text())
    made["sha256"] = {name: sha256(SAMPLE / name) for name in (JETS, PARTICLES)}
    (SAMPLE / "provenance.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
