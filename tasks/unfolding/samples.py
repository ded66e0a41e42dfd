"""The samples: a simulation, perhaps another one, and nature, whose particle level is the truth if it is known.

Simulated events may have weights; they are scaled to a mean of one. Where the other simulation plays nature, events are
drawn from it by weight, as nature has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks import nuisances as named
from tasks.task import TaskError
from tasks.unfolding.naming import Observable, find
from tasks.unfolding.nuisances import varied as varied_columns
from tasks.unfolding.tables import Raw, Table, file_of, level, unweighted, weight_of, weights
from tools.contract import ToolError
from tools.events.anytable import read_table
from tools.events.copies import originals
from tools.events.zjets_jets import OBSERVABLES
from tools.types import Floats

SAMPLE = Path(__file__).parent / "sample"
DRAW = 13  # with the seed of the task, decides which events are drawn by weight
SIMULATION = "a14"  # farthest from vincia
NATURES = {"vincia": "monash", "monash": "vincia"}  # sample that plays nature -> the other simulation
ASKED = ("mass", "mult", "width")  # of the shipped sample, by default; the others are unfolded with them
UNITS = {"mass": "GeV"}
NAMES = ("simulation", "alternative", "nature")  # files in the operator's folder


@dataclass(frozen=True)
class Wanted:
    """What is to be unfolded from which columns, as the operator says it: see the options of the task."""

    observables: Sequence[str] | Mapping[str, tuple[str, str]] | None = None
    also: Sequence[str] | None = None
    reco: str | None = None
    gen: str | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    bins: Mapping[str, Sequence[float]] = field(default_factory=dict)
    weights: str | None = None
    nuisances: Sequence[str] = ()
    nuisance_weights: named.Meaning | None = None


@dataclass(frozen=True)
class Samples:
    """Event tables with reco_X, gen_X, pass_reco, pass_gen; those of simulations also with `weight` (mean one).

    The simulation also has the columns of `nuisances`, nature no gen_X if no truth is known. `asked`: the observables
    that are reported; `also`: those that are unfolded with them. `unseen` (n,) marks the rows of nature that only the
    grader has.
    """

    simulation: Table
    alternative: Table | None
    nature: Table
    unseen: NDArray[np.bool_]
    asked: list[Observable]
    also: list[Observable]
    nuisances: list[str]
    notes: list[str]

    @property
    def names(self) -> list[str]:
        """Names of all observables, those asked for first."""
        return [x.name for x in (*self.asked, *self.also)]

    @property
    def truth_known(self) -> bool:
        return "pass_gen" in self.nature

    def columns(self, which: str) -> list[str]:
        """Return the columns of all observables at a level."""
        return [f"{which}_{name}" for name in self.names]

    def data(self, unseen: bool) -> Floats:
        """Return detector-level observables (n, d) of the measured events, in random order."""
        rows = (self.nature["pass_reco"] > 0) & (self.unseen == unseen)
        return np.column_stack([self.nature[name][rows] for name in self.columns("reco")])

    def as_nature(self, seed: int) -> Table:
        """Return events of the other simulation, drawn by weight: all of them if they have the same weight."""
        assert self.alternative is not None
        weight = self.alternative["weight"]
        kept = np.random.default_rng([seed, DRAW]).uniform(size=len(weight)) * weight.max() < weight
        return {name: values[kept] for name, values in self.alternative.items()}

    @property
    def n_truth(self) -> int:
        """Number of particle-level events behind the data that the crew gets."""
        return int(np.sum((self.nature["pass_gen"] > 0) & ~self.unseen))


def load(
    folder: Path | None, nature: str, hold_out: float, seed: int, events: int | None, wanted: Wanted | None = None
) -> Samples:
    """Load the shipped samples, or simulation, alternative (if there) and nature of a folder, in any kind of table.

    Nature's rows are shuffled, and a fraction `hold_out` of them is unseen. Raises TaskError.
    """
    wanted = wanted or Wanted()
    if folder is None and wanted.observables is None:
        also = tuple(x for x in OBSERVABLES if x not in ASKED) if wanted.also is None else wanted.also
        wanted = replace(wanted, observables=ASKED, also=also, units={**UNITS, **wanted.units})
    try:
        return _load(_files(folder, nature), hold_out, seed, events, wanted)
    except ToolError as error:
        if error.field in ("weights", "nuisances", "nuisance_weights"):
            raise TaskError(error.field, error.value, error.allowed) from None
        said = f"{error.value}: {error.allowed}" if error.field == "path" else str(error)
        raise TaskError("data", str(folder), said) from None


def _files(folder: Path | None, nature: str) -> list[Path | None]:
    """Return the files of simulation, alternative and nature."""
    if folder is None:
        return [SAMPLE / f"{name}.parquet" for name in (SIMULATION, NATURES[nature], nature)]
    found = [file_of(folder, "simulation"), file_of(folder, "alternative"), file_of(folder, "nature", "data")]
    for name, path in zip(NAMES, found, strict=True):
        if path is None and name != "alternative":
            there = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else "no such folder"
            allowed = "a folder with tables simulation, nature and, if there is one, alternative (.csv, .parquet ...)"
            raise ToolError("path", str(folder), f"{allowed}; {name} is missing: {there}")
    return found


def _load(files: Sequence[Path | None], hold_out: float, seed: int, events: int | None, wanted: Wanted) -> Samples:
    raw = [{} if path is None else {n: v[:events] for n, v in read_table(path).items()} for path in files]
    first, also = find(wanted.observables, wanted.also or (), (wanted.reco, wanted.gen), raw[0], raw[2])
    asked, also = ([_described(x, wanted) for x in each] for each in (first, also))
    every = [*asked, *also]
    _check(every, wanted)
    notes: list[str] = []
    simulation, names = _simulated(files[0], raw[0], every, wanted, notes)
    alternative = _simulated(files[1], raw[1], every, wanted, notes, varied=False)[0] if files[1] else None
    nature = _measured(files[2], raw[2], every, notes)
    rng = np.random.default_rng([seed, 11])
    n = len(nature["pass_reco"])
    shuffled = rng.permutation(n)
    rows = {name: v[shuffled] for name, v in nature.items()}
    # Copies of an event are on the same side.
    unseen = (np.arange(n) < round(hold_out * n))[originals(rows)]
    return Samples(simulation, alternative, rows, unseen, asked, also, names, notes)


def _described(x: Observable, wanted: Wanted) -> Observable:
    return replace(x, unit=wanted.units.get(x.name, ""), edges=tuple(wanted.bins.get(x.name, ())))


def _check(observables: Sequence[Observable], wanted: Wanted) -> None:
    """Raise TaskError for observables twice, and for units and bins of others."""
    names = [x.name for x in observables]
    if len(set(names)) < len(names):
        raise TaskError("observables", names, "each name once, in observables and also together")
    for option in ("units", "bins"):
        if unknown := [name for name in getattr(wanted, option) if name not in names]:
            raise TaskError(option, unknown[0], f"one of the observables, {', '.join(names)}")


def _simulated(
    path: Path | None,
    raw: Raw,
    observables: Sequence[Observable],
    wanted: Wanted,
    notes: list[str],
    varied: bool = True,
) -> tuple[Table, list[str]]:
    """Return the table of a simulation and the names of its nuisances; only if `varied` it has any."""
    assert path is not None
    gen, gen_flag = level(path, raw, observables, "gen", notes)
    reco, reco_flag = level(path, raw, observables, "reco", notes)
    used = {name for x in observables for name in (x.reco, x.gen)} | {n for n in (gen_flag, reco_flag) if n}
    variations = [c for c in raw if any(fnmatchcase(c, entry) for entry in wanted.nuisances)]
    nominal = weight_of(path, raw, wanted.weights, variations)
    table = gen | reco | {"weight": np.ones(len(gen["pass_gen"]))}
    if nominal:
        values = weights(path, raw, nominal)
        if not (values * (table["pass_gen"] + table["pass_reco"])).sum() > 0:
            raise ToolError(nominal, 0.0, f"{path}: events with a positive weight that pass a level; there is none")
        table["weight"] = np.asarray(values / values.mean())
        if nominal not in ("weight", wanted.weights):
            notes.append(f"{path.name}: column {nominal!r} taken as weights")
    used |= {nominal} if nominal else set()
    if not varied:
        return table, []
    found = named.find(wanted.nuisances, list(raw), {x.name: x.reco for x in observables}, used)
    more = varied_columns(path, raw, found, observables, table, reco_flag, nominal, wanted.nuisance_weights)
    if left := [c for c in raw if c not in used | found.columns() and not c.startswith(f"{reco_flag}_")]:
        notes.append(f"{path.name}: not used: {', '.join(left)}")
    return table | more, found.names


def _measured(path: Path | None, raw: Raw, observables: Sequence[Observable], notes: list[str]) -> Table:
    """Return the table of nature: its particle level, too, if the file has all columns of it."""
    assert path is not None
    unweighted(path, raw)
    table, _ = level(path, raw, observables, "reco", notes)
    missing = [x.gen for x in observables if x.gen not in raw]
    if not missing:
        return table | level(path, raw, observables, "gen", notes)[0]
    if len(missing) < len(observables):
        notes.append(f"{path.name}: no truth is known, as {', '.join(missing)} are missing")
    return table


def edges_of(x: Observable, values: Floats, bins: int, open_ends: bool = False) -> Floats:
    """Return the operator's edges of an observable, or else those of quantile bins of `values` (n,).

    `open_ends`: quantile bins reach to infinity on both sides.
    """
    if x.edges:
        return np.array(x.edges)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    if open_ends:
        return np.concatenate([[-np.inf], edges[1:-1], [np.inf]])
    edges[-1] = np.nextafter(edges[-1], np.inf)
    return edges


def public(samples: Samples) -> list[dict[str, Any]]:
    """Return what agents are told of the observables."""
    asked = [x.name for x in samples.asked]
    return [
        {"name": x.name, "asked_for": x.name in asked}
        | ({"unit": x.unit} if x.unit else {})
        | ({"bins": list(x.edges)} if x.edges else {})
        for x in (*samples.asked, *samples.also)
    ]
