"""The sealed side of an LHCO task: labels and the resonance's true numbers, in a folder outside every mount."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tools.contract import Frozen
from tools.events.parquet import read_columns, write_events

LABELS, TRUTH = "labels.parquet", "truth.json"


class Truth(Frozen):
    """The injected signal. `mass` is None without signal."""

    mass: float | None = Field(description="TeV")
    n_signal: int
    window: tuple[float, float] = Field(description="TeV, where the sealed metrics are computed")


def write(folder: Path, truth: Truth | None, is_signal: NDArray[np.bool_] | None, held_out: NDArray[np.bool_]) -> None:
    """Write the truth and the labels of all events, if they are known, and which of them the crew does not see before
    it has chosen."""
    folder.mkdir(parents=True, exist_ok=True)
    if truth is not None:
        (folder / TRUTH).write_text(truth.model_dump_json(indent=1))
    labels = {} if is_signal is None else {"is_signal": is_signal.astype(np.float64)}
    write_events(folder / LABELS, labels | {"held_out": held_out.astype(np.float64)})


def known(folder: Path) -> bool:
    """Return whether there is a truth."""
    return (folder / TRUTH).is_file()


def held_out(folder: Path) -> NDArray[np.bool_]:
    """Return for each event whether it is held out; this is known without truth."""
    return read_columns(folder / LABELS, ["held_out"])["held_out"] > 0.5


def read(folder: Path) -> tuple[Truth, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the truth and, for each event, whether it is signal and whether it is held out."""
    truth = Truth.model_validate_json((folder / TRUTH).read_text())
    columns = read_columns(folder / LABELS)
    return truth, columns["is_signal"] > 0.5, columns["held_out"] > 0.5
