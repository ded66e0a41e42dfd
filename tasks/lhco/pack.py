"""Script that makes the shipped sample from simulated files: `python -m tasks.lhco.pack RAW_FOLDER`.

Mantissas are rounded (mjj to 1.2e-4, the rest to 1e-3) so that the files stay small. Columns that can be derived from
others are left out. See sample/PROVENANCE.md for how RAW_FOLDER was made.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tasks.lhco.mix import SAMPLE, SIGNALS
from tools.events.cluster import COLUMNS
from tools.events.parquet import read_columns, write_events

BITS = dict.fromkeys(COLUMNS, 9) | {"mjj": 12}  # explicit mantissa bits; error 2**-(bits + 1)
FILES = ("qcd", *(f"signal_{name}" for name in SIGNALS))


def main(raw: Path) -> None:
    SAMPLE.mkdir(exist_ok=True)
    provenance = {}
    for name in FILES:
        write_events(SAMPLE / f"{name}.parquet", read_columns(raw / f"{name}.parquet", list(COLUMNS)), BITS)
        provenance[name] = json.loads((raw / f"{name}.parquet.provenance.json").read_text())
    (SAMPLE / "provenance.json").write_text(json.dumps(provenance, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
