"""Jets of the events, for the classifier `jets`, from a file EVENTS.particles.h5 next to EVENTS (OmniLearned's layout).

Columns gen_jet and reco_jet of EVENTS give the row in that file, counted from 0, of the event's jet at each level.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tools.arrays import load_arrays
from tools.contract import ToolError
from tools.events.parquet import particles_path
from tools.jet_model.jets_file import count_jets
from tools.types import Floats
from tools.unfolding.iterate import OmniFold
from tools.unfolding.jets import JetNetwork
from tools.unfolding.problem import Mask, Problem


def with_jets(
    method: OmniFold, data: str, measured: Mask, simulations: dict[str, tuple[str, Problem]]
) -> tuple[OmniFold, dict[str, Problem]]:
    """Return the method with these jets and, by name, the problems with the jets' rows as last column.

    `measured` (n,) marks the events of `data` that pass; `simulations`: by name the file and the problem read from it.
    Raises ToolError for a missing or wrong file of jets, and for rows that it does not have.
    """
    assert isinstance(method.classifier, JetNetwork)
    events = {"data": data} | {name: path for name, (path, _) in simulations.items()}
    files = {name: str(particles_path(Path(path))) for name, path in events.items()}
    classifier = method.classifier.on(list(files.values()))
    counts = {}
    for name, path in files.items():
        if (count := count_jets(Path(path))) is None:
            raise ToolError(name, path, "a file of jets in OmniLearned's layout")
        counts[name] = count
    starts = dict(zip(counts, np.cumsum([0, *counts.values()]), strict=False))
    columns = load_arrays(data, "data")
    rows = _rows(columns, "reco_jet", measured, counts["data"], "data", data)[measured]
    found = {}
    for name, (path, problem) in simulations.items():
        columns = load_arrays(path, name)
        gen, reco = (
            _rows(columns, f"{level}_jet", mask, counts[name], name, path) + starts[name]
            for level, mask in (("gen", problem.pass_gen), ("reco", problem.pass_reco))
        )
        found[name] = problem.with_last(rows, gen, reco)
    return method.model_copy(update={"classifier": classifier}), found


def _rows(columns: dict[str, Floats], name: str, passed: Mask, count: int, field: str, path: str) -> Floats:
    """Return a column of jet rows (n,), checked for the events that pass."""
    if name not in columns:
        raise ToolError(field, path, f"a file with the column {name!r}; it has {sorted(columns)}")
    rows = columns[name]
    if np.any(wrong := passed & ((rows < 0) | (rows >= count) | (rows != np.round(rows)))):
        event = int(np.argmax(wrong))
        raise ToolError(
            field, float(rows[event]), f"{name} of event {event}: a row of {particles_path(Path(path))}, below {count}"
        )
    return rows
