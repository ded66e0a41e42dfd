"""Readers for the official LHC Olympics layouts: event table and, always separate, truth labels.

- particles: HDF5, 700 x (pt [GeV], eta, phi) padded with zeros, then the label; black boxes have no label
- features:  HDF5, 3-momenta [GeV], masses [GeV] and tau_1,2,3 of the two leading jets, with or without `label`
- CATHODE:   npy (N, 6), mjj, mj1, delta_mj [TeV], tau21_j1, tau21_j2, is_signal (arXiv:2109.00546); (N, 5) without
- parquet:   our own table

Data: Kasieczka, Nachman, Shih, doi:10.5281/zenodo.4536377 (arXiv:2101.08320).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.contract import ToolError
from tools.events.cluster import COLUMNS, cluster, dijet_features
from tools.events.frame import open_frame, write_frame
from tools.events.names import split_labels
from tools.events.parquet import read_columns
from tools.events.table import Columns, validate

Labels = NDArray[np.bool_]
Progress = Callable[[int, int], None]

HDF5 = b"\x89HDF\r\n\x1a\n"
PARTICLES = 700
UNLABELLED = 3 * PARTICLES  # columns of a black box
LABELLED = UNLABELLED + 1
ETA_MAX = 20.0  # beyond, cosh(eta) gives energies that break the clustering
CHUNK = 5000  # events in memory at a time: 84 MB
JET_FEATURES = ("px", "py", "pz", "m", "tau1", "tau2", "tau3")
FEATURES = tuple(f"{quantity}j{jet}" for jet in (1, 2) for quantity in JET_FEATURES)
CATHODE = ("mjj", "mj1", "delta_mj", "tau21_j1", "tau21_j2")
TEV_BELOW = 0.02  # TeV: no two jets with R = 1 and pt above 1.2 TeV have so little mass


def read_events(
    path: Path, progress: Progress | None = None, limit: int | None = None
) -> tuple[Columns, Labels | None]:
    """Return the event table of a file in any of the layouts, recognised by content, and the labels if it has any.

    Particles are clustered, about 1 ms per event; `limit` takes only that many events of such a file.
    Raises ToolError for a file of no known layout, with wrong columns, or with NaN; FileNotFoundError
    if there is no file.
    """
    magic = magic_of(path)
    if magic.startswith(b"\x93NUMPY"):
        return read_cathode(path)
    if magic.startswith(b"PAR1"):
        columns = read_columns(path)
        columns, labels = split_labels(columns, path)
        validate(columns, path)
        return columns, labels
    if magic != HDF5:
        raise ToolError("path", str(path), "not an npy, parquet or HDF5 file")
    if particle_rows(path) is None:
        return read_features(path)
    return cluster_particles(path, stop=limit, progress=progress)


def particle_rows(path: Path) -> int | None:
    """Return the number of events in a particle file, or None for a file of another layout."""
    if magic_of(path) != HDF5:
        return None
    try:
        with open_frame(path) as frame:
            return frame.rows if frame.width in (UNLABELLED, LABELLED) else None
    except ToolError:  # whatever reads the other layouts says what is wrong
        return None


def magic_of(path: Path) -> bytes:
    """Return the first bytes of a file; ToolError if it is empty."""
    with path.open("rb") as file:
        magic = file.read(8)
    if not magic:
        raise ToolError("path", str(path), "a file with data; it is empty (0 bytes)")
    return magic


def read_particles(
    path: Path, start: int = 0, stop: int | None = None, chunk: int = CHUNK
) -> Iterator[tuple[Any, Labels | None]]:
    """Yield chunks of the events start..stop: awkward arrays of particles (pt [GeV], eta, phi) and labels (None: black
    box).

    Raises ToolError for another number of columns, an invalid pt, eta or phi, or a label other than 0 and 1.
    """
    import awkward as ak

    with open_frame(path) as frame:
        if frame.width not in (UNLABELLED, LABELLED):
            raise ToolError("path", str(path), f"{frame.width} columns; {LABELLED}, or {UNLABELLED} without labels")
        last = frame.rows if stop is None else min(stop, frame.rows)
        if not 0 <= start <= last:
            raise ToolError("start", start, f"must be from 0 to {last}, the end of the requested range")
        for first in range(start, last, chunk):
            rows = frame.read(first, min(first + chunk, last))
            pt, eta, phi = (rows[:, i:UNLABELLED:3] for i in range(3))
            _check("pt", pt, (pt >= 0) & np.isfinite(pt), first, "must be finite and not negative")
            _check("eta", eta, np.abs(eta) < ETA_MAX, first, f"must be within {ETA_MAX}")
            _check("phi", phi, np.isfinite(phi), first, "must be finite")
            there = pt > 0
            flat = ak.zip({"pt": pt[there], "eta": eta[there], "phi": phi[there]})
            labels = _truth(rows[:, -1], first) if frame.width == LABELLED else None
            yield ak.unflatten(flat, there.sum(axis=1)), labels


def _check(field: str, values: NDArray[np.float64], good: Labels, first: int, allowed: str) -> None:
    bad = np.argwhere(~good)
    if len(bad):
        event, particle = bad[0]
        raise ToolError(field, float(values[event, particle]), f"event {first + event}, particle {particle}: {allowed}")


def cluster_particles(
    path: Path,
    start: int = 0,
    stop: int | None = None,
    chunk: int = CHUNK,
    progress: Progress | None = None,
    leading_pt_min: float = 0.0,
) -> tuple[Columns, Labels | None]:
    """Return the jet features (COLUMNS) of a particle file and, if it has any, the labels.

    The official events have already passed the trigger, so by default there is no further cut. Events whose two leading
    jets do not have two particles each are left out of both. `progress(done, total)` counts events read.
    """
    with open_frame(path) as frame:
        total = (frame.rows if stop is None else min(stop, frame.rows)) - start
    parts: list[Columns] = []
    truth: list[Labels] = []
    done = 0
    for particles, labels in read_particles(path, start, stop, chunk):
        features, passed = cluster(particles, leading_pt_min)
        parts.append(features)
        if labels is not None:
            truth.append(labels[passed])
        done += len(particles)
        if progress:
            progress(done, total)
    columns = {name: np.concatenate([part[name] for part in parts] or [np.empty(0)]) for name in COLUMNS}
    validate(columns, path)
    return columns, np.concatenate(truth) if truth else None


def read_features(path: Path) -> tuple[Columns, Labels | None]:
    """Return the table (COLUMNS) of a feature file, with jets reordered by mass and mjj [TeV] from their 4-vectors, and
    the labels if it has any.
    """
    with open_frame(path) as frame:
        missing = [name for name in FEATURES if name not in frame.names]
        if missing:
            raise ToolError("path", str(path), f"columns {missing} are missing; it has {list(frame.names)[:20]}")
        values = dict(zip(frame.names, frame.read().T, strict=True))
    for name in FEATURES:
        bad = np.flatnonzero(~np.isfinite(values[name]))
        if len(bad):
            raise ToolError(name, float(values[name][bad[0]]), f"row {bad[0]} of {path} is not finite")
    px, py, pz, mass, *tau = (np.stack([values[f"{q}j{jet}"] for jet in (1, 2)], axis=1) for q in JET_FEATURES)
    energy = np.sqrt(px**2 + py**2 + pz**2 + mass**2)
    columns = dijet_features(px, py, pz, energy, mass, np.stack(tau, axis=2))
    validate(columns, path)
    if len(low := np.flatnonzero(columns["mjj"] < TEV_BELOW)):
        allowed = f"row {low[0]}, {len(low)} in all: momenta of {path} look like TeV; feature files hold GeV"
        raise ToolError("mjj", float(columns["mjj"][low[0]]), allowed)
    return columns, split_labels({name: column for name, column in values.items() if name not in FEATURES}, path)[1]


def read_cathode(path: Path) -> tuple[Columns, Labels | None]:
    """Return the columns `CATHODE` of an (N, 6) npy file and the labels, or of an (N, 5) one without labels.

    Raises ToolError for another shape.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ToolError("path", str(path), f"not a readable npy file of numbers ({error})") from None
    if array.ndim != 2 or array.shape[1] not in (5, 6) or array.dtype.kind not in "fiu":
        allowed = f"need (N, 6): {CATHODE}, is_signal; or (N, 5) without labels"
        raise ToolError("path", str(path), f"shape {array.shape} of {array.dtype}; {allowed}")
    columns = dict(zip(CATHODE, array[:, :5].T.astype(np.float64), strict=True))
    validate(columns, path)
    return columns, _truth(array[:, 5]) if array.shape[1] == 6 else None


def _truth(values: NDArray[Any], first: int = 0) -> Labels:
    bad = np.flatnonzero((values != 0) & (values != 1))
    if len(bad):
        raise ToolError("label", float(values[bad[0]]), f"row {first + bad[0]}: labels are 0 or 1")
    return np.asarray(values == 1)


def pack_particles(particles: Any, labels: NDArray[Any]) -> NDArray[np.float32]:
    """Return rows (n, 2101) in the official layout: the 700 leading particles by falling pt, zeros, label."""
    import awkward as ak

    leading = particles[ak.argsort(particles.pt, axis=1, ascending=False)][:, :PARTICLES]
    rows = np.zeros((len(leading), LABELLED), dtype=np.float32)
    for i, field in enumerate(("pt", "eta", "phi")):
        padded = ak.fill_none(ak.pad_none(leading[field], PARTICLES, clip=True), 0.0)
        rows[:, i:UNLABELLED:3] = ak.to_numpy(padded)
    rows[:, -1] = labels
    return rows


def write_particles(path: Path, particles: Any, labels: NDArray[Any]) -> None:
    """Write events (awkward: pt [GeV], eta, phi) and their 0/1 labels in the official layout; pandas reads it too."""
    if len(particles) != len(labels):
        raise ToolError("labels", len(labels), f"one label per event is needed, {len(particles)}")
    _truth(np.asarray(labels))
    write_frame(path, [pack_particles(particles, labels)])
