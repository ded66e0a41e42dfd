"""The three samples: two simulations, and nature, whose particle level is the truth.

Simulated events may have weights; they are scaled to a mean of one. Where the other simulation plays nature, events are
drawn from it by weight, as nature has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.task import TaskError
from tools.contract import ToolError
from tools.events.copies import originals
from tools.events.names import is_weight, weight_column
from tools.events.parquet import read_columns
from tools.events.zjets import COLUMNS, NOT_PASSED
from tools.events.zjets_jets import OBSERVABLES
from tools.omnifold.inputs import check_spread
from tools.types import Floats

Table = dict[str, Floats]

SAMPLE = Path(__file__).parent / "sample"
DRAW = 13  # with the seed of the task, decides which events are drawn by weight
SIMULATION = "a14"  # farthest from vincia
NATURES = {"vincia": "monash", "monash": "vincia"}  # sample that plays nature -> the other simulation
GEN, RECO = (tuple(f"{level}_{x}" for x in OBSERVABLES) for level in ("gen", "reco"))


@dataclass(frozen=True)
class Samples:
    """Event tables with `zjets.COLUMNS`, those of simulations also with `weight` (mean one).

    `unseen` (n,) marks the rows of nature that only the grader has.
    """

    simulation: Table
    alternative: Table
    nature: Table
    unseen: NDArray[np.bool_]

    def data(self, unseen: bool) -> Floats:
        """Return detector-level observables (n, 6) of the measured events, in random order."""
        rows = (self.nature["pass_reco"] > 0) & (self.unseen == unseen)
        return np.column_stack([self.nature[name][rows] for name in RECO])

    def as_nature(self, seed: int) -> Table:
        """Return events of the other simulation, drawn by weight: all of them if they have the same weight."""
        weight = self.alternative["weight"]
        kept = np.random.default_rng([seed, DRAW]).uniform(size=len(weight)) * weight.max() < weight
        return {name: values[kept] for name, values in self.alternative.items()}

    @property
    def n_truth(self) -> int:
        """Number of particle-level events behind the data that the crew gets."""
        return int(np.sum((self.nature["pass_gen"] > 0) & ~self.unseen))


def load(folder: Path | None, nature: str, hold_out: float, seed: int, events: int | None) -> Samples:
    """Load the shipped samples, or simulation.parquet, alternative.parquet and nature.parquet of a folder.

    Nature's rows are shuffled, and a fraction `hold_out` of them is unseen. Raises TaskError.
    """
    names = ("simulation", "alternative", "nature") if folder else (SIMULATION, NATURES[nature], nature)
    tables = [_table((folder or SAMPLE) / f"{name}.parquet", folder, name != names[2]) for name in names]
    if events is not None:
        tables = [{name: values[:events] for name, values in table.items()} for table in tables]
    rng = np.random.default_rng([seed, 11])
    n = len(tables[2]["pass_gen"])
    shuffled = rng.permutation(n)
    nature_rows = {name: v[shuffled] for name, v in tables[2].items()}
    # Copies of an event are on the same side.
    unseen = (np.arange(n) < round(hold_out * n))[originals(nature_rows)]
    return Samples(tables[0], tables[1], nature_rows, unseen)


def _table(path: Path, folder: Path | None, simulated: bool) -> Table:
    try:
        columns = read_columns(path)
        if missing := [name for name in COLUMNS if name not in columns]:
            raise ToolError("names", missing, f"no such column in {path}; it has {list(columns)}")
        if not simulated:
            _unweighted(path, columns)
        if not len(columns["pass_gen"]):
            raise ToolError("path", str(path), "a file with events; it has no events")
        for level in ("gen", "reco"):
            _check_flag(path, columns, level)
        table = {name: columns[name] for name in COLUMNS}
        return table | {"weight": _weight(path, columns)} if simulated else table
    except (ToolError, FileNotFoundError) as error:
        allowed = "must hold simulation, alternative and nature.parquet, made by `beamcrew data simulate zjets` or "
        raise TaskError("data", str(folder), f"{allowed}`beamcrew data convert` ({error})") from None


def _unweighted(path: Path, columns: Table) -> None:
    """Raise ToolError for weights that differ: measured events count once each."""
    for name, values in columns.items():
        if is_weight(name) and np.ptp(values) > 0:
            row = int(np.argmax(values != values[0]))
            allowed = (
                f"{path}, row {row}: measured events count once each, so all must have the same weight. Draw events by"
            )
            raise ToolError(name, float(values[row]), f"{allowed} weight, or unfold with omnifold.unfold")


def _weight(path: Path, columns: Table) -> Floats:
    """Return the weights of simulated events (n,), scaled to a mean of one; ones if there are none."""
    name = weight_column(columns, "path", str(path))
    if name is None:
        return np.ones(len(columns["pass_gen"]))
    values = columns[name]
    if len(bad := np.flatnonzero(values < 0)):
        allowed = (
            f"{path}, row {bad[0]}, {len(bad)} in all: 0 or more. Merge events of a generator with negative weights"
        )
        raise ToolError(name, float(values[bad[0]]), f"{allowed} (resampling) before unfolding")
    check_spread(values, name, "path", str(path))
    if not (values * (columns["pass_gen"] + columns["pass_reco"])).sum() > 0:
        raise ToolError(name, 0.0, f"{path}: events with a positive weight that pass a level; there is none")
    return np.asarray(values / values.mean())


def _check_flag(path: Path, columns: Table, level: str) -> None:
    """Raise ToolError unless a level's flag is 0 or 1 and no event that passes has NOT_PASSED there."""
    flag = columns[f"pass_{level}"]
    if len(bad := np.flatnonzero((flag != 0) & (flag != 1))):
        raise ToolError(f"pass_{level}", float(flag[bad[0]]), f"{path}, row {bad[0]}: 0 or 1")
    for x in OBSERVABLES:
        if len(bad := np.flatnonzero((columns[f"{level}_{x}"] == NOT_PASSED) & (flag > 0))):
            allowed = f"{path}, row {bad[0]}: the event passes {level}, so it has a value there"
            raise ToolError(f"{level}_{x}", NOT_PASSED, allowed)
