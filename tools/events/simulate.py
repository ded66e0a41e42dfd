"""Simulated LHCO-like events: Pythia 8, a parametric detector, FastJet; in shards over many processes.

The work is cut into shards, each with its own seed derived from (seed, shard number), so the
result depends neither on the number of processes nor on interruptions: a finished shard is
a file, and a second call goes on with the missing ones.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from tools.contract import ToolError
from tools.events.cluster import COLUMNS, LEADING_PT_MIN, cluster
from tools.events.detector import respond
from tools.events.frame import open_frame, write_frame
from tools.events.lhco import pack_particles
from tools.events.parquet import read_columns, write_events
from tools.events.pythia import Process, generate

BATCH = 250  # events clustered together
PYTHIA_SEEDS = 900_000_000


class Simulation(BaseModel):
    """One sample: which process, how many accepted events, which seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    process: Process = Process()
    events: int = Field(gt=0, le=50_000_000, description="accepted events")
    seed: int = Field(default=1, ge=0)
    shard_events: int = Field(default=2000, gt=0, description="accepted events a shard; part of what fixes the result")
    leading_pt_min: float = Field(default=LEADING_PT_MIN, ge=0.0, description="GeV, cut on the leading jet")
    particles: bool = Field(default=False, description="keep the detector objects too; changes nothing else")

    @property
    def n_shards(self) -> int:
        return -(-self.events // self.shard_events)

    def shard_size(self, shard: int) -> int:
        return min(self.shard_events, self.events - shard * self.shard_events)


def simulate(
    simulation: Simulation,
    out: Path,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write `out` (parquet, COLUMNS) and `out` + `.provenance.json`; returns the provenance.

    With `simulation.particles`, `out` + `.particles.h5` holds the same events in the official
    2,101-column layout, labelled 0 for QCD and 1 for a resonance. Shards wait in `out` +
    `.shards` until all are there. `progress(done, total)` counts events. Raises ToolError
    when that folder belongs to another simulation, `out` is there already or `workers` < 1.
    """
    if out.exists():
        raise ToolError("out", str(out), "exists; remove it or choose another name")
    if workers is not None and workers < 1:
        raise ToolError("workers", workers, "at least 1")
    folder = out.with_name(out.name + ".shards")
    folder.mkdir(parents=True, exist_ok=True)
    plan = folder / "simulation.json"
    if plan.exists() and Simulation.model_validate_json(plan.read_text()) != simulation:
        other = json.dumps(json.loads(plan.read_text()))
        raise ToolError("out", str(out), f"{folder} holds the shards of another simulation: {other}")
    plan.write_text(simulation.model_dump_json(indent=1))

    missing = [s for s in range(simulation.n_shards) if not _shard_path(folder, s).exists()]
    done = simulation.events - sum(map(simulation.shard_size, missing))
    if progress:
        progress(done, simulation.events)
    if missing:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            workers or os.cpu_count() or 1, mp_context=context, initializer=_end_on_ctrl_c
        ) as pool:
            futures = {pool.submit(_simulate_shard, simulation, s, folder): s for s in missing}
            try:
                for future in as_completed(futures):
                    future.result()
                    done += simulation.shard_size(futures[future])
                    if progress:
                        progress(done, simulation.events)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return _merge(simulation, folder, out)


def _end_on_ctrl_c() -> None:
    # The terminal sends Ctrl-C to the workers as well: there it should end them, not print tracebacks.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _shard_path(folder: Path, shard: int) -> Path:
    return folder / f"{shard:06d}.parquet"


def _simulate_shard(simulation: Simulation, shard: int, folder: Path) -> None:
    """Exactly `shard_size` accepted events, deterministic in (simulation, shard)."""
    import awkward as ak

    seeds = np.random.SeedSequence([simulation.seed, shard])
    events = generate(simulation.process, int(seeds.generate_state(1)[0]) % PYTHIA_SEEDS + 1)
    rng = np.random.default_rng(seeds)
    wanted, accepted, tried = simulation.shard_size(shard), 0, 0
    batches: list[dict[str, Any]] = []
    kept: list[NDArray[np.float32]] = []
    parent = multiprocessing.parent_process()
    while accepted < wanted:
        if parent and not parent.is_alive():
            os._exit(1)  # the run was killed: nobody waits for this shard, and the next run makes it again
        raw = [next(events) for _ in range(BATCH)]
        flat = np.concatenate(raw)
        index = np.repeat(np.arange(BATCH), [len(r) for r in raw])
        event, pt, eta, phi = respond(
            index, flat[:, 0], flat[:, 1], flat[:, 2], flat[:, 3].astype(np.int64), flat[:, 4] > 0, rng
        )
        particles = ak.unflatten(ak.zip({"pt": pt, "eta": eta, "phi": phi}), np.bincount(event, minlength=BATCH))
        features, passed = cluster(particles, simulation.leading_pt_min)
        batches.append(features)
        if simulation.particles:
            is_signal = simulation.process.masses is not None
            kept.append(pack_particles(particles[passed], np.full(passed.sum(), is_signal)))
        accepted += int(passed.sum())
        tried += BATCH
    columns = {name: np.concatenate([b[name] for b in batches])[:wanted] for name in COLUMNS}
    _shard_path(folder, shard).with_suffix(".json").write_text(json.dumps({"tried": tried, "accepted": accepted}))
    if kept:
        write_frame(_shard_path(folder, shard).with_suffix(".h5"), [np.concatenate(kept)[:wanted]])
    # Last, because this file says that the shard is done.
    write_events(_shard_path(folder, shard), columns)


def _merge(simulation: Simulation, folder: Path, out: Path) -> dict[str, Any]:
    shards = [_shard_path(folder, s) for s in range(simulation.n_shards)]
    tables = [read_columns(path) for path in shards]
    counts = [json.loads(path.with_suffix(".json").read_text()) for path in shards]
    provenance: dict[str, Any] = {
        "simulation": simulation.model_dump(mode="json"),
        "pythia_settings": simulation.process.settings(),
        "versions": {p: version(p) for p in ("pythia8mc", "fastjet", "awkward", "numpy")},
        "acceptance": sum(c["accepted"] for c in counts) / sum(c["tried"] for c in counts),
        "columns": list(COLUMNS),
        "units": "masses in TeV; jets anti-kt R=1, j1 the lighter of the two leading in pt",
    }
    if simulation.particles:
        rows = (_particle_rows(path.with_suffix(".h5")) for path in shards)
        write_frame(out.with_name(out.name + ".particles.h5"), rows)
    write_events(out, {name: np.concatenate([t[name] for t in tables]) for name in COLUMNS})
    out.with_name(out.name + ".provenance.json").write_text(json.dumps(provenance, indent=1) + "\n")
    shutil.rmtree(folder)
    return provenance


def _particle_rows(path: Path) -> NDArray[np.float32]:
    with open_frame(path) as frame:
        return frame.read().astype(np.float32)
