"""Reader for the community's top-tagging jets (Kasieczka et al., doi:10.5281/zenodo.2603256; arXiv:1902.09914).

A pandas table in HDF5: one group with a data set `table`, whose rows hold blocks of columns by type. The floats are
E, PX, PY, PZ [GeV] of 200 particles, padded with zeros, and of the true top; the integers are `ttv` and
`is_signal_new`. Columns are found by their names. These are stored as pickles, of which only lists of text are read and
nothing is carried out.
"""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from tools.contract import ToolError
from tools.hdf5 import nodes, open_hdf5, rows_of
from tools.jet_model.jets import MAX_PARTICLES, Jets, from_momenta
from tools.jet_model.jets_file import check_range

PARTICLES = 200
FLOATS = 4 * PARTICLES + 4
INTEGERS = 2  # ttv, is_signal_new
MOMENTA = tuple(f"{component}_{k}" for k in range(PARTICLES) for component in ("E", "PX", "PY", "PZ"))
LABEL = "is_signal_new"
KINDS = ("qcd", "top")
TEXT = ("UNICODE", "STRING", "BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING")
OF_LISTS = ("PROTO", "FRAME", "MARK", "LIST", "EMPTY_LIST", "APPEND", "APPENDS", "STOP")
REMEMBERED = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")


def find_table(path: Path, file: Any) -> Any:
    """Return the data set of an open HDF5 file that looks like such a table, or None."""
    import h5py

    found = [
        node
        for _, node in nodes(path, file)
        if isinstance(node, h5py.Dataset) and node.dtype.names and set(_blocks(node)) == {FLOATS, INTEGERS}
    ]
    return found[0] if len(found) == 1 else None


def _blocks(table: Any) -> dict[int, str]:
    """Return the names of the blocks of columns by their widths."""
    return {table.dtype[name].shape[0]: name for name in table.dtype.names if table.dtype[name].shape}


def listed(pickled: bytes) -> list[str] | None:
    """Return a pickled list of text without unpickling it; None for anything else.

    >>> import pickle
    >>> listed(pickle.dumps(["ttv", "is_signal_new"])), listed(pickle.dumps(print))
    (['ttv', 'is_signal_new'], None)
    """
    found = []
    try:
        for code, value, _ in pickletools.genops(pickled):
            if code.name in TEXT:
                found.append(str(value))
            elif code.name not in (*OF_LISTS, *REMEMBERED):
                return None
    except (ValueError, IndexError):
        return None
    return found


def _columns(path: Path, table: Any, block: str, width: int) -> dict[str, int]:
    """Return the positions of the columns of a block by name; ToolError if the names cannot be read."""
    stored = table.attrs.get(f"{block}_kind", b"")
    names = listed(stored.tobytes() if hasattr(stored, "tobytes") else bytes(stored))
    if names is None or len(names) != width or len(set(names)) != width:
        allowed = (
            f"names of the {width} columns of {table.name}/{block}, in its attribute {block}_kind as pandas writes it"
        )
        raise ToolError("path", str(path), f"{allowed}: without them the label cannot be told from other columns")
    return {name: position for position, name in enumerate(names)}


def _positions(path: Path, columns: dict[str, int], wanted: tuple[str, ...]) -> list[int]:
    if missing := [name for name in wanted if name not in columns]:
        raise ToolError("path", str(path), f"the columns {missing[:5]}; it has {list(columns)[:10]}")
    return [columns[name] for name in wanted]


def read_toptag(path: Path, max_particles: int = MAX_PARTICLES, start: int = 0, stop: int | None = None) -> Jets:
    """Read jets start..stop, of the kinds `qcd` and `top`.

    Raises ToolError for another layout, columns without names, invalid momenta and labels other than 0 and 1,
    FileNotFoundError if there is no file.
    """
    with open_hdf5(path) as file:
        table = find_table(path, file)
        if table is None:
            raise ToolError("path", str(path), f"a table of {FLOATS} floats and {INTEGERS} integers per jet")
        check_range(path, start, len(table), len(table))
        names = _blocks(table)
        of_floats, of_integers = (_columns(path, table, names[width], width) for width in (FLOATS, INTEGERS))
        momenta = _positions(path, of_floats, MOMENTA)
        (label,) = _positions(path, of_integers, (LABEL,))
        rows = rows_of(path, table, start, stop)
    values = rows[names[FLOATS]][:, momenta].astype(np.float64).reshape(len(rows), PARTICLES, 4)
    is_top = rows[names[INTEGERS]][:, label]
    if len(wrong := np.flatnonzero((is_top != 0) & (is_top != 1))):
        raise ToolError(LABEL, int(is_top[wrong[0]]), f"jet {start + wrong[0]}: labels are 0 or 1")
    energy, px, py, pz = np.moveaxis(values, -1, 0)
    pt = np.hypot(px, py)
    if len(bad := np.argwhere((energy <= 0) & (pt > 0))):
        row, particle = bad[0]
        raise ToolError("energy", float(energy[row, particle]), f"jet {start + row}, particle {particle}: above 0")
    eta = np.arcsinh(pz / np.where(pt > 0, pt, 1.0))
    pid = is_top.astype(np.int64)
    return from_momenta(pt, eta, np.arctan2(py, px), energy, pid=pid, kinds=KINDS, max_particles=max_particles)
