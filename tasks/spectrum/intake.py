"""What a request and a table say about a mass spectrum: column, unit, masses to search."""

from __future__ import annotations

import re

from tasks.intake import Intake, Offer, Question
from tools.events.names import is_weight
from tools.events.sight import Column, Sight

UNIT = r"(MeV|GeV|TeV)"
NUMBER = r"(\d+(?:\.\d+)?)"
RANGE = re.compile(rf"{NUMBER}\s*{UNIT}?\s*(?:-|–|to|and|bis|und|et|à|a|y)\s*{NUMBER}\s*{UNIT}", re.IGNORECASE)
MASS = re.compile(r"mass|^m_|^m\d|^inv|_m$|^m(jj|ll|ee|mumu|bb)?$", re.IGNORECASE)
SPELLING = {unit.lower(): unit for unit in ("MeV", "GeV", "TeV")}


class SpectrumIntake(Intake):
    """The mass column is named in the request, or the only one whose name looks like a mass."""

    def accepts(self, sight: Sight) -> bool:
        return sight.kind == "table" and any(column.kind == "number" for column in sight.columns)

    def offer(self, request: str, sight: Sight | None) -> Offer:
        if sight is None:
            return Offer(remarks=["No data were given: a spectrum is made up."])
        options: dict[str, object] = {}
        questions: list[Question] = []
        mass = self._mass(request, sight, options, questions)
        self._unit(request, mass, options, questions)
        if weights := [c.name for c in sight.columns if c.kind == "number" and is_weight(c.name)]:
            text = f"Events are counted, not weighted by {', '.join(weights)}. Is that right (true)?"
            questions.append(Question(about="unweighted", text=text))
        return Offer(options=options, questions=questions, remarks=self._remarks(sight))

    def _mass(self, request: str, sight: Sight, options: dict[str, object], questions: list[Question]) -> Column | None:
        """Find the column with the mass."""
        numeric = [column for column in sight.columns if column.kind == "number"]
        words = set(re.findall(r"\w+", request))
        named = [column for column in numeric if column.name in words]
        found = named or [column for column in numeric if MASS.search(column.name)]
        if len(found) == 1:
            options["column"] = found[0].name
            return found[0]
        these = ", ".join(column.name for column in found or numeric)
        text = f"Which column, or expression of columns, is the mass? There are {these}."
        questions.append(Question(about="column", text=text))
        return None

    def _unit(self, request: str, mass: Column | None, options: dict[str, object], questions: list[Question]) -> None:
        """Find the unit, and the masses to search."""
        between = RANGE.search(request)
        units = {SPELLING[unit.lower()] for unit in re.findall(rf"\b{UNIT}\b", request, re.IGNORECASE)}
        if len(units) == 1:
            options["unit"] = units.pop()
        else:
            spread = f"It reaches from {mass.low:.4g} to {mass.high:.4g}." if mass and mass.low is not None else ""
            text = f"In which unit is the mass: MeV, GeV or TeV? {spread}".strip()
            questions.append(Question(about="unit", text=text))
        if not between:
            return
        low, high = float(between[1]), float(between[3])
        options["search_range"] = [low, high]
        if mass and mass.low is not None and mass.high is not None and not mass.low <= low < high <= mass.high:
            text = f"{between[0]!r} does not lie inside {mass.name}, {mass.low:.4g} to {mass.high:.4g}. "
            text += "Which masses are meant, in the unit of the column?"
            questions.append(Question(about="search_range", text=text))

    def _remarks(self, sight: Sight) -> list[str]:
        """Say what is done with the rest of the table."""
        remarks = [
            f"All rows are used, whatever {column.name} says ({', '.join(column.values)})."
            for column in sight.columns
            if column.kind == "text" and len(column.values) > 1
        ]
        if hidden := [column.name for column in sight.columns if column.kind == "label"]:
            remarks.append(f"No agent sees {', '.join(hidden)}, which looks like truth.")
        return remarks
