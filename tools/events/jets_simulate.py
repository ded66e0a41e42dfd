"""Simulation of large-radius jets of seven kinds with the same pt spectrum, to train the jet foundation model.

Pythia 8 at 13 TeV, the detector of `detector.py`, anti-kt R = 0.8. All kinds are flat in pt, with equally many jets in
each bin of PT_EDGES, so that pt carries no information about the kind. Both jets of an event may be taken. Kinds and
truth labels are in `jets_kinds`. The file has OmniLearned's layout (`tools.jet_model.jets_file`): four features, up to
MAX_KEPT particles.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tools.contract import ToolError
from tools.events.detector import respond
from tools.events.jets_cluster import find_jets
from tools.events.jets_kinds import ALL_KINDS, RADIUS, JetKind, JetProcess, decay_points, holds
from tools.events.pythia import next_events, start
from tools.events.shards import (
    Sharded,
    end_if_abandoned,
    run_shards,
    seeds_of,
    shard_path,
    write_provenance,
    write_shard,
)
from tools.events.zjets import Tune
from tools.jet_model.jets import from_momenta
from tools.jet_model.jets_file import concatenate, read_jets, write_jets
from tools.types import Floats

PT_EDGES = np.linspace(500.0, 700.0, 11)  # GeV
ETA_MAX = 2.0  # of a jet's axis: all but its edge lies inside the tracker
MAX_KEPT = 128  # particles per jet
BATCH = 100  # events clustered together


class JetSimulation(Sharded):
    """A sample of `events` jets, equally many of each kind."""

    kinds: tuple[JetKind, ...] = Field(default=ALL_KINDS, min_length=1)
    tune: Tune = Tune.monash
    shard_events: int = 1000

    def plan(self) -> list[tuple[JetKind, int]]:
        """Return kind and number of jets for each shard."""
        shards = []
        for i, kind in enumerate(self.kinds):
            left = self.events // len(self.kinds) + (i < self.events % len(self.kinds))
            while left > 0:
                shards.append((kind, min(left, self.shard_events)))
                left -= self.shard_events
        return shards

    @property
    def n_shards(self) -> int:
        return len(self.plan())

    def shard_size(self, shard: int) -> int:
        return self.plan()[shard][1]


def simulate_jets(
    simulation: JetSimulation,
    out: Path,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write `out` (HDF5, kinds in random order) and `out` + `.provenance.json`; return the provenance.

    Shards, progress and errors are as in `run_shards`; also raises ToolError for a kind given twice.
    """
    if len(set(simulation.kinds)) < len(simulation.kinds):
        raise ToolError("kinds", [str(kind) for kind in simulation.kinds], "each kind once")
    folder = run_shards(simulation, out, _simulate_shard, workers, progress)
    paths = [shard_path(folder, s).with_suffix(".h5") for s in range(simulation.n_shards)]
    names = tuple(str(kind) for kind in simulation.kinds)
    jets = concatenate([read_jets(path) for path in paths], names)
    write_jets(out, jets.take(np.random.default_rng(simulation.seed).permutation(len(jets))))
    facts = {
        "pythia_settings": {
            str(kind): JetProcess(kind=kind, tune=simulation.tune).settings() for kind in simulation.kinds
        },
        "jets": jets.count(),
        "units": f"GeV; anti-kt R={RADIUS}, |eta| < {ETA_MAX}, flat in pt from {PT_EDGES[0]:g} to {PT_EDGES[-1]:g} GeV",
    }
    return write_provenance(simulation, folder, out, facts)


def _simulate_shard(simulation: JetSimulation, shard: int, folder: Path) -> None:
    """Simulate exactly `shard_size` jets of one kind, deterministic in (simulation, shard)."""
    kind, wanted = simulation.plan()[shard]
    pythia_seed, rng = seeds_of(simulation, shard)
    pythia = start(JetProcess(kind=kind, tune=simulation.tune), pythia_seed)
    n_bins = len(PT_EDGES) - 1
    room = np.full(n_bins, wanted // n_bins) + (np.arange(n_bins) < wanted % n_bins)
    kept: list[dict[str, Floats]] = []
    found = tried = 0
    while room.any():
        end_if_abandoned()
        events: list[Floats] = []
        points: list[list[Floats]] = []
        while len(events) < BATCH:
            for event in next_events(pythia, 1):
                events.append(event)
                points.append(decay_points(pythia.event, kind))
        jets = measured_jets(events, rng)
        good = [row for row in accepted(jets["axis"]) if _is_kind(jets, row, points)]
        taken = [row for row in good if _take(room, jets["axis"][row, 0])]
        found, tried = found + len(good), tried + BATCH
        kept.append({name: values[taken] for name, values in jets.items()})
    pt, eta, phi, axis = (np.concatenate([k[name] for k in kept]) for name in ("pt", "eta", "phi", "axis"))
    zeros = np.zeros(wanted, dtype=np.int64)
    made = from_momenta(pt, eta, phi, pt * np.cosh(eta), axis=axis, pid=zeros, kinds=(str(kind),))
    write_jets(shard_path(folder, shard).with_suffix(".h5"), made)
    write_shard(folder, shard, {"pt": axis[:, 0]}, tried, found)


def _is_kind(jets: dict[str, Floats], row: int, points: list[list[Floats]]) -> bool:
    return any(holds(jets["axis"][row, 1:3], where) for where in points[int(jets["event"][row])])


def _take(room: NDArray[np.int64], pt: float) -> bool:
    """Take one jet from the quota of its pt bin; return whether there was room."""
    place = np.searchsorted(PT_EDGES, pt, side="right") - 1
    if not room[place]:
        return False
    room[place] -= 1
    return True


def accepted(axis: Floats) -> NDArray[np.int64]:
    """Return the rows of the jets (pt, eta, ...) within the acceptance."""
    pt, eta = axis[:, 0], axis[:, 1]
    return np.flatnonzero((pt >= PT_EDGES[0]) & (pt < PT_EDGES[-1]) & (np.abs(eta) < ETA_MAX))


def measured_jets(events: list[Floats], rng: np.random.Generator) -> dict[str, Floats]:
    """Pass events from `pythia.next_events` through the detector; return their jets as `find_jets` does."""
    import awkward as ak

    flat = np.concatenate(events)
    index = np.repeat(np.arange(len(events)), [len(event) for event in events])
    near = np.abs(flat[:, 1]) < ETA_MAX + 2 * RADIUS
    where, pt, eta, phi = respond(index[near], flat[near], rng)
    particles = ak.unflatten(ak.zip({"pt": pt, "eta": eta, "phi": phi}), np.bincount(where, minlength=len(events)))
    return find_jets(particles, RADIUS, PT_EDGES[0], MAX_KEPT)
