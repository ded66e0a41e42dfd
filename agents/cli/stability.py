"""`beamcrew stability`: carry out a study, or estimate its cost."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from agents.cli import options
from agents.cli.console import clear_errors, err, name_values, out

WAITS = 7  # exit status

if TYPE_CHECKING:
    from agents.studies.carry_out import Machine
    from agents.studies.estimate import ArmEstimate
    from agents.studies.results import StudyResult
    from agents.studies.study import Study


def stability(
    study: Annotated[
        str | None, typer.Argument(metavar="STUDY", help="study file *.yaml, or name of a shipped study")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="show the shipped studies and wordings")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show the run matrix and its estimated cost")] = False,
    runs: Annotated[Path, typer.Option(help="parent folder of the study's folder")] = Path("runs"),
    workers: Annotated[int, typer.Option(min=1, help="maximum number of parallel runs on this machine")] = 1,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="BACKEND=N", help="maximum number of parallel runs of a backend, for rate limits"),
    ] = None,
    scheduler: Annotated[str | None, typer.Option(help="address or scheduler file of a Dask cluster")] = None,
    data: Annotated[Path | None, typer.Option(help="file or folder with the task's data")] = None,
    sandbox: options.Sandbox = "auto",
    retry_missing: Annotated[
        bool, typer.Option("--retry-missing", help="retry cells given up for lack of a service or sandbox")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print results.json to standard output")] = False,
) -> None:
    """Run backends x wordings x data sets x repeats of one task, with statistics at the end.

    The same command continues a stopped study; no run is repeated. Exit status 7: runs wait for a service's quota.
    """
    with clear_errors():
        if listed:
            _list()
            return
        if study is None:
            raise ValueError("STUDY: name a study file or a shipped study; --list shows the shipped ones")
        from agents.studies.carry_out import Machine
        from agents.studies.study import read_study

        chosen = read_study(study)
        if dry_run:
            _matrix(chosen, runs)
            return
        machine = Machine.model_validate({"data": data and str(data.resolve()), "sandbox": sandbox})
        result, waits = _carry_out(chosen, runs, machine, workers, limit, scheduler, retry_missing)
    if as_json:
        sys.stdout.write(result.model_dump_json(indent=1) + "\n")
    if waits:
        raise typer.Exit(WAITS)


def _carry_out(
    study: Study,
    runs: Path,
    machine: Machine,
    workers: int,
    limit: list[str] | None,
    scheduler: str | None,
    retry_missing: bool,
) -> tuple[StudyResult, bool]:
    """Carry out what is left of a study; write its report and print its answer, however that ends.

    Return its result, and whether runs wait for a service's quota.
    """
    from agents.studies.board import Board
    from agents.studies.carry_out import forgive, locally, on_cluster, open_folder
    from agents.studies.cell import backend_of
    from agents.studies.report import write_study_report
    from agents.studies.rests import wake

    if scheduler is None:
        for arm in study.backends:
            backend_of(arm)  # report a missing key or library before anything is paid for
    most = _limits(limit, [arm.name for arm in study.backends])
    folder = open_folder(study, runs)
    wake(folder)  # the account may have been topped up
    if retry_missing:
        forgive(study, folder)
    err.print(Text(f"study {study.name} {study.sha256()[:12]} in {folder}"), soft_wrap=True)
    try:
        with Board(study, folder) as board:
            if scheduler is None:
                rests = locally(folder, board.left(), workers, machine, board.tell, most)
            else:
                rests = on_cluster(folder, board.left(), scheduler, machine, board.tell, study.gpu != "none")
    finally:
        result = write_study_report(folder)
        for sentence in (*result.answer.sentences, *result.answer.warnings):
            err.print(Text(sentence), soft_wrap=True)
        err.print(Text(f"report: {folder / 'report.html'}"), soft_wrap=True)
    waiting = board.waiting(rests)
    for sentence in waiting:
        err.print(Text(sentence, style="yellow"), soft_wrap=True)
    return result, bool(waiting)


def _limits(given: list[str] | None, backends: list[str]) -> dict[str, int]:
    """Parse --limit: backend -> parallel runs. Raises ValueError for an unknown backend or an invalid number."""
    limits = name_values("--limit", given)
    for name, number in limits.items():
        if name not in backends or not number.isdecimal() or number == "0":
            raise ValueError(f"--limit {name}={number}: must be one of {', '.join(backends)}, and a number >= 1")
    return {name: int(number) for name, number in limits.items()}


def _list() -> None:
    from agents.studies.study import parse_study, shipped_studies, shipped_wordings

    table = Table("study", "question", "runs")
    for name, text in shipped_studies().items():
        study = parse_study(text, name)
        runs = study.repeats * len(study.backends) * len(study.wordings) * len(study.datasets)
        table.add_row(Text(name), Text(study.question), str(runs))
    out.print(table)
    table = Table("wording", "text")
    for name, text in shipped_wordings().items():
        table.add_row(Text(name), Text(text))
    out.print(table)


def _matrix(study: Study, runs: Path) -> None:
    """Print the axes of a study and the estimated cost of what is left of it."""
    from agents.studies.board import outcome_in
    from agents.studies.cells import cells_of
    from agents.studies.estimate import estimate

    there = (outcome_in(runs / study.name / cell.name) for cell in cells_of(study))
    rows = estimate(study, [outcome for outcome in there if outcome is not None])
    out.print(Text(f"study {study.name}, sha256 {study.sha256()}"), soft_wrap=True)
    out.print(Text(study.question), soft_wrap=True)
    axes = Table("axis", "n", "what")
    axes.add_row("backends", str(len(study.backends)), Text(", ".join(arm.name for arm in study.backends)))
    axes.add_row("wordings", str(len(study.wordings)), Text(", ".join(study.wordings)))
    datasets = (
        f"{d.name} ({', '.join([f'{k}={v}' for k, v in d.options.items()] + ['fresh'] * d.fresh)})"
        for d in study.datasets
    )
    axes.add_row("data sets", str(len(study.datasets)), Text(", ".join(datasets)))
    axes.add_row("repeats", str(study.repeats), "")
    out.print(axes)
    out.print(_costs(rows))
    known = [row.dollars for row in rows if row.dollars is not None]
    unknown = len(rows) - len(known)
    left = sum(row.left for row in rows)
    note = f"; without {unknown} backend(s) of unknown price" if unknown else ""
    out.print(
        Text(f"{left} of {sum(row.runs for row in rows)} runs left, about ${sum(known):.2f}{note}; times sum over runs")
    )


def _costs(rows: list[ArmEstimate]) -> Table:
    from agents.trace.words import duration

    table = Table("backend")
    for name in ("runs", "left", "tokens", "dollars", "at most"):
        table.add_column(name, justify="right")
    table.add_column("time")
    table.add_column("from")
    for row in rows:
        time = f"< {duration(row.seconds_at_most)}" if row.seconds_at_most is not None else "unknown"
        basis = f"{row.measured} runs done" if row.measured else "two reference runs" if row.tokens else ""
        table.add_row(
            Text(row.arm),
            str(row.runs),
            str(row.left),
            "unknown" if row.tokens is None else f"{row.tokens:,.0f}",
            _dollars(row.dollars),
            _dollars(row.at_most),
            time if row.seconds is None else duration(row.seconds),
            basis,
        )
    return table


def _dollars(value: float | None) -> str:
    return "unknown" if value is None else f"${value:,.2f}"
