"""`lhco-blackbox`: a search in the operator's own events, of which nobody knows what is in them.

It reads all layouts of `tools/events/lhco.py`, and tables of other kinds (CSV, npz, ROOT) with the same columns. There
is no truth to compare with; search, hold-out, audit and claim are those of the other presets. Labels are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.intake import Intake, Offer, Question
from tasks.lhco.known import Known, beside, room
from tasks.lhco.presets import WORDS
from tasks.lhco.task import LhcoTask
from tasks.lhco.variable import Variable, dijets
from tasks.spectrum.intake import in_mev, ranges_in
from tasks.study import Judge
from tasks.task import TaskError
from tools.bumphunt.spectrum import RANGE
from tools.contract import ToolError
from tools.events.anytable import read_table
from tools.events.lhco import FEATURES, particle_rows, read_events
from tools.events.names import is_label
from tools.events.sight import PARTICLES, Sight
from tools.events.table import COLUMNS, DERIVED, GEV_ABOVE, unweighted, validate
from tools.spectrum.inputs import IN_MEV
from tools.types import Floats

Unit = Literal["TeV", "GeV"]
KNOWN = (*COLUMNS, *(name for name in DERIVED if name not in COLUMNS))
LEAST = 100  # events in the range of the fit
CLUSTERING = 0.001  # seconds per event
CATHODE_SHAPE = re.compile(r"\(\d+, [56]\)$")


class BlackBoxIntake(Intake):
    """Takes a file with mjj in a column, or in the layouts of the LHC Olympics."""

    def accepts(self, sight: Sight) -> bool:
        named = {column.name for column in sight.columns}
        array = sight.path.endswith(".npy") and any(CATHODE_SHAPE.search(part) for part in sight.parts)
        return "mjj" in named or set(FEATURES) <= named or array or _particles(sight)

    def offer(self, request: str, sight: Sight | None) -> Offer:
        if sight is None:
            return super().offer(request, sight)
        remarks = ["No truth is used: nothing can be compared with what is really in the data."]
        questions: list[Question] = []
        options: dict[str, object] = {}
        if besides := ranges_in(request)[1]:
            options["known"] = [[float(f"{mass / IN_MEV['TeV']:.6g}") for mass in in_mev(besides)]]
        if hidden := [column.name for column in sight.columns if column.kind == "label"]:
            remarks.append(f"No agent sees {', '.join(hidden)}, which looks like truth, and nothing is made of it.")
        mjj = sight.column("mjj")
        if mjj and mjj.high is not None and mjj.high > GEV_ABOVE["mjj"]:
            text = f"mjj reaches from {mjj.low:.4g} to {mjj.high:.4g}. In which unit are the masses: TeV or GeV?"
            questions.append(Question(about="unit", text=text))
        elif mjj:
            remarks.append("Masses are taken to be in TeV.")
            if left := [c.name for c in sight.columns if c.kind != "label" and c.name not in KNOWN]:
                remarks.append(f"Columns that are not used: {', '.join(left)}.")
        if _particles(sight):
            minutes = max(1, round(CLUSTERING * sight.rows / 60))
            remarks.append(
                f"The particles of {sight.rows} events are clustered first, in about {minutes} min; "
                "`beamcrew data convert` does this once and for all."
            )
        return Offer(options=options, questions=questions, remarks=remarks)


class LhcoBlackBox(LhcoTask):
    """Dijet events of the operator's own without labels, such as a black box of the LHC Olympics: is there anything?"""

    name: ClassVar[str] = "lhco-blackbox"
    intake: ClassVar[Intake | None] = BlackBoxIntake(WORDS, needs_data=True)
    title: ClassVar[str] = "Search in dijet events without labels"
    study: ClassVar[Judge | None] = None  # without truth, no run can be judged
    data: Path | None = Field(None, description="file of events: particles, jets, or a table with mjj")
    unit: Unit = Field("TeV", description="unit of the masses of a table; other layouts have units of their own")
    known: Known

    @property
    def variable(self) -> Variable:
        if not room(self.search, self.known):
            raise TaskError("known", self.known, f"masses in TeV that leave room for a window in {self.search}")
        return dijets(self.search, self.known)

    def load(self) -> tuple[dict[str, Floats], None, None, None]:
        if self.data is None or not self.data.is_file():
            raise TaskError("data", self.data and str(self.data), "a file of dijet events: particles, jets or a table")
        try:
            columns = read(self.data, self.unit)
        except ToolError as error:
            hint = "; --set unit=GeV if they are" if error.field in GEV_ABOVE and "GeV" in error.allowed else ""
            raise TaskError("data", str(self.data), f"{error}{hint}") from None
        except ImportError as error:
            said = f"clustering particles needs {error.name}: pip install 'beamcrew[simulate]'"
            raise TaskError("data", str(self.data), said) from None
        inside = int(((columns["mjj"] >= RANGE[0]) & (columns["mjj"] < RANGE[1])).sum())
        if inside < LEAST:
            said = (
                f"{inside} of {len(columns['mjj'])} events have mjj in {RANGE} TeV; {LEAST} needed: is the unit right?"
            )
            raise TaskError("data", str(self.data), said)
        if len(columns) < 3:
            raise TaskError("data", str(self.data), f"mjj and two features or more, such as {', '.join(KNOWN[1:])}")
        seen = beside(columns["mjj"], self.known)
        return {name: values[seen] for name, values in columns.items()}, None, None, None


def read(path: Path, unit: Unit = "TeV") -> dict[str, Floats]:
    """Return the columns KNOWN of a file of events, masses in TeV, without labels. Raises ToolError."""
    table: Mapping[str, NDArray[Any]] = {}
    if path.suffix != ".npy" and particle_rows(path) is None:
        table = read_table(path)
    tabled = "mjj" in table
    if not tabled:
        table = read_events(path)[0]
    columns = {name: np.asarray(v, np.float64) for name, v in table.items() if v.dtype.kind in "fiub"}
    if unit == "GeV" and tabled:
        columns |= {name: 1e-3 * columns[name] for name in GEV_ABOVE if name in columns}
    unweighted({name: values for name, values in columns.items() if not is_label(name)})
    columns = {name: values for name, values in columns.items() if name in KNOWN}
    validate(columns, path)
    return columns


def _particles(sight: Sight) -> bool:
    return any(part.startswith(f"{PARTICLES} ") for part in sight.parts)
