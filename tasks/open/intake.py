"""What a request and a table say about a comparison, a plot or a mean: the column, its unit, the groups.

The rules offer what the built-in analyst can do, and ask for what they cannot tell.
"""

from __future__ import annotations

import re

from tasks.intake import Intake, Offer, Question
from tools.events.names import is_weight
from tools.events.sight import Column, Sight

WORDS = (
    r"\bcompar|vergleich",
    r"\bplot\b|\bdraw\b|histogram|distribution|zeichne|verteilung",
    r"(plot|draw|histogram)\b.*spectrum",  # a picture, not a search
    r"\b(mean|average|mittelwert)s?\b",
    r"how many|wie viele|\bcount\b|number of (events|rows|pairs|entries)|\bfraction\b|\bshare\b|anteil",
    r"\bdescribe|\bsummari[sz]e|beschreib",
    r"\bdiffer(s|ent|ence|ences)?\b|\bshift(s|ed)?\b|unterschied|verschieb",
    r"\blog(arithmic|arithmisch)?\b",
)
BEYOND = re.compile(r"\bfit(s|ted)?\b|correlat|efficien|\btrain|generat|classif|regress", re.IGNORECASE)
CONDITION = re.compile(r"\bcut\b|above|below|[<>]", re.IGNORECASE)  # beyond the rules unless they can read it
NUMBER = r"(-?\d+(?:\.\d+)?)"
COMPARED = {  # what people write for a comparison
    ">=": r">=|at least|mindestens",
    "<=": r"<=|at most|höchstens",
    ">": r">|above|over|(?:greater|larger|more|higher) than|über|größer als",
    "<": r"<|below|under|(?:less|smaller|lower) than|unter|kleiner als",
}
COMPARES = re.compile(
    r"compar|vergleich|differ|shift|unterschied|verschieb|\bversus\b|\bvs\b|same.?sign.*opposite.?sign|opposite.?sign.*same.?sign",
    re.IGNORECASE,
)
LOG = re.compile(WORDS[-1], re.IGNORECASE)
UNIT = re.compile(r"\b(eV|keV|MeV|GeV|TeV|mm|cm|ns|ps)\b")
SPELLED = {"os": r"opposite.?sign", "ss": r"same.?sign"}  # values that people write out
EXAMPLE = '{"barrel": "abs(eta) < 1.2", "endcap": "abs(eta) > 1.2"}'
LIMITS = "Without a language model: counts, means, widths and histograms, nothing else."


class OpenIntake(Intake):
    """A comparison, a plot or a mean of one column."""

    def __init__(self) -> None:
        super().__init__(WORDS)

    def fit(self, request: str, sight: Sight | None) -> int:
        if sight is None or BEYOND.search(request) or (CONDITION.search(request) and not _condition(request, sight)):
            return 0
        return super().fit(request, sight)

    def accepts(self, sight: Sight) -> bool:
        return sight.kind == "table" and any(column.kind == "number" for column in sight.columns)

    def offer(self, request: str, sight: Sight | None) -> Offer:
        assert sight is not None  # else it does not fit
        options: dict[str, object] = {}
        questions: list[Question] = []
        chosen = _condition(request, sight)
        column = _column(request, sight)
        if chosen and isinstance(column, list):  # the condition is on one column, the question on the other
            rest = [each for name in column if not chosen.startswith(f"{name} ") and (each := sight.column(name))]
            column = rest[0] if len(rest) == 1 else column
        if isinstance(column, Column):
            options["column"] = column.name
            spread = f" It reaches from {column.low:.4g} to {column.high:.4g}." if column.low is not None else ""
        elif column:
            text = f"Which column, or expression of columns, is asked about? There are {', '.join(column)}."
            questions.append(Question(about="column", text=text))
            spread = ""
        units = set(UNIT.findall(request))
        if len(units) == 1:
            options["unit"] = units.pop()
        elif column:
            questions.append(Question(about="unit", text=f"In which unit is it? 1 if it has none.{spread}"))
        if LOG.search(request):
            options["log"] = True
        groups = _groups(request, sight)
        if chosen and not groups:
            groups = {chosen: chosen, f"not {chosen}": f"not ({chosen})"}
        elif chosen:
            options["cut"] = chosen
        if groups:
            options["groups"] = groups
        elif COMPARES.search(request):
            text = f"Which rows are compared? Conditions by name, such as {EXAMPLE}."
            questions.append(Question(about="groups", text=text))
        return Offer(options=options, questions=questions, remarks=[LIMITS, *_remarks(sight)])


def _column(request: str, sight: Sight) -> Column | list[str]:
    """Return the column that the request names, by its name or by words of it; else the names to choose from.

    An empty list: the request asks about all columns.
    """
    numeric = [column for column in sight.columns if column.kind == "number"]
    words = {word.lower() for word in re.findall(r"\w+", request)}
    exact = [column for column in numeric if column.name.lower() in words]
    if len(exact) == 1:
        return exact[0]
    matched = {column.name: len([part for part in _parts(column.name) if _said(part, words)]) for column in numeric}
    most = max(matched.values())
    found = exact or [column for column in numeric if most and matched[column.name] == most]
    if len(found) == 1:
        return found[0]
    if not found and re.search(r"\b(each|every|all)\b|these data|the data", request, re.IGNORECASE):
        return []
    return [column.name for column in found or numeric]


def _parts(name: str) -> list[str]:
    return re.findall(r"[a-z]+\d*", name.lower())


def _said(part: str, words: set[str]) -> bool:
    return part in words or (len(part) > 3 and any(word.startswith(part) for word in words))


def _groups(request: str, sight: Sight) -> dict[str, str]:
    """Return groups by the values of one column of text, if the request names at least two of them."""
    for column in sight.columns:
        if column.kind != "text":
            continue
        said = [v for v in column.values if re.search(_spelled(v), request, re.IGNORECASE) and "'" not in v]
        if len(said) > 1 and column.name.isidentifier():
            return {value: f"{column.name} == '{value}'" for value in said}
    return {}


def _condition(request: str, sight: Sight) -> str | None:
    """Return the first condition on a column of numbers that the request spells out, such as `pt > 20`."""
    for column in sight.columns:
        if column.kind != "number" or not column.name.isidentifier():
            continue
        name = rf"\b{re.escape(column.name)}\b\s*(?:is|are|of|ist|von)?\s*"
        if between := re.search(
            rf"{name}(?:between|zwischen)\s*{NUMBER}\s*(?:and|und)\s*{NUMBER}", request, re.IGNORECASE
        ):
            return f"{column.name} > {between[1]} and {column.name} < {between[2]}"
        for sign, words in COMPARED.items():
            if found := re.search(rf"{name}(?:{words})\s*{NUMBER}", request, re.IGNORECASE):
                return f"{column.name} {sign} {found[1]}"
    return None


def _spelled(value: str) -> str:
    """Return the pattern of a value in a request, also written out."""
    return rf"\b({re.escape(value)}|{SPELLED.get(value.lower(), re.escape(value))})\b"


def _remarks(sight: Sight) -> list[str]:
    remarks = []
    if weights := [column.name for column in sight.columns if column.kind == "number" and is_weight(column.name)]:
        remarks.append(f"Rows are weighted by {', '.join(weights)}.")
    if hidden := [column.name for column in sight.columns if column.kind == "label"]:
        remarks.append(f"No agent sees {', '.join(hidden)}, which looks like truth.")
    return remarks
