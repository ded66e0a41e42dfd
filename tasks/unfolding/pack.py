"""Script that makes the shipped sample from simulated files: `python -m tasks.unfolding.pack RAW_FOLDER`.

Mantissas are rounded to 1e-3 so that the files stay small; multiplicities, flags and -999 stay exact.
See sample/PROVENANCE.md for how RAW_FOLDER was made.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tasks.unfolding.samples import NATURES, SAMPLE, SIMULATION
from tools.arrays import sha256
from tools.events.parquet import read_columns, write_events
from tools.events.zjets import COLUMNS

BITS = dict.fromkeys(COLUMNS, 9)  # explicit mantissa bits; error 2**-(bits + 1)


def main(raw: Path) -> None:
    SAMPLE.mkdir(exist_ok=True)
    provenance = {}
    for name in (SIMULATION, *NATURES):
        path = SAMPLE / f"{name}.parquet"
        write_events(path, read_columns(raw / f"{name}.parquet", list(COLUMNS)), BITS)
        made = json.loads((raw / f"{name}.parquet.provenance.json").read_text())
        provenance[name] = made | {"sha256": sha256(path)}
    (SAMPLE / "provenance.json").write_text(json.dumps(provenance, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
