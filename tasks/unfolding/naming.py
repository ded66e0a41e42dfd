"""Which columns belong together: an observable at detector ("reco") and at particle ("gen") level, by a naming rule.

A rule is a template for each level, such as `{name}_reco` and `{name}_gen`. Files that follow one need no list of
columns: the rule under which most columns pair up is found, and if two are as good, it has to be said.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from tasks.task import TaskError

RECO_WORDS = ("reco", "rec", "det", "detector", "measured", "meas")
GEN_WORDS = ("gen", "true", "truth", "particle", "part")
FLAG = re.compile(r"pass(es|ed)?", re.IGNORECASE)
NAME = re.compile(r"[A-Za-z]\w{0,39}")
PLACE = "{name}"


class Rule(NamedTuple):
    """Templates of the columns at detector and at particle level."""

    reco: str
    gen: str


@dataclass(frozen=True)
class Observable:
    """Its columns in the files, its unit (empty: none is stated) and the edges of its bins (none: quantiles)."""

    name: str
    reco: str
    gen: str
    unit: str = ""
    edges: tuple[float, ...] = ()


def templates(columns: Collection[str], words: Sequence[str]) -> dict[str, set[str]]:
    """Return the names of observables by template, for columns with one of these words in front or at the end.

    >>> templates(["pt_reco", "reco_m", "w"], ["reco"])
    {'{name}_reco': {'pt'}, 'reco_{name}': {'m'}}
    """
    found: dict[str, set[str]] = {}
    each = "|".join(words)
    for column in columns:
        for pattern in (rf"(?P<front>({each})[_.])(?P<name>.+)", rf"(?P<name>.+)(?P<end>[_.]({each}))"):
            if match := re.fullmatch(pattern, column, re.IGNORECASE):
                parts = match.groupdict()
                if not FLAG.fullmatch(parts["name"]):
                    template = f"{parts.get('front', '')}{PLACE}{parts.get('end', '')}"
                    found.setdefault(template, set()).add(parts["name"])
    return found


def rules(simulation: Collection[str], data: Collection[str]) -> dict[Rule, list[str]]:
    """Return the rules under which most columns of the simulation pair up, with the names that the data have too.

    At detector level columns may have the plain name, if no other rule fits. Names are in the order of the columns.
    """
    reco, gen = templates(simulation, RECO_WORDS), templates(simulation, GEN_WORDS)
    found = {Rule(a, b): of & reco[a] for b, of in gen.items() for a in reco}
    if not any(_shared(rule, names, data) for rule, names in found.items()):
        found = {Rule(PLACE, b): of & set(simulation) for b, of in gen.items()}
    paired = {rule: _shared(rule, names, data) for rule, names in found.items()}
    most = max(map(len, paired.values()), default=0)
    order = list(simulation)
    return {
        rule: [name for _, name in sorted((order.index(rule.reco.replace(PLACE, name)), name) for name in names)]
        for rule, names in paired.items()
        if names and len(names) == most
    }


def _shared(rule: Rule, names: set[str], data: Collection[str]) -> set[str]:
    return {name for name in names if rule.reco.replace(PLACE, name) in data and not FLAG.fullmatch(name)}


def find(
    wanted: Sequence[str] | Mapping[str, tuple[str, str]] | None,
    also: Sequence[str],
    given: tuple[str | None, str | None],
    simulation: Collection[str],
    data: Collection[str],
) -> tuple[list[Observable], list[Observable]]:
    """Return the wanted observables (None: all pairs of the rule) and the other ones that are unfolded with them.

    `given`: the templates at detector and particle level, None to be found. Raises TaskError naming the option.
    """
    if isinstance(wanted, Mapping) and not also:
        return [Observable(name, *pair) for name, pair in wanted.items()], []
    rule, names = _rule(given, simulation, data)
    pairs = {name: Observable(name, rule.reco.replace(PLACE, name), rule.gen.replace(PLACE, name)) for name in names}
    if isinstance(wanted, Mapping):
        first = [Observable(name, *pair) for name, pair in wanted.items()]
    elif wanted is None:
        first = [replace(x, name=plain(name)) for name, x in pairs.items()]
    else:
        first = [_known("observables", name, pairs) for name in wanted]
    return first, [_known("also", name, pairs) for name in also]


def plain(name: str) -> str:
    """Return a name that results can have, of letters, digits and _.

    >>> plain("pt(Z) [GeV]"), plain("2d")
    ('pt_Z_GeV', 'x_2d')
    """
    made = re.sub(r"\W+", "_", name).strip("_")[:38]
    return made if made[:1].isalpha() else f"x_{made}"


def _known(option: str, name: str, pairs: Mapping[str, Observable]) -> Observable:
    if name not in pairs:
        known = ", ".join(pairs)
        raise TaskError(
            option, name, f'one of {known}; or pairs of columns, {{"{name}": ["at detector", "at particle"]}}'
        )
    return pairs[name]


def _rule(
    given: tuple[str | None, str | None], simulation: Collection[str], data: Collection[str]
) -> tuple[Rule, list[str]]:
    """Return the rule, in which `given` templates are fixed, and the names that follow it."""
    found = rules(simulation, data)
    reco, gen = given
    if reco and gen:
        fixed = Rule(reco, gen)
        front, _, end = reco.partition(PLACE)
        names = [c[len(front) : len(c) - len(end)] for c in simulation if c.startswith(front) and c.endswith(end)]
        pairs = [n for n in names if n and gen.replace(PLACE, n) in simulation and reco.replace(PLACE, n) in data]
        found = {fixed: [name for name in pairs if not FLAG.fullmatch(name)]} if pairs else {}
    else:
        found = {rule: names for rule, names in found.items() if rule.reco == (reco or rule.reco)}
        found = {rule: names for rule, names in found.items() if rule.gen == (gen or rule.gen)}
    if len(found) != 1:
        raise TaskError("observables", None, unclear(found, simulation, data))
    return next(iter(found.items()))


def unclear(found: Mapping[Rule, Sequence[str]], simulation: Collection[str], data: Collection[str]) -> str:
    """Return what has to be said if no rule, or more than one, pairs the columns."""
    if found:
        seen = "; ".join(f"{rule.reco} with {rule.gen} ({', '.join(names)})" for rule, names in found.items())
        return (
            f"columns pair up in more than one way: {seen}. Say which by `reco` and `gen`, such as reco={{name}}_reco"
        )
    return (
        "no rule pairs the columns at detector and at particle level. Say it by `reco` and `gen`, such as "
        'reco={name}_reco gen={name}_gen, or in pairs, {"pt": ["at detector", "at particle"]}. The simulation has '
        f"{', '.join(simulation)}; the data {', '.join(data)}"
    )
