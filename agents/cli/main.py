"""Carry out analyses with a crew of agents, look at runs and play them again, simulate and convert events."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from agents.cli import approve as approve_cli
from agents.cli import ask as ask_cli
from agents.cli import compare as compare_cli
from agents.cli import doctor as doctor_cli
from agents.cli import export as export_cli
from agents.cli import fork as fork_cli
from agents.cli import intake, options
from agents.cli import mcp as mcp_cli
from agents.cli import replay as replay_cli
from agents.cli import rerun as rerun_cli
from agents.cli import stability as stability_cli
from agents.cli import submit as submit_cli
from agents.cli import trace as trace_cli
from agents.cli import view as view_cli
from agents.cli.asking import Person
from agents.cli.conclude import conclude, watched
from agents.cli.console import clear_errors, name_values, out, typed
from tasks.catalogue import OURS
from tools import data_cli

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(trace_cli.app, name="trace")
app.add_typer(data_cli.app, name="data", help="Download, simulate, convert and look at events.")


@app.command()
def run(
    request: Annotated[str | None, typer.Argument(help="what you want to know, in plain language")] = None,
    task: Annotated[
        str | None, typer.Option(help=f"{', '.join(OURS)}, or an installed one; default: read from the request")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="file or folder with your data")] = None,
    card: Annotated[Path | None, typer.Option(help="YAML file that says how the request is to be understood")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="carry out the card without asking; its questions still end it")
    ] = False,
    option: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="task option, e.g. seed=7; repeatable")
    ] = None,
    backend: options.Backend = None,
    model: options.Model = None,
    base_url: options.BaseUrl = None,
    price: options.Price = None,
    timeout: options.Timeout = 300,
    pictures: options.Pictures = True,
    sandbox: options.Sandbox = "auto",
    image: options.Image = None,
    gpu: Annotated[
        str, typer.Option(help="auto, none, or insist: even if the NVIDIA container toolkit has known escapes")
    ] = "auto",
    seed: Annotated[int | None, typer.Option(help="seed of the data set")] = None,
    salt: Annotated[
        str | None, typer.Option(help="salt of a run to make again, as its trace names it; default: a new one")
    ] = None,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="sampling temperature of the model")] = 0.0,
    effort: Annotated[
        str | None, typer.Option(help="reasoning effort: none, minimal, low, medium, high, xhigh, max")
    ] = None,
    reviewer: Annotated[
        bool, typer.Option("--reviewer", help="a reviewer reads plans and results, and may send each back once")
    ] = False,
    approve: Annotated[
        str | None,
        typer.Option(
            metavar="GATES",
            help="stop and ask at these of card, plan (plan=first), unblind, spend (spend=DOLLARS), "
            "or as a YAML file says",
        ),
    ] = None,
    max_iterations: Annotated[int | None, typer.Option(help="most rounds of plan, work and grade")] = None,
    max_dollars: options.MaxDollars = None,
    max_tokens: options.MaxTokens = None,
    max_seconds: options.MaxSeconds = None,
    reply_tokens: Annotated[int, typer.Option(help="longest single reply asked for")] = 4096,
    servers: options.Servers = None,
    workers: options.Workers = 2,
    runs: Annotated[Path, typer.Option(help="where runs are kept")] = Path("runs"),
    out: Annotated[Path | None, typer.Option(help="new folder of the run; default: one below --runs")] = None,
    as_json: options.ResultJson = False,
) -> None:
    """Carry out a request: plan, work in the sandbox, grade, iterate, report."""
    from agents.crew.budget import Budget
    from agents.runs.run import Settings, new_run_dir, start
    from agents.trace.approval import Approval
    from tasks.catalogue import make_task

    with clear_errors():
        given = {name: typed(value) for name, value in name_values("--set", option).items()}
        named = {"data": data and str(data), "seed": seed, "max_iterations": max_iterations}
        given |= {name: value for name, value in named.items() if value is not None}
        chosen = options.chosen_backend(backend, model, base_url, price, timeout, pictures)
        gates = Approval() if approve is None else Approval.of(approve)
        agreed, accepted = None, yes
        if task is None:
            agreed, accepted = intake.agree(request, data, card, given, chosen, yes, later=gates.card)
            request, task, given = agreed.request, agreed.task, agreed.arguments()
        elif card:
            raise ValueError("--card: names the task itself; leave out --task")
        outside = options.outside(servers)
        prepared = make_task(task, given)
        limits = options.limits(max_dollars, max_tokens, max_seconds)
        settings = Settings.model_validate(
            {
                "request": request or prepared.request,
                "task": task,
                "options": prepared.options(),
                "salt": salt,
                "sandbox": sandbox,
                "gpu": gpu,
                "budget": Budget.model_validate(limits | {"reply_tokens": reply_tokens}),
                "card": agreed and agreed.document(),
                "approve": gates,
                "workers": workers,
                "temperature": temperature,
                "effort": effort,
                "reviewer": reviewer,
            }
            | ({"image": image} if image else {})
        )
        run_dir = out or new_run_dir(runs, task)
        try:
            with watched(chosen) as listeners:
                ask = Person(run_dir, listeners[0], accepted)
                result = start(settings, chosen, run_dir, listeners, ask=ask, servers=outside)
        finally:
            if agreed and run_dir.is_dir():
                (run_dir / "card.yaml").write_text(agreed.text())
    conclude(run_dir, result, as_json)


@app.command()
def resume(
    run_dir: options.RunDir,
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
    """Go on with a run that was interrupted, lost its sandbox, or spent its budget. Nothing is paid twice.

    Choose the backend and the outside servers that the run began with. A new limit replaces all the old ones; what was
    spent counts.
    """
    from agents.crew.budget import Budget
    from agents.runs import run as runs

    with clear_errors():
        chosen = options.chosen_backend(backend, model, base_url, price, timeout, pictures)
        outside = options.outside(servers)
        limits = options.limits(max_dollars, max_tokens, max_seconds)
        budget = Budget.model_validate(limits) if limits else None
        with watched(chosen) as listeners:
            ask = Person(run_dir, listeners[0]) if sys.stdin.isatty() else None
            result = runs.resume(run_dir, chosen, budget, workers, listeners, ask=ask, servers=outside)
    conclude(run_dir, result, as_json)


@app.command()
def tools(
    name: Annotated[str | None, typer.Argument(help="a tool, for its full schema")] = None,
) -> None:
    """List the typed tools, or show the JSON schema of one."""
    from tools.catalogue import CATALOGUE, find

    with clear_errors():
        if name:
            out.print_json(json.dumps(find(name).schema()))
            return
    table = Table("tool", "what it does")
    for tool in CATALOGUE.values():
        table.add_row(tool.name, Text(" ".join(tool.description.split())))
    out.print(table)


app.command()(approve_cli.approve)
app.command()(ask_cli.ask)
app.command()(doctor_cli.doctor)
app.command()(view_cli.view)
app.command()(mcp_cli.mcp)
app.command()(replay_cli.replay)
app.command()(rerun_cli.rerun)
app.command()(fork_cli.fork)
app.command()(compare_cli.compare)
app.command()(export_cli.export)
app.command()(stability_cli.stability)
app.command()(submit_cli.submit)


def main() -> None:
    app()
