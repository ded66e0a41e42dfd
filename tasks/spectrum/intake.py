"""What a request and a table say about a mass spectrum: column, unit, masses to search, blind masses, limits."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.intake import Intake, Offer, Question
from tasks.nuisances import DIRECTION, moved_columns
from tools.events.names import is_weight
from tools.events.sight import Column, Sight
from tools.spectrum.inputs import IN_MEV

UNIT = r"(MeV|GeV|TeV)"
NUMBER = r"(\d+(?:\.\d+)?)"
TO = r"\s*(?:-|–|to|and|bis|und|et|à|a|y)\s*"
RANGE = re.compile(rf"{NUMBER}\s*{UNIT}?{TO}{NUMBER}\s*{UNIT}", re.IGNORECASE)
LOOSE = re.compile(rf"{NUMBER}\s*{UNIT}?{TO}{NUMBER}(?:\s*{UNIT})?", re.IGNORECASE)
WORDS = (
    r"resonan|résonan|risonan",
    r"\bpeaks?\b",
    r"\bbumps?\b",
    r"mass spectrum|massenspektrum",
    r"upper limits?|exclusion limit|brazil|obere grenze",
    r"(search|suche|look for)\b.*\d",
    r"\bblind|verblindet",
)
HOW_MANY = r"how many events|wie viele"  # of a resonance: alone it is a question on any column
BLIND = re.compile(
    r"\bblind|verblindet|(do not|don't|nobody|no one|without) (may )?(look|peek)|nicht (hin|an)sehen", re.IGNORECASE
)
INJECTIONS = 20  # toys at each mass and yield
AFTER = 40  # characters between "do not look" or "besides" and the masses
BESIDES = re.compile(
    r"\b(besides?|apart from|aside from|other than|except|excluding|leav(e|ing) out|ignor(e|ing)|au(ß|ss)er|neben)\b",
    re.IGNORECASE,
)
LIMITS = re.compile(r"limit|brazil|exclusion|sensitiv|(would|could) (you|we) have seen|obere grenze|empfindlich", re.I)
INJECTS = re.compile(r"(would|could) (you|we) have seen|sensitiv|inject|empfindlich", re.I)
WIDTH = re.compile(
    rf"(?:width|resolution|breite|auflösung)\D{{0,12}}{NUMBER}\s*%|{NUMBER}\s*% (?:wide|width|resolution|breit)",
    re.IGNORECASE,
)
MASS = re.compile(r"mass|^m_|^m\d|^inv|_m$|^m(jj|ll|ee|mumu|bb)?$", re.IGNORECASE)
NAMED = re.compile(r"(?:[_\[(/\s]+|^)(MeV|GeV|TeV)\W*$", re.IGNORECASE)  # m_tt_GeV, m [GeV]
SPELLING = {unit.lower(): unit for unit in ("MeV", "GeV", "TeV")}


def unit_in(name: str) -> str | None:
    """Return the unit that the name of a column ends with, if it does.

    >>> unit_in("mjj_gev"), unit_in("m_tt [TeV]"), unit_in("mjj")
    ('GeV', 'TeV', None)
    """
    found = NAMED.search(name)
    return SPELLING[found[1].lower()] if found else None


def bare(name: str) -> str:
    """Return the name of a column without its unit.

    >>> bare("m_tt [GeV]"), bare("mjj_gev"), bare("mass")
    ('m_tt', 'mjj', 'mass')
    """
    return NAMED.sub("", name)


def is_named(name: str, request: str) -> bool:
    """Return whether a request names a column, with its unit or without.

    >>> is_named("m_tt [GeV]", "a bump in m_tt"), is_named("m", "a bump in the mass")
    (True, False)
    """
    words = set(re.findall(r"[\w.\[\]]+", request)) | set(re.findall(r"\w+", request))
    return bool({name, bare(name)} & words) or (not name.isidentifier() and name in request)


def is_mass(name: str) -> bool:
    """Return whether a column is named like a mass."""
    return bool(MASS.search(bare(name)))


def masses_of(columns: Sequence[Column], request: str) -> list[Column]:
    """Return the columns of numbers that may be the mass: those named in the request, or else those named like one."""
    named, moved = [column for column in columns if is_named(column.name, request)], varied(columns)
    return named or [column for column in columns if is_mass(column.name) and column.name not in moved]


def varied(columns: Sequence[Column]) -> list[str]:
    """Return the columns that are named like variations of others: mjj_jes_up beside mjj."""
    names = [column.name for column in columns]
    moves = [moved_columns(names, {name: name}) for name in names]
    found = {c for each in moves for ending, of in each.items() if DIRECTION.fullmatch(ending) for c in of.values()}
    return [name for name in names if name in found]


def weighting(sight: Sight, request: str) -> tuple[str | None, str]:
    """Return the column of weights that a request wants, and what to ask if there are weights that it does not name."""
    found = [column.name for column in sight.columns if column.kind == "number" and is_weight(column.name)]
    if len(found) == 1 and re.search(r"weight|gewicht", request, re.IGNORECASE):
        return found[0], ""
    asked = f"Events are counted, not weighted by {', '.join(found)}. Is that right (true)? If not, name the column in "
    return None, f"{asked}`weights`." if found else ""


def ranges_in(request: str) -> tuple[re.Match[str] | None, re.Match[str] | None]:
    """Return the masses to search, and those of a known resonance, which follow a word such as "besides"."""
    found = list(RANGE.finditer(request))
    ends = [word.end() for word in BESIDES.finditer(request)]
    besides = [each for each in found if any(end <= each.start() <= end + AFTER for end in ends)]
    return next((each for each in found if each not in besides), None), next(iter(besides), None)


def in_mev(masses: re.Match[str]) -> list[float]:
    """Return the two masses of a range that RANGE has found."""
    return [float(masses[k]) * IN_MEV[SPELLING[(masses[k + 1] or masses[4]).lower()]] for k in (1, 3)]


class SpectrumIntake(Intake):
    """The mass column is named in the request, or the only one whose name looks like a mass."""

    def __init__(self) -> None:
        super().__init__((*WORDS, HOW_MANY), needs_data=True)

    def fit(self, request: str, sight: Sight | None) -> int:
        about = any(re.search(word, request, re.IGNORECASE) for word in WORDS)
        return super().fit(request, sight) if about else 0

    def accepts(self, sight: Sight) -> bool:
        return sight.kind == "table" and any(column.kind == "number" for column in sight.columns)

    def offer(self, request: str, sight: Sight | None) -> Offer:
        if sight is None:
            return Offer(remarks=["No data were given: a spectrum is made up."])
        options: dict[str, object] = {}
        questions: list[Question] = []
        mass = self._mass(request, sight, options, questions)
        self._unit(request, mass, options, questions)
        self._reach(request, options, questions)
        weights, text = weighting(sight, request)
        if weights:
            options["weights"] = weights
        elif text:
            questions.append(Question(about="unweighted", text=text))
        remarks = self._remarks(sight)
        if "blind" in options:
            said = f"Nobody sees the events in {options['blind']}; `--set unblind=true` opens them after all choices."
            remarks.append(said)
        return Offer(options=options, questions=questions, remarks=remarks)

    def _mass(self, request: str, sight: Sight, options: dict[str, object], questions: list[Question]) -> Column | None:
        """Find the column with the mass."""
        numeric = [c for c in sight.columns if c.kind == "number" and not is_weight(c.name)]
        found = masses_of(numeric, request)
        if len(found) == 1:
            options["column"] = found[0].name
            return found[0]
        these = ", ".join(column.name for column in found or numeric)
        text = f"Which column, or expression of columns, is the mass? There are {these}."
        questions.append(Question(about="column", text=text))
        return None

    def _unit(self, request: str, mass: Column | None, options: dict[str, object], questions: list[Question]) -> None:
        """Find the unit, and the masses to search."""
        between, _ = ranges_in(request)  # known resonances are fitted with all others
        units = {SPELLING[unit.lower()] for unit in re.findall(rf"\b{UNIT}\b", request, re.IGNORECASE)}
        if mass and (at_name := unit_in(mass.name)):
            units = {at_name} if units <= {at_name} else {*units, at_name}
        if len(units) == 1:
            options["unit"] = units.pop()
        else:
            spread = f"It reaches from {mass.low:.4g} to {mass.high:.4g}." if mass and mass.low is not None else ""
            text = f"In which unit is the mass: MeV, GeV or TeV? {spread}".strip()
            questions.append(Question(about="unit", text=text))
        blind = self._blind(request, questions)
        if blind:
            options["blind"] = [float(blind[1]), float(blind[3])]
        ranges = [("blind", blind)] if blind else []
        if between and not (blind and between.start() == blind.start()):
            options["search_range"] = [float(between[1]), float(between[3])]
            ranges.append(("search_range", between))
        for about, found in ranges:
            low, high = float(found[1]), float(found[3])
            if mass and mass.low is not None and mass.high is not None and not mass.low <= low < high <= mass.high:
                text = f"{found[0]!r} does not lie inside {mass.name}, {mass.low:.4g} to {mass.high:.4g}. "
                text += "Which masses are meant, in the unit of the column?"
                questions.append(Question(about=about, text=text))

    def _blind(self, request: str, questions: list[Question]) -> re.Match[str] | None:
        """Return the masses that nobody is to look at: those right after the word, else the last before it."""
        word = BLIND.search(request)
        if word is None:
            return None
        found = list(LOOSE.finditer(request))
        after = [each for each in found if word.end() <= each.start() <= word.end() + AFTER]
        if after or found:
            return after[0] if after else found[-1]
        text = "Which masses is nobody to look at, [low, high] in the unit of the column?"
        questions.append(Question(about="blind", text=text))
        return None

    def _reach(self, request: str, options: dict[str, object], questions: list[Question]) -> None:
        """Find whether limits or the sensitivity are asked for, and the width, without which there are none."""
        if said := WIDTH.search(request):
            options["width"] = float(f"{float(said[1] or said[2]) / 100:.6g}")
        if not LIMITS.search(request):
            return
        options["limits"] = True
        if INJECTS.search(request):
            options["injections"] = INJECTIONS
        if "width" not in options:
            text = "Which relative width has the resonance, mostly the resolution (0.015 for 1.5%)? With simulated "
            questions.append(Question(about="width", text=f"{text}events, `signal_file` answers it."))

    def _remarks(self, sight: Sight) -> list[str]:
        """Say what is done with the rest of the table."""
        remarks = [
            f"All rows are used, whatever {column.name} says ({', '.join(column.values)})."
            for column in sight.columns
            if column.kind == "text" and len(column.values) > 1
        ]
        if hidden := [column.name for column in sight.columns if column.kind == "label"]:
            remarks.append(f"No agent sees {', '.join(hidden)}, which looks like truth.")
        if moved := varied([column for column in sight.columns if column.kind == "number"]):
            said = (
                f"{', '.join(moved)} look like variations and are not used: `nuisances` names those of `signal_file`, "
            )
            remarks.append(f"{said}`scale_uncertainty` and `resolution_uncertainty` are errors of the data.")
        return remarks
