"""What a request and a folder say about an unfolding: naming rule, observables, nuisances, weights.

A request is read item by item ("pT(Z) and the leading jet's width"): each names one observable, or something has to be
asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from tasks.intake import Intake, Offer, Question
from tasks.nuisances import DIRECTION, NONE, SYSTEMATIC, VARIED, moved_columns
from tasks.unfolding.naming import PLACE, Observable, Rule, plain, rules, unclear
from tools.contract import ToolError
from tools.events.names import is_weight, weight_column
from tools.events.sight import Column, Sight

WORDS = (r"unfold|entfalt", r"detector effects|correct\w* for the detector")
UNIT = re.compile(r"\b(?:in|\[)\s*(eV|keV|MeV|GeV|TeV|mm|cm|ns|ps)\b")
# Words of a request that name no observable.
FILLER = re.compile(
    "unfold|unfolding|unfolded|please|the|a|an|of|for|in|and|with|their|its|this|these|that|those|my|our|give|me|us|all|"
    "uncertainties|uncertainty|errors?|events?|data|distributions?|spectrum|spectra|measured|from|detector|level|effects|"
    "particle|correct|corrected|to|every|each|observables?|variables?|it|them|z|jets?|leading|lead|zjets|files?|folder|"
    "sample|simulation|alternative|nature|on|by|at|as|is|are|be|full|s|"
    "everything|no|without|ohne|keine|kein|"
    "bitte|die|der|das|den|und|mit|entfalten?|daten|fehler|diese|dieser|von|im|aller|alle"
)
EVERYTHING = re.compile(
    r"\beverything\b|\b(all|every|each|alle)\b.*\b(observable|variable|column|observablen)s?\b", re.IGNORECASE
)


class UnfoldingIntake(Intake):
    """A folder with a simulation; its columns pair up by a naming rule."""

    def __init__(self) -> None:
        super().__init__(WORDS, ("simulation",))

    def offer(self, request: str, sight: Sight | None) -> Offer:
        if sight is None:
            return super().offer(request, sight)
        by_stem = {name.partition(".")[0]: columns for name, columns in sight.tables.items()}
        simulation, data = by_stem.get("simulation"), by_stem.get("nature", by_stem.get("data"))
        if simulation is None or data is None:
            here = "The tables `simulation` and `nature` were not looked at (too large, missing or unreadable). "
            return Offer(remarks=[f"{here}All pairs of columns are unfolded, without nuisances."])
        return _Reading(request, simulation, data, "alternative" in by_stem).offer()


class _Reading:
    """One request, read against the columns of simulation and data."""

    def __init__(self, request: str, simulation: Sequence[Column], data: Sequence[Column], alternative: bool) -> None:
        self.request, self.alternative = request, alternative
        self.simulation = {column.name: column for column in simulation}
        self.data = [column.name for column in data]
        self.rule = Rule("", "")  # until one is found
        self.options: dict[str, object] = {}
        self.questions: list[Question] = []
        self.remarks: list[str] = []

    def offer(self) -> Offer:
        head, nuisances = _parts(self.request)
        found = rules(list(self.simulation), self.data)
        names = max(found.values(), key=len, default=[])
        if len(found) == 1:
            rule = next(iter(found))
            self.options |= {"reco": rule.reco, "gen": rule.gen}
            self.rule = rule
            chosen = self._observables(head, names)
            self._nuisances(nuisances, chosen or names)
            self._truth(chosen or names)
        else:
            said = unclear(found, list(self.simulation), self.data)
            self._ask("gen" if found else "observables", f"{said[0].upper()}{said[1:]}")
        if not self.alternative:
            self.remarks.append("There is no other simulation: no closure test, and no error for the simulation used.")
        return Offer(options=self.options, questions=self.questions, remarks=self.remarks)

    def _ask(self, about: str, text: str) -> None:
        self.questions.append(Question(about=about, text=text))

    def _observables(self, head: str, names: Sequence[str]) -> list[str]:
        """Find what is asked for, item by item."""
        chosen: list[str] = []
        units: dict[str, str] = {}
        for item in () if EVERYTHING.search(head) else _items(head):
            unit = UNIT.search(item)
            matched = _named(item.replace(unit[0], "") if unit else item, names)
            if len(matched) == 1:
                chosen.append(matched[0])
                if unit:
                    units[matched[0]] = unit[1]
            elif matched or _meant(item):
                these = ", ".join(matched or names)
                self._ask("observables", f"Which observables are meant by {item.strip()!r}? There are {these}.")
                return []
        chosen = list(dict.fromkeys(chosen))
        if not chosen:
            self.remarks.append(f"All observables are unfolded: {', '.join(names)}.")
            chosen = list(names)
        odd = any(plain(name) != name for name in chosen)
        self.options["observables"] = {plain(n): list(self._pair(n)) for n in chosen} if odd else chosen
        if units:
            self.options["units"] = {plain(name): unit for name, unit in units.items()}
        if left := [name for name in names if name not in chosen]:
            self.remarks.append(f"Not unfolded: {', '.join(left)}; `also` takes what tells more of the events.")
        if unknown := [name for name in chosen if name not in units]:
            self.remarks.append(f"Units are those of the columns, unless `units` states them: {', '.join(unknown)}.")
        return chosen

    def _pair(self, name: str) -> tuple[str, str]:
        return self.rule.reco.replace(PLACE, name), self.rule.gen.replace(PLACE, name)

    def _nuisances(self, said: str, names: Sequence[str]) -> None:
        """Find variations that the request names; ask about columns that look like them if it names none."""
        pairs = [Observable(n, *self._pair(n)) for n in names]
        levels = {column for x in pairs for column in (x.reco, x.gen)}
        moves = moved_columns(list(self.simulation), {x.name: x.reco for x in pairs}, levels)
        of_moves = {column for each in moves.values() for column in each.values()}
        free = [c for c in self.simulation if c not in levels | of_moves and not c.startswith("pass_")]
        weights = [c for c in free if VARIED.fullmatch(c)]
        endings = [each for each in moves if DIRECTION.fullmatch(each)]
        words = re.findall(r"[\w*?.]+", said)
        named = (
            [w for w in words if w.strip("*?_.") and _matches(w, [*free, *moves])] if SYSTEMATIC.search(said) else []
        )
        entries = list(dict.fromkeys(w.rstrip(".") for w in named))
        looks = [*weights, *endings]
        left = [each for each in looks if not any(fnmatchcase(each, entry) for entry in entries)]
        if entries:
            self.options["nuisances"] = entries
            if left:
                self.remarks.append(f"Look like variations and are not used: {', '.join(left)}.")
        elif looks and not NONE.search(self.request):
            text = f"Which of {', '.join(looks)} are variations of the simulation that enter the errors? [] for none."
            self._ask("nuisances", text)
        elif said and SYSTEMATIC.search(said) and not NONE.search(self.request):
            self._ask(
                "nuisances", f"Which columns are variations? The simulation has {', '.join(free) or 'no others'}."
            )
        self._weights([c for c in free if any(fnmatchcase(c, e) for e in (entries or weights))], entries)

    def _weights(self, spare: Sequence[str], entries: Sequence[str]) -> None:
        """Find the weights of events, and what those of the nuisances mean beside them."""
        try:
            nominal = weight_column(self.simulation, "weights", "the simulation", spare)
        except ToolError:
            like = [name for name in self.simulation if is_weight(name) and name not in spare]
            self._ask("weights", f"Which column has the weights of the simulated events: {', '.join(like)}?")
            return
        if nominal is None:
            return
        self.options["weights"] = nominal
        column = self.simulation[nominal]
        varied = [c for c in spare if any(fnmatchcase(c, entry) for entry in entries)]
        if varied and not column.low == column.high == 1:
            text = f"Are {', '.join(varied)} all of the weight of an event (total) or factors to {nominal} (factor)?"
            self._ask("nuisance_weights", text)

    def _truth(self, names: Sequence[str]) -> None:
        if not all(self._pair(name)[1] in self.data for name in names):
            self.remarks.append("The data have no particle level: nothing is compared with a truth.")


def _parts(request: str) -> tuple[str, str]:
    """Return what is said about observables, and the sentence or clause on nuisances."""
    pieces = re.split(r"(?<=[;.!?])\s+", request)
    nuisances = [piece for piece in pieces if SYSTEMATIC.search(piece)]
    head = [piece for piece in pieces if piece not in nuisances]
    if not head and nuisances:  # in one clause: "unfold x with nuisances y"
        front, _, behind = nuisances[0].partition(match[0]) if (match := SYSTEMATIC.search(nuisances[0])) else ("",) * 3
        return front, f"{match[0]}{behind}" if match else ""
    return " ".join(head), " ".join(nuisances)


def _items(text: str) -> Iterator[str]:
    for item in re.split(r",|;|\.(?:\s|$)|\?|\b(?:and|und|as well as|sowie)\b", text, flags=re.IGNORECASE):
        if item.strip():
            yield item


def _words(text: str) -> list[str]:
    """Return words in lower case, names in camel case taken apart.

    >>> _words("pT(Z) and jetWidth")
    ['pt', 'z', 'and', 'jet', 'width']
    """
    text = re.sub(r"\bp_?T\b", "pt", text)
    return re.findall(r"[a-z]+\d*|\d+", re.sub(r"([a-z])([A-Z])", r"\1 \2", text).lower())


def _named(item: str, names: Sequence[str]) -> list[str]:
    """Return the observables of which most is said in the item: several if it cannot be told which."""
    words = _words(item)
    runs = {"".join(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words))}
    runs |= {"".join(reversed(words[i : i + 2])) for i in range(len(words))}
    scores = {}
    for name in names:
        if name.lower() in item.lower().split() or re.sub(r"\W|_", "", name.lower()) in runs:
            scores[name] = 2.0
            continue
        parts = _words(name.replace("_", " "))
        said = [part for part in parts if _said(part, words)]
        telling = [part for part in said if not FILLER.fullmatch(part)]
        scores[name] = len(said) / len(parts) if telling else 0.0
    most = max(scores.values(), default=0.0)
    return [name for name, score in scores.items() if score == most > 0]


def _said(part: str, words: Sequence[str]) -> bool:
    """Return whether a part of a name is one of the words, begins one (mult, multiplicity) or ends one (jetmasse)."""
    return part in words or (len(part) > 3 and any(word.startswith(part) or part in word for word in words))


def _meant(item: str) -> bool:
    """Return whether an item that matches nothing names something."""
    return any(not (FILLER.fullmatch(word) or word.isdigit()) for word in _words(item))


def _matches(word: str, columns: Sequence[str]) -> bool:
    return any(fnmatchcase(column, word.rstrip(".")) for column in columns)
