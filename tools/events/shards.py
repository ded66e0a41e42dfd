"""Long simulations, split into shards over many processes.

Each shard has its own seed derived from (seed, shard number), so the result depends neither on
the number of processes nor on interruptions: a finished shard is a file, and a second call makes
the missing ones.
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
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tools.contract import Frozen, Seed, ToolError
from tools.events.parquet import read_columns, write_events

PYTHIA_SEEDS = 900_000_000
VERSIONS = ("pythia8mc", "fastjet", "awkward", "numpy")


class Sharded(Frozen):
    """A sample of `events` accepted events; all fields together determine the result."""

    events: int = Field(gt=0, le=50_000_000, description="number of accepted events")
    seed: Seed = Field(default=1, ge=0)
    shard_events: int = Field(default=2000, gt=0, description="accepted events per shard; affects the result")

    @property
    def n_shards(self) -> int:
        return -(-self.events // self.shard_events)

    def shard_size(self, shard: int) -> int:
        return min(self.shard_events, self.events - shard * self.shard_events)


S = TypeVar("S", bound=Sharded)
Columns = dict[str, NDArray[np.float64]]


def seeds_of(simulation: Sharded, shard: int) -> tuple[int, np.random.Generator]:
    """Return a shard's seed for Pythia, and its random number generator for everything else."""
    seeds = np.random.SeedSequence([simulation.seed, shard])
    return int(seeds.generate_state(1)[0]) % PYTHIA_SEEDS + 1, np.random.default_rng(seeds)


def shard_path(folder: Path, shard: int) -> Path:
    """Return the path of the file that marks a shard as done; its other files lie next to it."""
    return folder / f"{shard:06d}.parquet"


def run_shards(
    simulation: S,
    out: Path,
    work: Callable[[S, int, Path], Any],
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Run `work(simulation, shard, folder)` for every missing shard; return the folder, `out` + `.shards`.

    `work` is a module-level function and ends with `write_shard`. `progress(done, total)` counts events.
    Raises ToolError if the folder belongs to another simulation, `out` already exists or `workers` < 1.
    """
    if out.exists():
        raise ToolError("out", str(out), "exists; remove it or choose another name")
    if workers is not None and workers < 1:
        raise ToolError("workers", workers, "at least 1")
    folder = out.with_name(out.name + ".shards")
    folder.mkdir(parents=True, exist_ok=True)
    plan = folder / "simulation.json"
    if plan.exists() and json.loads(plan.read_text()) != simulation.model_dump(mode="json"):
        other = json.dumps(json.loads(plan.read_text()))
        raise ToolError("out", str(out), f"{folder} holds the shards of another simulation: {other}")
    plan.write_text(simulation.model_dump_json(indent=1))

    missing = [s for s in range(simulation.n_shards) if not shard_path(folder, s).exists()]
    done = simulation.events - sum(map(simulation.shard_size, missing))
    if progress:
        progress(done, simulation.events)
    if not missing:
        return folder
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers or os.cpu_count() or 1, mp_context=context, initializer=_end_on_ctrl_c) as pool:
        futures = {pool.submit(work, simulation, s, folder): s for s in missing}
        try:
            for future in as_completed(futures):
                future.result()
                done += simulation.shard_size(futures[future])
                if progress:
                    progress(done, simulation.events)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return folder


def end_if_abandoned() -> None:
    """Exit if the parent process is gone; `work` calls this regularly.

    Nobody waits for the shard then, and the next run makes it again.
    """
    parent = multiprocessing.parent_process()
    if parent and not parent.is_alive():
        os._exit(1)


def write_shard(folder: Path, shard: int, columns: dict[str, NDArray[Any]], tried: int, accepted: int) -> None:
    """Write a shard: `tried` events were generated, `accepted` of them passed; `columns` may hold fewer."""
    shard_path(folder, shard).with_suffix(".json").write_text(json.dumps({"tried": tried, "accepted": accepted}))
    # Written last, because this file marks the shard as done.
    write_events(shard_path(folder, shard), columns)


def merge_shards(
    simulation: Sharded,
    folder: Path,
    out: Path,
    facts: dict[str, Any],
    more: Callable[[Columns], Columns] = lambda columns: {},
) -> dict[str, Any]:
    """Merge all shards into `out`, write `out` + `.provenance.json` and remove the shards; return the provenance.

    `more` makes further columns from the merged ones.
    """
    tables = [read_columns(shard_path(folder, s)) for s in range(simulation.n_shards)]
    columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    columns |= more(columns)
    write_events(out, columns)
    return write_provenance(simulation, folder, out, {"columns": list(columns), **facts})


def write_provenance(simulation: Sharded, folder: Path, out: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Write `out` + `.provenance.json` next to the finished `out` and remove the shards; return the provenance."""
    counts = [json.loads(shard_path(folder, s).with_suffix(".json").read_text()) for s in range(simulation.n_shards)]
    provenance: dict[str, Any] = {
        "simulation": simulation.model_dump(mode="json"),
        "versions": {package: version(package) for package in VERSIONS},
        "acceptance": sum(c["accepted"] for c in counts) / sum(c["tried"] for c in counts),
        **facts,
    }
    out.with_name(out.name + ".provenance.json").write_text(json.dumps(provenance, indent=1) + "\n")
    shutil.rmtree(folder)
    return provenance


def _end_on_ctrl_c() -> None:
    # The terminal sends Ctrl-C to the workers as well, where it should end them without tracebacks.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
