"""`beamcrew fork`: a new run with the past of another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agents.cli import options
from agents.cli.asking import Person
from agents.cli.conclude import conclude, watched
from agents.cli.console import clear_errors


def fork(
    run_dir: options.RunDir,
    step: Annotated[
        str, typer.Argument(metavar="STEP", help="where the new run begins: planner/1, worker/0/NAME or reporter")
    ],
    out: Annotated[Path | None, typer.Option(help="folder of the new run; default: a new one beside RUN")] = None,
    request: Annotated[str | None, typer.Option(help="ask this from STEP on; default: the request of RUN")] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="folder with planner.md, worker.md, reporter.md, and reviewer.md if there is one"),
    ] = None,
    backend: options.Backend = None,
    model: options.Model = None,
    base_url: options.BaseUrl = None,
    price: options.Price = None,
    timeout: options.Timeout = 300,
    pictures: options.Pictures = True,
    max_dollars: options.MaxDollars = None,
    max_tokens: options.MaxTokens = None,
    max_seconds: options.MaxSeconds = None,
    servers: options.Servers = None,
    workers: options.Workers = 2,
    as_json: options.ResultJson = False,
) -> None:
    """Start a new run that shares the past of RUN up to STEP and goes on live from there. RUN stays as it is.

    Dollars and tokens of the past count towards the limits, its time does not. Limits that you do not give stay those
    of RUN.
    """
    from agents.crew.context import read_prompts
    from agents.runs import fork as forks
    from agents.runs.run import beginning, new_run_dir

    with clear_errors():
        told = read_prompts(prompts, beginning(run_dir)[0].reviewer) if prompts else None
        chosen = options.chosen_backend(backend, model, base_url, price, timeout, pictures)
        outside = options.outside(servers)
        child = out or new_run_dir(run_dir.resolve().parent, beginning(run_dir)[0].task)
        with watched(chosen) as listeners:
            result = forks.fork(
                run_dir,
                step,
                child,
                chosen,
                request=request,
                prompts=told,
                budget=options.limits(max_dollars, max_tokens, max_seconds),
                workers=workers,
                listeners=listeners,
                ask=Person(child, listeners[0]),
                servers=outside,
            )
    conclude(child, result, as_json)
