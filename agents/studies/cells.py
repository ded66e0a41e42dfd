"""The matrix of a study: one cell a run, and seeds that are the same for all backends and wordings."""

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
        """<backend>/<wording>/<data set>/<repeat>: its folder inside the study's."""
        return f"{self.arm.name}/{self.wording}/{self.dataset.name}/{self.repeat}"


def cells_of(study: Study) -> list[Cell]:
    """All cells, in an order that leaves a study that is stopped half way as balanced as can be: backends vary first,
    repeats last."""
    return [
        Cell(arm, wording, dataset, repeat, seed_of(study, dataset.name, repeat))
        for repeat in range(study.repeats)
        for dataset in study.datasets
        for wording in study.wordings
        for arm in study.backends
    ]


def find_cell(study: Study, name: str) -> Cell:
    """The cell of that name. Raises ValueError."""
    found = next((cell for cell in cells_of(study) if cell.name == name), None)
    if found is None:
        raise ValueError(f"cell={name}: study {study.name} has none of that name")
    return found


def seed_of(study: Study, dataset: str, repeat: int) -> int:
    """31 bits of SHA-256(study seed/data set/repeat): adding arms, wordings, data sets or repeats moves no seed.

    >>> from agents.studies.study import read_study
    >>> 0 <= seed_of(read_study("example"), "none", 0) < 2**31
    True
    """
    digest = hashlib.sha256(f"{study.seed}/{dataset}/{repeat}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def salt_of(study_salt: str, cell: Cell) -> str:
    """What the secrets of a cell are drawn from: equal for all runs that are to see the same events.

    '' for a study that was begun without a salt.
    """
    same = f"{cell.dataset.name}/{cell.repeat if cell.dataset.fresh else 'all'}"
    return hashlib.sha256(f"{study_salt}/{same}".encode()).hexdigest()[:32] if study_salt else ""


def options_of(study: Study, cell: Cell, data: str | None = None) -> dict[str, Any]:
    """What the task of a cell is made with; `data`: where official files lie on this machine."""
    fresh = {"seed": cell.seed} if cell.dataset.fresh else {}
    place = {"data": data} if data else {}
    return study.options | cell.dataset.options | fresh | place
