"""The matrix of a study: one cell per run, with seeds that are the same for all backends and wordings."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from agents.studies.study import Arm, DataSet, Study


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    arm: Arm
    wording: str
    dataset: DataSet
    repeat: int
    seed: int

    @property
    def name(self) -> str:
        """<backend>/<wording>/<data set>/<repeat>: also the cell's folder inside the study's."""
        return f"{self.arm.name}/{self.wording}/{self.dataset.name}/{self.repeat}"


def backend_in(name: str) -> str:
    """Return the backend in a cell's name."""
    return name.partition("/")[0]


def cells_of(study: Study) -> list[Cell]:
    """Return all cells, backends varying fastest and repeats slowest, so that a stopped study is as balanced as
    possible."""
    return [
        Cell(arm, wording, dataset, repeat, seed_of(study, dataset.name, repeat))
        for repeat in range(study.repeats)
        for dataset in study.datasets
        for wording in study.wordings
        for arm in study.backends
    ]


def find_cell(study: Study, name: str) -> Cell:
    """Return the cell with this name. Raises ValueError."""
    found = next((cell for cell in cells_of(study) if cell.name == name), None)
    if found is None:
        raise ValueError(f"cell={name}: study {study.name} has no such cell")
    return found


def seed_of(study: Study, dataset: str, repeat: int) -> int:
    """Return 31 bits of SHA-256(study seed/data set/repeat): adding arms, data sets or repeats changes no other seed.

    >>> from agents.studies.study import read_study
    >>> 0 <= seed_of(read_study("example"), "none", 0) < 2**31
    True
    """
    digest = hashlib.sha256(f"{study.seed}/{dataset}/{repeat}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def salt_of(study_salt: str, cell: Cell) -> str:
    """Return the salt of a cell's secrets, equal for all runs that must see the same events.

    '' for a study that was started without a salt.
    """
    same = f"{cell.dataset.name}/{cell.repeat if cell.dataset.fresh else 'all'}"
    return hashlib.sha256(f"{study_salt}/{same}".encode()).hexdigest()[:32] if study_salt else ""


def options_of(study: Study, cell: Cell, data: str | None = None) -> dict[str, Any]:
    """Return the task options of a cell; `data`: path of the official files on this machine."""
    fresh = {"seed": cell.seed} if cell.dataset.fresh else {}
    place = {"data": data} if data else {}
    return study.options | cell.dataset.options | fresh | place
