"""The three samples: two simulations, and nature, whose particle level is the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.task import TaskError
from tools.contract import ToolError
from tools.events.copies import originals
from tools.events.names import is_weight
from tools.events.parquet import read_columns
from tools.events.zjets import COLUMNS, NOT_PASSED
from tools.events.zjets_jets import OBSERVABLES
from tools.types import Floats

Table = dict[str, Floats]

SAMPLE = Path(__file__).parent / "sample"
SIMULATION = "a14"  # farthest from vincia
NATURES = {"vincia": "monash", "monash": "vincia"}  # sample that plays nature -> the other simulation
GEN, RECO = (tuple(f"{level}_{x}" for x in OBSERVABLES) for level in ("gen", "reco"))


@dataclass(frozen=True)
class Samples:
    """Event tables with `zjets.COLUMNS`. `unseen` (n,) marks the rows of nature that only the grader has."""

    simulation: Table
    alternative: Table
    nature: Table
    unseen: NDArray[np.bool_]

    def data(self, unseen: bool) -> Floats:
        """Return detector-level observables (n, 6) of the measured events, in random order."""
        rows = (self.nature["pass_reco"] > 0) & (self.unseen == unseen)
        return np.column_stack([self.nature[name][rows] for name in RECO])

    @property
    def n_truth(self) -> int:
        """Number of particle-level events behind the data that the crew gets."""
        return int(np.sum((self.nature["pass_gen"] > 0) & ~self.unseen))


def load(folder: Path | None, nature: str, hold_out: float, seed: int, events: int | None) -> Samples:
    """Load the shipped samples, or simulation.parquet, alternative.parquet and nature.parquet of a folder.

    Nature's rows are shuffled, and a fraction `hold_out` of them is unseen. Raises TaskError.
    """
    names = ("simulation", "alternative", "nature") if folder else (SIMULATION, NATURES[nature], nature)
    tables = [_table((folder or SAMPLE) / f"{name}.parquet", folder) for name in names]
    if events is not None:
        tables = [{name: values[:events] for name, values in table.items()} for table in tables]
    rng = np.random.default_rng([seed, 11])
    n = len(tables[2]["pass_gen"])
    shuffled = rng.permutation(n)
    nature_rows = {name: v[shuffled] for name, v in tables[2].items()}
    # Copies of an event are on the same side.
    unseen = (np.arange(n) < round(hold_out * n))[originals(nature_rows)]
    return Samples(tables[0], tables[1], nature_rows, unseen)


def _table(path: Path, folder: Path | None) -> Table:
    try:
        columns = read_columns(path)
        if missing := [name for name in COLUMNS if name not in columns]:
            raise ToolError("names", missing, f"no such column in {path}; it has {list(columns)}")
        for name, values in columns.items():
            if is_weight(name) and np.ptp(values) > 0:
                row = int(np.argmax(values != values[0]))
                allowed = (
                    f"{path}, row {row}: this task counts events, so all must have the same weight. Draw events by "
                )
                raise ToolError(name, float(values[row]), f"{allowed}weight, or unfold with omnifold.unfold")
        if not len(columns["pass_gen"]):
            raise ToolError("path", str(path), "a file with events; it has no events")
        for level in ("gen", "reco"):
            _check_flag(path, columns, level)
        return {name: columns[name] for name in COLUMNS}
    except (ToolError, FileNotFoundError) as error:
        allowed = "must hold simulation, alternative and nature.parquet, made by `beamcrew data simulate zjets` or "
        raise TaskError("data", str(folder), f"{allowed}`beamcrew data convert` ({error})") from None


def _check_flag(path: Path, columns: Table, level: str) -> None:
    """Raise ToolError unless a level's flag is 0 or 1 and no event that passes has NOT_PASSED there."""
    flag = columns[f"pass_{level}"]
    if len(bad := np.flatnonzero((flag != 0) & (flag != 1))):
        raise ToolError(f"pass_{level}", float(flag[bad[0]]), f"{path}, row {bad[0]}: 0 or 1")
    for x in OBSERVABLES:
        if len(bad := np.flatnonzero((columns[f"{level}_{x}"] == NOT_PASSED) & (flag > 0))):
            allowed = f"{path}, row {bad[0]}: the event passes {level}, so it has a value there"
            raise ToolError(f"{level}_{x}", NOT_PASSED, allowed)
