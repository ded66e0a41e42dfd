"""Simulation of LHCO-like events with Pythia 8, a fast detector and FastJet, in shards over many processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tools.events.cluster import COLUMNS, LEADING_PT_MIN, cluster
from tools.events.detector import respond
from tools.events.frame import open_frame, write_frame
from tools.events.lhco import pack_particles
from tools.events.parquet import particles_path
from tools.events.pythia import Process, generate
from tools.events.shards import Sharded, end_if_abandoned, merge_shards, run_shards, seeds_of, shard_path, write_shard

BATCH = 250  # events clustered together


class Simulation(Sharded):
    """Settings of a sample: process, number of accepted events, seed."""

    process: Process = Process()
    leading_pt_min: float = Field(default=LEADING_PT_MIN, ge=0.0, description="cut on the leading jet's pt, GeV")
    particles: bool = Field(default=False, description="also keep the detector objects; changes nothing else")


def simulate(
    simulation: Simulation,
    out: Path,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write `out` (parquet, COLUMNS) and `out` + `.provenance.json`; return the provenance.

    With `simulation.particles`, `out` + `.particles.h5` holds the same events in the official
    2,101-column layout, labelled 0 for QCD and 1 for a resonance. Shards are kept in `out` +
    `.shards` until all are done. `progress(done, total)` counts events. Raises ToolError
    if that folder belongs to another simulation, `out` already exists or `workers` < 1.
    """
    folder = run_shards(simulation, out, _simulate_shard, workers, progress)
    if simulation.particles:
        shards = (shard_path(folder, s).with_suffix(".h5") for s in range(simulation.n_shards))
        write_frame(particles_path(out), map(_particle_rows, shards))
    facts = {
        "pythia_settings": simulation.process.settings(),
        "units": "masses in TeV; jets anti-kt R=1, j1 the lighter of the two leading in pt",
    }
    return merge_shards(simulation, folder, out, facts)


def _simulate_shard(simulation: Simulation, shard: int, folder: Path) -> None:
    """Simulate exactly `shard_size` accepted events, deterministic in (simulation, shard)."""
    import awkward as ak

    pythia_seed, rng = seeds_of(simulation, shard)
    events = generate(simulation.process, pythia_seed, simulation.process.veto(simulation.leading_pt_min))
    wanted, accepted, tried = simulation.shard_size(shard), 0, 0
    batches: list[dict[str, Any]] = []
    kept: list[NDArray[np.float32]] = []
    while accepted < wanted:
        end_if_abandoned()
        raw = [next(events) for _ in range(BATCH)]
        flat = np.concatenate(raw)
        index = np.repeat(np.arange(BATCH), [len(r) for r in raw])
        event, pt, eta, phi = respond(index, flat, rng)
        particles = ak.unflatten(ak.zip({"pt": pt, "eta": eta, "phi": phi}), np.bincount(event, minlength=BATCH))
        features, passed = cluster(particles, simulation.leading_pt_min)
        batches.append(features)
        if simulation.particles:
            is_signal = simulation.process.masses is not None
            kept.append(pack_particles(particles[passed], np.full(passed.sum(), is_signal)))
        accepted += int(passed.sum())
        tried += BATCH
    columns = {name: np.concatenate([b[name] for b in batches])[:wanted] for name in COLUMNS}
    if kept:
        write_frame(shard_path(folder, shard).with_suffix(".h5"), [np.concatenate(kept)[:wanted]])
    write_shard(folder, shard, columns, tried, accepted)


def _particle_rows(path: Path) -> NDArray[np.float32]:
    with open_frame(path) as frame:
        return frame.read().astype(np.float32)
