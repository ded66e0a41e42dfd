"""Reader for the community's top-tagging jets (Kasieczka et al., doi:10.5281/zenodo.2603256; arXiv:1902.09914).

A pandas table in HDF5: one group with a data set `table`, whose rows hold blocks of columns by type. The floats are
E, px, py, pz [GeV] of 200 particles, padded with zeros, and of the true top; the integers are `ttv` and
`is_signal_new`. Column names are stored as pickles, which are not opened: the widths of the blocks are sufficient.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tools.contract import ToolError
from tools.jet_model.jets import MAX_PARTICLES, Jets, from_momenta

PARTICLES = 200
FLOATS = 4 * PARTICLES + 4
INTEGERS = 2  # ttv, is_signal_new
KINDS = ("qcd", "top")


def find_table(file: Any) -> Any:
    """Return the data set of an open HDF5 file that looks like such a table, or None."""
    import h5py

    found: list[Any] = []

    def look(_: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.dtype.names and set(_blocks(node)) == {FLOATS, INTEGERS}:
            found.append(node)

    file.visititems(look)
    return found[0] if len(found) == 1 else None


def _blocks(table: Any) -> dict[int, str]:
    """Return the names of the blocks of columns by their widths."""
    return {table.dtype[name].shape[0]: name for name in table.dtype.names if table.dtype[name].shape}


def read_toptag(path: Path, max_particles: int = MAX_PARTICLES, start: int = 0, stop: int | None = None) -> Jets:
    """Read jets start..stop, of the kinds `qcd` and `top`.

    Raises ToolError for another layout, invalid momenta and labels other than 0 and 1, FileNotFoundError if there is no
    file.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            table = find_table(file)
            if table is None:
                raise ToolError("path", str(path), f"a table of {FLOATS} floats and {INTEGERS} integers per jet")
            if not 0 <= start < len(table):
                raise ToolError("start", start, f"0 to {len(table) - 1}: the file has {len(table)} jets")
            names = _blocks(table)
            rows = table[start:stop]
    except FileNotFoundError:
        raise
    except OSError as error:
        hint = "a file with an unknown compression filter (blosc) must be saved again with zlib"
        raise ToolError("path", str(path), f"cannot be read ({error}); {hint}") from None
    values = rows[names[FLOATS]][:, : 4 * PARTICLES].astype(np.float64).reshape(len(rows), PARTICLES, 4)
    is_top = rows[names[INTEGERS]][:, -1]
    if len(wrong := np.flatnonzero((is_top != 0) & (is_top != 1))):
        raise ToolError("is_signal_new", int(is_top[wrong[0]]), f"jet {start + wrong[0]}: labels are 0 or 1")
    energy, px, py, pz = np.moveaxis(values, -1, 0)
    pt = np.hypot(px, py)
    if len(bad := np.argwhere((energy <= 0) & (pt > 0))):
        row, particle = bad[0]
        raise ToolError("energy", float(energy[row, particle]), f"jet {start + row}, particle {particle}: above 0")
    eta = np.arcsinh(pz / np.where(pt > 0, pt, 1.0))
    pid = is_top.astype(np.int64)
    return from_momenta(pt, eta, np.arctan2(py, px), energy, pid=pid, kinds=KINDS, max_particles=max_particles)
