"""The two leading jets of LHC Olympics events with their constituents, for searches without hand-made features.

Anti-kt R = 1 jets of the official particle files (`lhco.read_particles`), with the lighter jet first, as in the
features of `cluster`. Events, order and mjj are the same, so both kinds of search can be compared event by event.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.contract import ToolError
from tools.events.cluster import RADIUS, TEV
from tools.events.jets_cluster import find_jets
from tools.events.lhco import CHUNK, Labels, Progress, particle_rows, read_particles
from tools.jet_model.jets import Jets, from_momenta
from tools.types import Floats

KEPT = 128  # hardest particles per jet
ARRAYS = ("pt", "eta", "phi", "axis")


@dataclass(frozen=True)
class Dijets:
    """N dijet events: `mjj` (N,) in TeV, the lighter jet and the heavier one."""

    mjj: Floats
    light: Jets
    heavy: Jets


def read_dijets(
    path: Path, start: int = 0, stop: int | None = None, max_particles: int = KEPT, progress: Progress | None = None
) -> tuple[Dijets, Labels | None]:
    """Read the events start..stop of a particle file that have two jets of at least two particles.

    Returns them and which are signal (None: unknown). `progress(done, total)` counts events read. Raises ToolError for
    another layout, FileNotFoundError if there is no file.
    """
    rows = particle_rows(path)
    if rows is None:
        raise ToolError("path", str(path), "particles of LHCO events: 2,101 columns, or 2,100 without labels")
    total = (rows if stop is None else min(stop, rows)) - start
    parts: list[dict[str, Floats]] = []
    truth: list[Labels] = []
    done = 0
    for particles, labels in read_particles(path, start, stop, CHUNK):
        jets = find_jets(particles, RADIUS, 20.0, max_particles)
        pairs = _leading_pairs(jets)
        parts.append({name: jets[name][pairs] for name in ARRAYS})
        if labels is not None:
            truth.append(labels[jets["event"][pairs[:, 0]].astype(np.int64)])
        done += len(particles)
        if progress:
            progress(done, total)
    pt, eta, phi, axis = (np.concatenate([part[name] for part in parts]) for name in ARRAYS)
    if not len(pt):
        raise ToolError("path", str(path), "at least one event with two jets")
    light, heavy = (
        from_momenta(pt[:, j], eta[:, j], phi[:, j], pt[:, j] * np.cosh(eta[:, j]), axis=axis[:, j]) for j in (0, 1)
    )
    return Dijets(pair_mass(axis), light, heavy), np.concatenate(truth) if truth else None


def _leading_pairs(jets: dict[str, Floats]) -> NDArray[np.int64]:
    """Return the rows (n, 2) of each event's two leading jets, lighter first, if both have two or more particles."""
    order = np.lexsort([-jets["axis"][:, 0], jets["event"]])
    event = jets["event"][order]
    first = np.flatnonzero(np.r_[True, event[1:] != event[:-1]]) if len(event) else np.zeros(0, dtype=np.int64)
    first = first[np.diff(np.r_[first, len(event)]) >= 2]
    pairs = np.stack([order[first], order[first + 1]], axis=1)
    pairs = pairs[np.all((jets["pt"][pairs] > 0).sum(axis=2) >= 2, axis=1)]
    lighter_first = np.argsort(jets["axis"][pairs, 3], axis=1, kind="stable")
    return np.asarray(np.take_along_axis(pairs, lighter_first, axis=1), dtype=np.int64)


def pair_mass(axis: Floats) -> Floats:
    """Return the invariant mass [TeV] (N,) of two jets each, given as pt, eta, phi, mass (N, 2, 4) in GeV."""
    pt, eta, phi, mass = np.moveaxis(axis, -1, 0)
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    energy = np.sqrt(px**2 + py**2 + pz**2 + mass**2)
    e, x, y, z = (c.sum(axis=1) for c in (energy, px, py, pz))
    return np.asarray(np.sqrt(np.maximum(e**2 - x**2 - y**2 - z**2, 0.0)) * TEV)
