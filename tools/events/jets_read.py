"""Reading of jets with their particles from any known layout, recognised by content.

- OmniLearned's own HDF5, which our simulation writes too (`tools.jet_model.jets_file`);
- top tagging, a pandas table in HDF5 (`jets_toptag`);
- JetClass, ROOT (`jets_jetclass`);
- AspenOpenJets, HDF5 (`jets_aspen`);
- particles of LHC Olympics events, HDF5: both leading jets of each event in a row, lighter first.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from tools.contract import ToolError
from tools.events.jets_aspen import is_aspen, read_aspen
from tools.events.jets_jetclass import read_jetclass
from tools.events.jets_lhco import read_dijets
from tools.events.jets_toptag import find_table, read_toptag
from tools.events.lhco import HDF5, magic_of, particle_rows
from tools.hdf5 import open_hdf5
from tools.jet_model.jets import MAX_PARTICLES, Jets
from tools.jet_model.jets_file import concatenate, count_jets, read_jets

ROOT = b"root"
LHCO_KINDS = ("qcd", "signal")


class Layout(StrEnum):
    """Layout of a file of jets."""

    omnilearned = "omnilearned"
    toptag = "toptag"
    jetclass = "jetclass"
    aspen = "aspen"
    lhco = "lhco"


def layout_of(path: Path) -> Layout | None:
    """Return the layout of a file, or None if it holds no jets.

    Raises ToolError for an empty file and as `open_hdf5` does, FileNotFoundError if there is no file.
    """
    magic = magic_of(path)
    if magic.startswith(ROOT):
        return Layout.jetclass
    if magic != HDF5:
        return None
    if count_jets(path) is not None:
        return Layout.omnilearned
    with open_hdf5(path) as file:
        if is_aspen(file):
            return Layout.aspen
        if find_table(path, file) is not None:
            return Layout.toptag
    try:
        return Layout.lhco if particle_rows(path) is not None else None
    except ToolError:  # no frame either
        return None


def read_any_jets(path: Path, max_particles: int = MAX_PARTICLES, start: int = 0, stop: int | None = None) -> Jets:
    """Read jets start..stop (for LHCO files: events), with the `max_particles` hardest particles of each.

    Raises ToolError for a file of no known layout or with invalid values, FileNotFoundError if there is no file.
    """
    layout = layout_of(path)
    if layout is None:
        known = "HDF5 of OmniLearned, of top tagging, of AspenOpenJets or of LHCO particles, or ROOT of JetClass"
        raise ToolError("path", str(path), f"a file of jets: {known}")
    return READERS[layout](path, max_particles, start, stop)


def _both_jets(path: Path, max_particles: int, start: int, stop: int | None) -> Jets:
    dijets, is_signal = read_dijets(path, start, stop, max_particles)
    pid = np.zeros(len(dijets.mjj), dtype=np.int64) if is_signal is None else is_signal.astype(np.int64)
    pair = [replace(jets, pid=pid, kinds=LHCO_KINDS) for jets in (dijets.light, dijets.heavy)]
    turns = np.arange(2 * len(pid)).reshape(2, -1).T.ravel()
    jets = concatenate(pair, LHCO_KINDS).take(turns)
    return jets if is_signal is not None else replace(jets, pid=None, kinds=())


READERS = {
    Layout.omnilearned: read_jets,
    Layout.toptag: read_toptag,
    Layout.jetclass: read_jetclass,
    Layout.aspen: read_aspen,
    Layout.lhco: _both_jets,
}
