"""Files for people who do not use this project, made from the trace alone: `beamcrew export`.

report.pdf             the answer with its figures
figures/NAME.pdf .png  each figure of the report, and NAME.csv, the numbers in it
hepdata/               the tables of the result, and submission.tar.gz (the extra `publish`)
NAME.json              documents of the task, such as a statistical model
rerun.sh               checks the trace and runs every command again, without a model
"""

from __future__ import annotations

import json
from pathlib import Path

from agents.trace import pdf, plots
from agents.trace.events import RunStarted
from agents.trace.result import RunResult, first_event, result_of
from agents.trace.shown import page_of, run_of, task_of
from agents.trace.store import read_trace, trace_sha256
from tasks.page import Block, Numbers, Page, Plot, Publication, Table, Text
from tasks.plotting import pdf as as_pdf
from tasks.plotting import png
from tasks.score import truth_known
from tools.files import write_whole
from tools.publication import csv_text, hepdata

FOLDER = "export"  # below the run's folder
RERUN = """#!/bin/sh
# Makes the numbers of the run {run} again:
# every command and every grade, with recorded replies instead of a model. `beamcrew rerun` checks the inputs, names
# versions that differ, and says which numbers have moved (exit status 6).
#
#   sh rerun.sh [FOLDER OF THE RUN [OPTIONS OF beamcrew rerun]]
#
# Made with:
{versions}
#
# Inputs (SHA-256):
{inputs}
set -eu
here=$(cd "$(dirname "$0")" && pwd)
run=${{1:-$here/..}}
[ $# -eq 0 ] || shift
echo "{trace}  $run/trace.jsonl" | sha256sum --check --quiet
exec beamcrew rerun "$run" "$@"
"""


def export(run_dir: Path, into: Path) -> list[str]:
    """Write all files below `into`; return what was left out, and why. Raises TraceError if there is no run."""
    events = read_trace(run_dir)
    started, result = first_event(events), result_of(events, trace_sha256(run_dir))
    task = task_of(started)
    page = page_of(events, task)
    steering = Plot(
        "steering",
        "Steering metric of each iteration with its error.",
        lambda: plots.steering(result.iterations, result.best_iteration),
        plots.steering_data(result.iterations),
    )
    pictures = {plot.name: _figure(into / "figures", plot) for plot in [*page.plots(), steering]}
    shown = {name: picture for name, picture in pictures.items() if picture}
    write_whole(into / "report.pdf", pdf.report(result.request, _sections(result, page, steering), shown))
    write_whole(into / "rerun.sh", _rerun(started, result).encode())
    if task is None:
        return [f"tables: the task {started.task} is not installed here"]
    return _publish(task.publication(run_of(events, task)), result, into)


def _publish(publication: Publication, result: RunResult, into: Path) -> list[str]:
    for name, document in publication.documents.items():
        write_whole(into / f"{name}.json", (json.dumps(document, indent=1) + "\n").encode())
    if not publication.tables:
        return ["hepdata: the run has no numbers to publish"]
    try:
        hepdata(publication.tables, into / "hepdata", f"{result.request} beamcrew run {result.run}: {result.headline}")
    except ImportError as error:
        return [f"hepdata: needs the extra `publish` ({error})"]
    return []


def _figure(folder: Path, plot: Plot) -> bytes | None:
    """Write a figure and its numbers; return it as PNG, None if it could not be drawn."""
    drawn = plot.draw()
    if drawn is None:
        return None
    picture = png(drawn)
    write_whole(folder / f"{plot.name}.pdf", as_pdf(drawn))
    write_whole(folder / f"{plot.name}.png", picture)
    if plot.data:
        write_whole(folder / f"{plot.name}.csv", csv_text(plot.data).encode())
    return picture


def _sections(result: RunResult, page: Page, steering: Plot) -> list[tuple[str, list[Block]]]:
    who = "" if result.is_llm else " No LLM was involved: the built-in rules planned and wrote."
    text = str((result.claim or {}).get("text", "")) or "The run ended before the crew gave an answer."
    said = f"beamcrew report, task {result.task}, run {result.run}, {result.backend}: {result.status}.{who}"
    null = [Text(f"A null result: {result.null_result}")] if result.null_result else []
    answer: list[Block] = [Text(said), *null, Text(result.headline), Text(text), *page.answer]
    sections: list[tuple[str, list[Block]]] = [("Answer", [*answer, *_claims(result)])]
    if page.confirmation:
        sections.append((page.confirmation.title, [Text(page.confirmation.lead), *page.confirmation.blocks]))
    sections += [("Steering", [steering]), ("The best iteration", list(page.best))]
    sealed: list[Block] = (
        [Numbers(result.sealed), *page.sealed] if result.sealed else [Text("None: no truth was used.")]
    )
    sections.append(("Sealed metrics", sealed))
    return sections


def _claims(result: RunResult) -> list[Block]:
    rows = [
        (c.title, c.written(c.claimed, c.claimed_error), c.written(c.harness, c.harness_error), c.written(c.truth))
        for c in result.claims
    ]
    known = truth_known(result.claims)
    head = ("quantity", "claimed", "computed by the harness", "truth")
    n = len(head) if known else len(head) - 1
    return [Table("", head[:n], [row[:n] for row in rows])] if rows else []


def _rerun(started: RunStarted, result: RunResult) -> str:
    versions = "\n".join(f"#   {name} {version}" for name, version in started.versions.items())
    inputs = "\n".join(f"#   {sha}  {path}" for path, sha in started.inputs.items())
    return RERUN.format(run=started.run, versions=versions, inputs=inputs, trace=result.trace_sha256)
