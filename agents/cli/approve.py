"""`beamcrew approve`: the answer to a run that waits for one, and its continuation."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from agents.cli import options
from agents.cli.asking import Person, show
from agents.cli.conclude import EXIT, conclude, watched
from agents.cli.console import clear_errors, err
from agents.trace.words import visible

if TYPE_CHECKING:
    from agents.batch.job import Job


def approve(
    run_dir: options.RunDir,
    yes: Annotated[bool, typer.Option("--yes", help="go on")] = False,
    no: Annotated[bool, typer.Option("--no", help="end the run; the reason may be given by --say")] = False,
    say: Annotated[
        str | None, typer.Option(metavar="WORDS", help="what is to change; where dollars are asked for, how many")
    ] = None,
    who: Annotated[str, typer.Option(help="who says so; default: the user of this process")] = "",
    backend: options.Backend = None,
    model: options.Model = None,
    base_url: options.BaseUrl = None,
    price: options.Price = None,
    timeout: options.Timeout = 300,
    pictures: options.Pictures = True,
    servers: options.Servers = None,
    workers: options.Workers = 2,
    as_json: options.ResultJson = False,
) -> None:
    """Answer a run that waits, and go on with it. Without an answer, show what it asks; on a terminal, ask it.

    A run that began in a batch job only gets its answer: how it goes on as a job or here is printed. Choose the
    backend and the outside servers that the run began with.
    """
    from agents.batch.job import job_of
    from agents.runs import answers
    from agents.runs.run import beginning, check_backend, check_servers, resume
    from agents.trace.store import at_work

    with clear_errors():
        asked = answers.open_question(run_dir)
        answer = _answer(yes, no, say)
        if answer is None:
            given = Person(run_dir)(asked)
            if given is None:
                show(asked)
                err.print("Answer by --yes, --no, or --say WORDS.")
                raise typer.Exit(EXIT["waiting"])
        else:
            given = answers.say(asked, answer, say or "", "command", who)
        job = job_of(run_dir)
        if job and not at_work(run_dir):
            answers.give(run_dir, given)
            _say_where(run_dir, job)
            return
        chosen = options.chosen_backend(backend, model, base_url, price, timeout, pictures)
        outside = options.outside(servers)
        check_backend(beginning(run_dir)[0], chosen)  # before the answer is given: nobody could go on with it
        check_servers(beginning(run_dir)[0], outside)
        answers.give(run_dir, given)
        if at_work(run_dir):
            err.print("The process that carries out this run goes on with this answer.")
            return
        with watched(chosen) as listeners:
            result = resume(
                run_dir, chosen, None, workers, listeners, ask=Person(run_dir, listeners[0]), servers=outside
            )
    conclude(run_dir, result, as_json)


def _say_where(run_dir: Path, job: Job) -> None:
    """Say how a run goes on that began in a batch job. What a folder names is not run for whoever opens it."""
    again = shlex.join(["beamcrew", *job.again])
    for line in (
        f"Answered. {run_dir} began in a batch job, and goes on in one, or here:",
        f"as a job again: {shlex.join(job.submit)}",
        f"here, with your environment: {again}",
    ):
        err.print(Text(visible(line)), soft_wrap=True)


def _answer(yes: bool, no: bool, say: str | None) -> Literal["yes", "no", "say"] | None:
    if yes and (no or say is not None):
        raise ValueError("--yes: goes with neither --no nor --say")
    if yes:
        return "yes"
    if no:
        return "no"
    return None if say is None else "say"
