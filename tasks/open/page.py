"""The page of an open question: numbers, tables and figures of the crew's script, and what the checks say of them.

The harness draws the figures itself, from the numbers that were handed in, so that axes and units are what they say.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawn
from pydantic import Field

from tasks.open.checks import ALPHA, TOLERANCE, Check, Stability
from tasks.page import Block, Confirmation, Page, Plot, Run, Table, Text, Warning
from tasks.plotting import figure, labels, styled
from tasks.score import CheckedNumber, Score
from tasks.task import Details
from tasks.writing import measured
from tools.analysis.results import Figure, Number, Results, Series
from tools.analysis.results import Table as ResultTable
from tools.publication import Column, Data, bins

IN_TEXT = "in the text: "
ROWS = 30  # of a table that are shown
LEAD = (
    "The harness ran the commands that had made the answer once more, without any agent, in a fresh sandbox, with "
    "halves and resamples of the data that no agent had seen."
)
GATES = (
    f"Right errors fail one of the gates on halves and resamples with a probability of {ALPHA:.0%} at each look; the "
    f"spread may be off by a factor of {TOLERANCE:g}. Rows are taken to be independent. No check tells whether "
    "the script answers the question: read it."
)


class OpenDetails(Details):
    """The results, what varies how, and the checks; empty if there is nothing."""

    results: Results | None = None
    checks: list[Check] = Field(default_factory=list)
    stability: Stability = Field(default_factory=dict)
    rows: int = 0

    def known(self) -> dict[str, Any]:
        """Return all numbers that a text may quote: what was computed or chosen, and what the checks say."""
        found = self.results or Results()
        return {
            "numbers": [each.model_dump(include={"value", "error", "systematic"}) for each in found.numbers],
            "tables": [[v for v in c.values if isinstance(v, float)] for table in found.tables for c in table.columns],
            "figures": [[s.x, s.y, s.error] for figure in found.figures for s in figure.series],
            "settings": found.settings,
            "checks": [len(self.checks), sum(c.holds for c in self.checks), *(c.said for c in self.checks)],
            "rows": self.rows,
        }


def fabricated(quoted: str) -> CheckedNumber:
    """Return the verdict on a number of the text that stands in no result."""
    value = float(quoted.rstrip("%"))
    return CheckedNumber(name=f"{IN_TEXT}{quoted}", claimed=value, harness=None, agrees=False)


def page(run: Run) -> Page:
    """Return the results below the answer, with warnings, then the checks."""
    found = OpenDetails.of(run.chosen.score) if run.chosen else OpenDetails()
    confirmed = OpenDetails.of(run.confirmed)
    last = confirmed if confirmed.checks else found
    made_up = [check.name.removeprefix(IN_TEXT) for check in run.checks if check.agrees is False]
    answer: list[Block] = []
    if made_up:
        answer.append(Warning("The harness", f"The answer has numbers that stand in no result: {', '.join(made_up)}."))
    answer += [Warning("The harness", f"{check.of}: {check.said}.") for check in failed(last)]
    return Page(
        answer=[*answer, *_results(found)],
        confirmation=Confirmation("Repetition", LEAD, [*_checks(confirmed), Text(GATES, soft=True)])
        if run.confirmed
        else None,
        best=_checks(found),
    )


def shown(score: Score) -> list[Block]:
    """Return results and checks of one score."""
    found = OpenDetails.of(score)
    return [*_results(found), *_checks(found)]


def failed(found: OpenDetails) -> list[Check]:
    """Return the checks that do not hold."""
    return [check for check in found.checks if not check.holds]


def _results(found: OpenDetails) -> list[Block]:
    if found.results is None:
        return []
    results, blocks = found.results, list[Block]()
    if results.numbers:
        rows = [
            (n.name, measured(n.value, n.error, shown_unit(n.unit)), _systematic(n), n.what) for n in results.numbers
        ]
        head = ("number", "value", "systematic error", "what it is")
        blocks.append(Table("Numbers", head, rows, note="Errors are statistical."))
    blocks += [_table(table) for table in results.tables]
    blocks += [
        _plot(f"figure_{k}", f"{each.title or each.file}, drawn by the harness from its numbers.", each)
        for k, each in enumerate(results.figures, 1)
    ]
    if results.files:
        blocks.append(Table("Files", ("file", "what it is"), [(each.file, each.what) for each in results.files]))
    if results.settings:
        each = [(name, f"{value:g}" if isinstance(value, float) else value) for name, value in results.settings.items()]
        blocks.append(Table("Chosen, not measured", ("setting", "value"), each))
    return blocks


def _checks(found: OpenDetails) -> list[Block]:
    if not found.checks:
        return []
    kinds = list(dict.fromkeys(check.what for check in found.checks))
    rows = [
        (of, *(_mark([check for check in found.checks if (check.of, check.what) == (of, kind)]) for kind in kinds))
        for of in dict.fromkeys(check.of for check in found.checks)
    ]
    blocks: list[Block] = [Table("Checks", ("", *kinds), rows)]
    if wrong := failed(found):
        blocks.append(Table("What does not hold", ("of", "why"), [(check.of, check.said) for check in wrong]))
    return blocks


def _mark(checks: Sequence[Check]) -> str:
    return "" if not checks else "yes" if all(check.holds for check in checks) else "no"


def _systematic(number: Number) -> str:
    return "" if number.systematic is None else f"{number.systematic:.2g} {shown_unit(number.unit)}".strip()


def shown_unit(unit: str) -> str:
    """Return the unit as it is written behind a number."""
    return "" if unit == "1" else unit


def _table(table: ResultTable) -> Table:
    head = [f"{each.name} [{each.unit}]" if shown_unit(each.unit) else each.name for each in table.columns]
    columns = [[v if isinstance(v, str) else f"{v:.6g}" for v in each.values[:ROWS]] for each in table.columns]
    rows = len(table.columns[0].values)
    note = f"The first {ROWS} of {rows} rows." if rows > ROWS else ""
    return Table(table.title, head, list(zip(*columns, strict=False)), note=note)


def _plot(name: str, caption: str, made: Figure) -> Plot:
    return Plot(name, caption, partial(draw, made), _data(name, caption, made))


def _data(name: str, caption: str, made: Figure) -> Data | None:
    """Return the numbers of a figure as a table, if its series are over the same points or bins."""
    if not made.series or any(each.x != made.series[0].x for each in made.series):
        return None
    x, unit = made.series[0].x, shown_unit(made.x.unit)
    binned = len(x) == len(made.series[0].y) + 1
    axis = bins(made.x.label, x, unit) if binned else Column(made.x.label, x, unit)
    columns = [
        Column(
            each.label or made.y.label,
            each.y,
            shown_unit(made.y.unit),
            {} if each.error is None else {"statistical": each.error},
        )
        for each in made.series
    ]
    return Data(name, caption, [axis], columns)


def draw(made: Figure) -> Drawn | None:
    """Plot the series of a figure."""
    series = [each for each in made.series if each.y]
    if not series:
        return None
    with styled():
        drawn, axes = figure(6.4, 4.2)
        for each in series:
            _series(axes, each)
        if made.log_x:
            axes.set_xscale("log", nonpositive="clip")
        if made.log_y:
            axes.set_yscale("log", nonpositive="clip")
        if any(each.label for each in series):
            axes.legend()
        labels(axes, _axis(made.x.label, made.x.unit), _axis(made.y.label, made.y.unit))
        return drawn


def _series(axes: Any, each: Series) -> None:
    y, x = np.array(each.y), np.array(each.x)
    label = _plain(each.label) or None
    if len(x) == len(y) + 1:
        steps = axes.stairs(y, x, baseline=None, label=label)
        if each.error is not None:
            middle = (x[1:] + x[:-1]) / 2
            axes.errorbar(middle, y, np.abs(each.error), fmt="none", lw=0.8, color=steps.get_edgecolor())
    elif each.error is not None:
        axes.errorbar(x, y, np.abs(each.error), fmt="o", ms=3, lw=0.8, label=label)
    else:
        axes.plot(x, y, label=label)


def _axis(label: str, unit: str) -> str:
    return _plain(f"{label} [{unit}]" if shown_unit(unit) and unit not in label else label)


def _plain(text: str) -> str:
    """Return text that matplotlib draws as it is: unbalanced formulas from a crew would be errors."""
    return text.replace("$", r"\$")[:100]
