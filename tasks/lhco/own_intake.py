"""What a request and a table say about a search: the mass, its unit, the masses to search, the features.

Columns named after "use" or "features" are features, one named before is the mass. The unit is recognised if a
range that is stated with a unit fits the values of the column in one unit alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.intake import Intake, Offer, Question
from tasks.lhco.presets import WORDS
from tasks.spectrum.intake import BLIND, SPELLING, in_mev, is_mass, is_named, masses_of, ranges_in, unit_in, weighting
from tasks.spectrum.intake import WORDS as OF_SPECTRA
from tools.events.names import is_weight
from tools.events.sight import Column, Sight
from tools.spectrum.inputs import IN_MEV

USED = re.compile(r"\b(us(e|ing)|features?|variables?|columns?|nutze|verwende|spalten?|merkmalen?)\b", re.IGNORECASE)
CONDITION = r"\b{}\b\s*([<>=!]=?|above|below|over|under)"
DECISIVE = 5  # more than any count of words: whoever names features wants them used


class OwnIntake(Intake):
    """Takes a table with a mass and other columns of numbers."""

    def __init__(self) -> None:
        super().__init__(WORDS, needs_data=True)

    def fit(self, request: str, sight: Sight | None) -> int:
        if sight is None or not self.accepts(sight):
            return 0
        asked = any(re.search(word, request, re.IGNORECASE) for word in (*WORDS, *OF_SPECTRA))
        if asked and _features(request, sight):
            return DECISIVE
        return min(super().fit(request, sight), 1)

    def accepts(self, sight: Sight) -> bool:
        return sight.kind == "table" and len(_numbers(sight)) > 1

    def offer(self, request: str, sight: Sight | None) -> Offer:
        assert sight is not None  # else it does not fit
        return _Reading(request, sight).offer()


class _Reading:
    """One request, read against the columns of the table."""

    def __init__(self, request: str, sight: Sight) -> None:
        self.request, self.sight = request, sight
        self.options: dict[str, object] = {}
        self.questions: list[Question] = []
        self.remarks = ["No truth is used: nothing can be compared with what is really in the data."]

    def offer(self) -> Offer:
        features = _features(self.request, self.sight)
        mass = self._mass(features)
        self._unit(mass)
        self._features(features, mass)
        weights, text = weighting(self.sight, self.request)
        if weights:
            self.options["weights"] = weights
        elif text:
            self._ask("unweighted", text)
        if BLIND.search(self.request):
            half = "The search learns from the events of a window, so it cannot be blind to all of them: half of the "
            self.remarks.append(f"{half}events stay unseen until all choices are made. `--task spectrum` can be blind.")
        if hidden := [column.name for column in self.sight.columns if column.kind == "label"]:
            self.remarks.append(
                f"No agent sees {', '.join(hidden)}, which looks like truth, and nothing is made of it."
            )
        return Offer(options=self.options, questions=self.questions, remarks=self.remarks)

    def _ask(self, about: str, text: str) -> None:
        self.questions.append(Question(about=about, text=text))

    def _mass(self, features: Sequence[str]) -> Column | None:
        """Find the column with the mass."""
        numbers = [c for c in _numbers(self.sight) if c.name not in features and not is_weight(c.name)]
        found = masses_of(numbers, self.request)
        if len(found) == 1:
            self.options["column"] = found[0].name
            return found[0]
        these = ", ".join(column.name for column in found or numbers)
        self._ask("column", f"Which column, or expression of columns, is the mass? There are {these}.")
        return None

    def _unit(self, mass: Column | None) -> None:
        """Find the unit of the column, the masses to search in it, and those of a known resonance."""
        between, besides = ranges_in(self.request)
        low, high = (mass.low, mass.high) if mass else (None, None)
        stated = {SPELLING[unit.lower()] for unit in re.findall(r"\b(MeV|GeV|TeV)\b", self.request, re.IGNORECASE)}
        at_name = unit_in(mass.name) if mass else None
        possible = [at_name] if at_name else list(IN_MEV)
        said = {name: each for name, each in (("search_range", between), ("known", besides)) if each}
        for name, each in said.items():
            if low is None or high is None:
                continue
            masses = in_mev(each)
            inside = {
                unit: [float(f"{m / IN_MEV[unit]:.6g}") for m in masses]
                for unit in possible
                if low <= masses[0] / IN_MEV[unit] < masses[1] / IN_MEV[unit] <= high
            }
            if len(inside) == 1:
                unit, found = next(iter(inside.items()))
                self.options |= {"unit": unit, name: [found] if name == "known" else found}
                assert mass
                self.remarks.append(
                    f"{mass.name} is taken to be in {unit}: its values, {low:.4g} to {high:.4g}, hold {each[0]!r} "
                    "in no other unit."
                )
                continue
            lies = f"lies inside in {' and in '.join(inside)}" if inside else "does not lie inside"
            text = f"{each[0]!r} {lies}: {mass.name if mass else 'the mass'} reaches from {low:.4g} to {high:.4g}. "
            self._ask(name, f"{text}Which masses are meant, in the unit of the column?")
        if "unit" in self.options:
            return
        if at_name or (len(stated) == 1 and not said):
            self.options["unit"] = at_name or stated.pop()
            return
        spread = f" It reaches from {low:.4g} to {high:.4g}." if low is not None else ""
        self._ask("unit", f"In which unit is the mass: MeV, GeV or TeV?{spread}")

    def _features(self, features: Sequence[str], mass: Column | None) -> None:
        """Find the features, and say what is not used."""
        others = [c.name for c in _numbers(self.sight) if c is not mass and not is_weight(c.name)]
        if not features:
            text = f"Which columns may tell a signal from background? There are {', '.join(others)}. The mass must not "
            self._ask("features", f"{text}follow from them.")
            return
        self.options["features"] = list(features)
        if left := [name for name in others if name not in features]:
            self.remarks.append(f"Columns that are not used: {', '.join(left)}.")


def _numbers(sight: Sight) -> list[Column]:
    return [column for column in sight.columns if column.kind == "number"]


def _features(request: str, sight: Sight) -> list[str]:
    """Return the columns named after a word for using them, in the order of the table: no mass, weight or condition."""
    start = USED.search(request)
    if start is None:
        return []
    names = [column.name for column in _numbers(sight)]
    before, said = request[: start.start()], request[start.end() :]
    found = [n for n in names if is_named(n, said) and not is_named(n, before) and not is_weight(n)]
    found = [n for n in found if not re.search(CONDITION.format(re.escape(n)), request)]
    masses = [n for n in found if is_mass(n)]
    mass_before = any(is_named(n, before) for n in names)
    return found if mass_before or len(masses) != 1 else [n for n in found if n not in masses]
