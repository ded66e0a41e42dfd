"""OmniLearned's own HDF5 layout: `data` (N, M, F), `pid` (N,) and, optionally, `global` (N, J).

The package reads our files unchanged. Their `global` is pt [GeV], eta, phi, mass [GeV] of the jets and, last, as the
package's generation needs it, the number of particles in hundreds; an attribute names these columns. Any other `global`
means something different in each data set and is not read. The names of the kinds are an attribute of `pid`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tools.contract import ToolError
from tools.files import written
from tools.hdf5 import open_hdf5, rows_of
from tools.jet_model.jets import AXIS, FEATURES, MAX_PARTICLES, Jets, check, in_order

GLOBAL = (*AXIS, "multiplicity/100")
CHUNK = 256  # jets


def read_jets(path: Path, max_particles: int = MAX_PARTICLES, start: int = 0, stop: int | None = None) -> Jets:
    """Read the jets start..stop of a file, with the `max_particles` hardest particles of each.

    Raises ToolError for another layout and as `jets.check` does, FileNotFoundError if there is no file.
    """
    import h5py

    with open_hdf5(path) as file:
        data = file.get("data")
        if not isinstance(data, h5py.Dataset) or data.ndim != 3 or data.dtype.kind != "f":
            raise ToolError("path", str(path), f"needs `data` (jets, particles, features); it has {sorted(file)}")
        if data.shape[2] < len(FEATURES):
            raise ToolError("path", str(path), f"`data` has {data.shape[2]} features, {len(FEATURES)} are needed")
        last = len(data) if stop is None else min(stop, len(data))
        check_range(path, start, last, len(data))
        for name in ("pid", "global"):
            found = file.get(name, data)
            if not isinstance(found, h5py.Dataset) or found.shape[:1] != data.shape[:1]:
                raise ToolError(name, getattr(found, "shape", "a group"), f"one entry per jet, {len(data)}, in {path}")
        particles = rows_of(path, data, start, last).astype(np.float32)
        if len(bad := np.argwhere(~np.isfinite(particles))):
            row, slot, feature = bad[0]
            where = f"jet {start + row}, particle {slot}, feature {feature} of {path}: must be finite"
            raise ToolError("particles", float(particles[row, slot, feature]), where)
        pid, kinds = None, tuple[str, ...]()
        if "pid" in file:
            numbers = np.asarray(rows_of(path, file["pid"], start, last))
            if numbers.size != len(numbers) or numbers.dtype.kind not in "iuf" or np.any(numbers != np.round(numbers)):
                raise ToolError("pid", f"{numbers.dtype} {numbers.shape}", "one whole number per jet: its kind")
            pid = numbers.reshape(len(numbers)).astype(np.int64)
            kinds = tuple(k if isinstance(k, str) else k.decode() for k in file["pid"].attrs.get("kinds", ()))
        jet = None
        if "global" in file and tuple(file["global"].attrs.get("columns", ())) == GLOBAL:
            jet = rows_of(path, file["global"], start, last)[:, : len(AXIS)].astype(np.float32)
    jets = Jets(in_order(particles), pid, jet, kinds).hardest(max_particles)
    check(jets)
    return jets


def check_range(path: Path, start: int, stop: int, n: int) -> None:
    """Raise ToolError unless there are jets between start and stop, of n."""
    if not n:
        raise ToolError("path", str(path), "a file with jets; it has no jets")
    if not 0 <= start < stop:
        raise ToolError("start", start, f"0 to {stop - 1}: the file has {n} jets")


def write_jets(path: Path, jets: Jets) -> None:
    """Write jets in this layout; the file appears whole or not at all. Raises ToolError as `jets.check` does."""
    import h5py

    check(jets)
    with written(path) as part, h5py.File(part, "w", locking=False) as file:
        particles = in_order(jets.particles)
        chunks = (min(CHUNK, len(jets)), *particles.shape[1:])
        file.create_dataset("data", data=particles, chunks=chunks, compression="gzip", shuffle=True)
        if jets.pid is not None:
            file.create_dataset("pid", data=jets.pid.astype(np.int32), compression="gzip", shuffle=True)
            if jets.kinds:
                file["pid"].attrs["kinds"] = list(jets.kinds)
        if jets.jet is not None:
            values = np.column_stack([jets.jet, jets.multiplicity / 100]).astype(np.float32)
            file.create_dataset("global", data=values, compression="gzip", shuffle=True)
            file["global"].attrs["columns"] = list(GLOBAL)


def concatenate(parts: list[Jets], kinds: tuple[str, ...]) -> Jets:
    """Concatenate labelled sets, numbered by `kinds`; `jet` is kept if all have it.

    Raises ToolError if a set has a kind that is not in `kinds`, no labels, or features other than the first set's.
    """
    pids = []
    for part in parts:
        if part.pid is None or not set(part.kinds) <= set(kinds) or not part.kinds:
            raise ToolError("kinds", part.kinds, f"jets labelled with some of {', '.join(kinds)}")
        if part.particles.shape[2] != parts[0].particles.shape[2]:
            raise ToolError("particles", part.particles.shape, f"{parts[0].particles.shape[2]} features, as the first")
        pids.append(np.array([kinds.index(kind) for kind in part.kinds])[part.pid])
    width = max(part.particles.shape[1] for part in parts)
    filled = [np.pad(p.particles, ((0, 0), (0, width - p.particles.shape[1]), (0, 0))) for p in parts]
    axes = [part.jet for part in parts if part.jet is not None]
    jet = np.concatenate(axes) if len(axes) == len(parts) else None
    return Jets(np.concatenate(filled), np.concatenate(pids), jet, kinds)


def count_jets(path: Path) -> int | None:
    """Return the number of jets in a file of this layout, or None for another layout; ToolError as `open_hdf5`."""
    import h5py

    with open_hdf5(path) as file:
        data = file.get("data")
        return len(data) if isinstance(data, h5py.Dataset) and data.ndim == 3 else None
