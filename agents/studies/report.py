"""`report.html`, `results.json` and `outcomes.csv` of a study, finished or not, from its folder.

The same outcomes give the same bytes. Text from models and services is shown and never interpreted: HTML is escaped by
default, and the page forbids scripts and external content.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader
from pydantic import ValidationError

from agents.studies import plots, verdict
from agents.studies.analysis import analyse
from agents.studies.best_of import derived
from agents.studies.cells import cells_of
from agents.studies.outcome import Outcome, read_outcome
from agents.studies.results import CoverageRow, StudyResult
from agents.studies.study import STUDY, Study
from agents.studies.table import answered, measured_sets, metric_of
from agents.trace.report import environment as trace_environment
from agents.trace.store import TRACE
from tasks.writing import NONE
from tools.files import write_whole

VIEW = "http://127.0.0.1:8420/runs"  # default address of `beamcrew view`
FAULTS_SHOWN = 200  # per kind, on the page


def write_study_report(folder: Path) -> StudyResult:
    """Write the three files into a study's folder and return the result. Raises ValueError if it contains no study."""
    try:
        study = Study.model_validate_json((folder / STUDY).read_bytes())
    except OSError as error:
        raise ValueError(f"{folder}: contains no study: {STUDY}: {error.strerror}") from None
    except ValidationError as error:
        raise ValueError(f"{folder / STUDY}: {error.error_count()} invalid fields: {error}") from None
    outcomes, damaged = read_outcomes(folder, study)
    result = analyse(study, outcomes, damaged, _versions(folder, outcomes))
    write_whole(folder / "outcomes.csv", table(outcomes, study).encode())
    write_whole(folder / "report.html", page(result, study, outcomes).encode())
    write_whole(folder / "results.json", (result.model_dump_json(indent=1) + "\n").encode())
    return result


def read_outcomes(folder: Path, study: Study) -> tuple[list[Outcome], list[str]]:
    """Return the outcomes so far, and the names of cells whose outcome is unreadable or belongs to another cell.

    Raises ValueError for outcomes of another format.
    """
    outcomes, damaged = [], []
    for cell in cells_of(study):
        try:
            outcome = read_outcome(folder / cell.name)
        except (OSError, ValidationError):
            damaged.append(cell.name)
            continue
        if outcome is None:
            continue
        known = (cell.name, cell.arm.name, cell.wording, cell.dataset.name, cell.repeat, cell.seed)
        said = (outcome.cell, outcome.backend, outcome.wording, outcome.dataset, outcome.repeat, outcome.seed)
        outcomes.append(outcome) if said == known else damaged.append(cell.name)
    return outcomes, damaged


def table(outcomes: Sequence[Outcome], study: Study) -> str:
    """Return a CSV table with one line per run, for spreadsheets and data frames.

    `metric` is the primary metric as it enters the statistics; empty if the data have no signal to measure it on.
    """
    measured = measured_sets(outcomes)
    rows = [_row(outcome, study, outcome.dataset in measured) for outcome in sorted(outcomes, key=lambda o: o.cell)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names or ["cell"], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _row(outcome: Outcome, study: Study, measured: bool) -> dict[str, Any]:
    plain = outcome.model_dump(
        mode="json", exclude={"format", "truth", "answer", "steering", "sealed", "faults", "cost"}
    )
    row = plain | {
        "metric": metric_of(outcome, study.primary.failure) if measured else None,
        "answered": answered(outcome),
    }
    for group in ("truth", "answer", "cost"):
        values = getattr(outcome, group)
        fields = values.model_dump(mode="json", exclude={"numbers"}) if values else {}
        row |= {f"{group}_{name}": value for name, value in fields.items()}
    claimed = outcome.answer.numbers if outcome.answer else {}
    for name in [quantity.name for quantity in study.judge.quantities]:
        value = claimed.get(name)
        row |= {f"truth_{name}": outcome.truth.numbers.get(name)}
        row |= {f"answer_{name}": value and value.value, f"answer_{name}_error": value and value.error}
    steering = outcome.steering
    row |= {"steering": steering and steering.value, "steering_error": steering and steering.error}
    for name, metric in sorted(outcome.sealed.items()):
        row |= {f"sealed_{name}": metric.value, f"sealed_{name}_error": metric.error}
    row["faults"] = " ".join(sorted({fault.kind for fault in outcome.faults}))
    return row


def page(result: StudyResult, study: Study, outcomes: Sequence[Outcome]) -> str:
    """Return the self-contained page with its plots; links to runs are relative to the study's folder."""
    runs = {arm.name: [o for o in outcomes if o.backend == arm.name and not o.missing] for arm in result.arms}
    runs |= {name: [o for o in rows if not o.missing] for name, rows in derived(outcomes, study).items()}
    shown = {
        "strips": plots.strips(result, runs, run_link),
        "passes": plots.passes(result),
        "null": plots.null_p_values(result, runs, run_link),
        "cost": plots.cost(result, runs, run_link),
        "faults": plots.faults(result),
    }
    return (
        environment()
        .get_template("study.html.j2")
        .render(
            r=result,
            study=study,
            plots={name: svg for name, svg in shown.items() if svg is not None},
            covered=_covered(result),
            kinds=[kind for kind in plots.KINDS if any(kind in arm.faults for arm in result.arms)],
            lost=[outcome for outcome in outcomes if outcome.missing],
            metric=study.primary.metric,
        )
    )


def _covered(result: StudyResult) -> list[tuple[str, str, CoverageRow]]:
    """Return the backends' coverage of the quantities that they claimed: backend, quantity and numbers."""
    titles = {q.name: f"{q.title} [{q.unit}]" if q.unit else q.title for q in result.quantities}
    rows = [(arm.name, titles[name], row) for arm in result.arms for name, row in arm.coverage.items()]
    return [(arm, title, row) for arm, title, row in rows if row.one.n or row.without]


def environment() -> Environment:
    """Return the template environment: the filters of run reports, and those of this page."""
    loaded = trace_environment().overlay(loader=PackageLoader("agents.studies"))
    loaded.filters = loaded.filters | {  # an overlay shares the dictionaries of the environment below
        "percent": verdict.percent,
        "points": verdict.points,
        "kind": plots.label,
        "number": three_digits,
        "two": lambda value: NONE if value is None else f"{value:.2f}".replace("-", "−"),
        "pvalue": pvalue,
    }
    loaded.globals = loaded.globals | {
        "between": verdict.between,
        "count": verdict.count,
        "colour_of": plots.colour_of,
        "fault_link": fault_link,
        "FAULTS_SHOWN": FAULTS_SHOWN,
    }
    return loaded


def three_digits(value: float | None) -> str:
    """Format a number to three digits: `0.0123`, `−3.51`, `22,600`."""
    if value is None:
        return NONE
    size = abs(float(f"{value:.3g}"))
    return f"{'−' if value < 0 and size else ''}{f'{size:,.0f}' if size >= 1000 else f'{size:.3g}'}"


def pvalue(p: float | None) -> str:
    """Format a p-value: `0.012`, `< 0.0001`."""
    return NONE if p is None else "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def run_link(outcome: Outcome) -> str:
    """Return the link to a run's report, relative to the study's folder."""
    return f"{quote(outcome.cell)}/report.html"


def fault_link(cell: str, event: int | None) -> str:
    """Return the link to an event of a run in `beamcrew view`, which must be showing the study's folder."""
    return f"{VIEW}/{quote(cell, safe='')}" + (f"#e{event}" if event is not None else "")


def _versions(folder: Path, outcomes: Sequence[Outcome]) -> list[dict[str, str]]:
    """Return the distinct sets of versions that the runs used, from the first lines of their traces."""
    found: dict[str, Mapping[str, str]] = {}
    for outcome in outcomes:
        try:
            with (folder / outcome.cell / TRACE).open("rb") as file:
                begun = json.loads(file.readline())
            versions = {str(name): str(value) for name, value in begun["versions"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        found[json.dumps(versions, sort_keys=True)] = versions
    return [dict(found[key]) for key in sorted(found)]
