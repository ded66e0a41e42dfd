"""What `beamcrew data` says about files of jets with their particles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tools.data_console import shown, tell
from tools.events.jets_read import Layout, layout_of, read_any_jets
from tools.jet_model.jets import LAYOUTS, Jets


def holds_jets(source: Path) -> bool:
    """Whether the file is one of jets; events of LHCO particles are looked at as events."""
    return layout_of(source) not in (None, Layout.lhco)


def counted(jets: Jets) -> str:
    """How many jets, and of each kind."""
    kinds = ", ".join(f"{name} {n}" for name, n in jets.count().items())
    return f"{len(jets)} jets" + (f": {kinds}" if kinds else ", no labels")


def print_jets(source: Path, first: int, out: Console) -> None:
    """Ranges of the features and of the jets themselves, of the `first` jets of the file."""
    jets = read_any_jets(source, stop=first)
    pt, mass = jets.pt_and_mass()
    columns = dict(zip(LAYOUTS[jets.particles.shape[2]], np.moveaxis(jets.particles[jets.mask], -1, 0), strict=True))
    units = {"log_pt": "ln GeV", "log_energy": "ln GeV", "jet pt": "GeV", "jet mass": "GeV"}
    table = Table("column", "unit", "minimum", "median", "maximum")
    for name, values in (columns | {"jet pt": pt, "jet mass": mass, "multiplicity": jets.multiplicity}).items():
        table.add_row(shown(name), units.get(name, ""), *(f"{f(values):.4g}" for f in (np.min, np.median, np.max)))
    out.print(table)
    tell(f"{source}, layout {layout_of(source)}; of the first {first} at most: {counted(jets)}")
