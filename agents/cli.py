"""The command line: run | resume | tools | data | doctor."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agents import data_cli

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(data_cli.app, name="data", help="Download, simulate, convert and look at events.")
out, err = Console(), Console(stderr=True)

EXIT = {"converged": 0, "exhausted": 0, "failed": 3, "budget": 4, "lost": 5, "interrupted": 130}


@app.command()
def run(
    request: Annotated[str | None, typer.Argument(help="what you want to know, in plain language")] = None,
    task: Annotated[str, typer.Option(help="lhco-demo, lhco-rnd or lhco-sr")] = "lhco-demo",
    data: Annotated[Path | None, typer.Option(help="folder with the official files (lhco-rnd, lhco-sr)")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="task option, e.g. n_signal=0; repeatable")
    ] = None,
    backend: Annotated[str, typer.Option(help="auto, analyst or openai")] = "auto",
    model: Annotated[str | None, typer.Option(help="model name (or BEAMCREW_MODEL)")] = None,
    base_url: Annotated[str | None, typer.Option(help="OpenAI-compatible service (or OPENAI_BASE_URL)")] = None,
    price: Annotated[str | None, typer.Option(metavar="IN,OUT", help="dollars per million tokens")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="seconds to wait for one reply of a model")] = 300,
    sandbox: Annotated[str, typer.Option(help="auto, docker or bubblewrap")] = "auto",
    seed: Annotated[int | None, typer.Option(help="of the data set")] = None,
    max_iterations: Annotated[int | None, typer.Option(help="of plan, work, grade")] = None,
    max_dollars: Annotated[float | None, typer.Option(help="budget")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="budget")] = None,
    reply_tokens: Annotated[int, typer.Option(help="longest single reply asked for")] = 4096,
    max_seconds: Annotated[float | None, typer.Option(help="budget, wall time")] = None,
    workers: Annotated[int, typer.Option(help="steps that run side by side")] = 2,
    runs: Annotated[Path, typer.Option(help="where runs are kept")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="print result.json on standard output")] = False,
) -> None:
    """Carry out a request: plan, work in the sandbox, grade, iterate, report."""
    from agents.backends.select import choose_backend
    from agents.budget import Budget, Price
    from agents.run import Settings, new_run_dir, start
    from tasks.catalogue import make_task

    with _clear_errors():
        options = _options(option or [])
        named = {"data": data and str(data), "seed": seed, "max_iterations": max_iterations}
        options |= {name: value for name, value in named.items() if value is not None}
        prepared = make_task(task, options)
        settings = Settings.model_validate(
            {
                "request": request or prepared.request,
                "task": task,
                "options": prepared.options(),
                "sandbox": sandbox,
                "budget": Budget(
                    dollars=max_dollars, tokens=max_tokens, seconds=max_seconds, reply_tokens=reply_tokens
                ),
                "workers": workers,
            }
        )
        chosen = choose_backend(
            backend, model=model, base_url=base_url, price=Price.parse(price) if price else None, timeout=timeout
        )
        run_dir = new_run_dir(runs, task)
        with _watched() as listeners:
            result = start(settings, chosen, run_dir, listeners)
    _conclude(run_dir, result, as_json)


@app.command()
def resume(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="folder of the run")],
    backend: Annotated[str, typer.Option(help="the backend of the run: auto, analyst or openai")] = "auto",
    model: Annotated[str | None, typer.Option(help="model name (or BEAMCREW_MODEL)")] = None,
    base_url: Annotated[str | None, typer.Option(help="OpenAI-compatible service (or OPENAI_BASE_URL)")] = None,
    price: Annotated[str | None, typer.Option(metavar="IN,OUT", help="dollars per million tokens")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="seconds to wait for one reply of a model")] = 300,
    max_dollars: Annotated[float | None, typer.Option(help="a new budget in place of the old one")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="a new budget")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="a new budget, wall time")] = None,
    workers: Annotated[int, typer.Option(help="steps that run side by side")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="print result.json on standard output")] = False,
) -> None:
    """Go on with a run that was interrupted, lost its sandbox, or spent its budget. Nothing is paid twice."""
    from agents import run as runs
    from agents.backends.select import choose_backend
    from agents.budget import Budget, Price

    with _clear_errors():
        chosen = choose_backend(
            backend, model=model, base_url=base_url, price=Price.parse(price) if price else None, timeout=timeout
        )
        limits = {"dollars": max_dollars, "tokens": max_tokens, "seconds": max_seconds}
        budget = Budget.model_validate(limits) if any(limit is not None for limit in limits.values()) else None
        with _watched() as listeners:
            result = runs.resume(run_dir, chosen, budget, workers, listeners)
    _conclude(run_dir, result, as_json)


@app.command()
def tools(
    name: Annotated[str | None, typer.Argument(help="a tool, for its full schema")] = None,
) -> None:
    """List the typed tools, or show the JSON schema of one."""
    from tools.catalogue import CATALOGUE, find

    with _clear_errors():
        if name:
            out.print_json(json.dumps(find(name).schema()))
            return
    table = Table("tool", "what it does")
    for tool in CATALOGUE.values():
        table.add_row(tool.name, Text(" ".join(tool.description.split())))
    out.print(table)


@app.command()
def doctor(
    build: Annotated[bool, typer.Option("--build", help="build the Docker image of the sandbox first")] = False,
    build_arg: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="for --build, e.g. BASE=...; repeatable")
    ] = None,
    certificates: Annotated[Path | None, typer.Option(help="CA bundle for pip during --build, a build secret")] = None,
) -> None:
    """What this machine offers: sandbox engines, GPU, limits, keys, packages, data."""
    from agents.doctor import report

    with _clear_errors():
        if build:
            _build(_options(build_arg or []), certificates)
        checks = report()
    table = Table("check", "", "detail")
    for check in checks:
        table.add_row(check.name, "[green]ok[/]" if check.ok else "[yellow]no[/]", Text(check.detail))
    out.print(table)


def _build(build_args: dict[str, Any], certificates: Path | None) -> None:
    from sandbox.image import build_image

    root = Path(__file__).parent.parent
    build_image(root, build_args={k: str(v) for k, v in build_args.items()}, certificates=certificates, say=err.print)


def _options(pairs: list[str]) -> dict[str, Any]:
    """NAME=VALUE pairs; a value that reads as JSON (number, true, list) is taken as such."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise ValueError(f"--set {pair!r}: must be NAME=VALUE")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


@contextmanager
def _watched() -> Iterator[list[Any]]:
    from agents.live import LiveView

    with LiveView() as view:
        yield [view]


@contextmanager
def _clear_errors() -> Iterator[None]:
    """What an operator can mend is one line and exit status 2, not a traceback."""
    from pydantic import ValidationError

    from agents.trace.store import TraceError
    from sandbox.driver import SandboxLost

    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        _error(f"{'.'.join(map(str, first['loc']))}={first['input']!r}: {first['msg']}")
    except (ValueError, OSError, SandboxLost, TraceError) as error:
        _error(str(error))
    except KeyboardInterrupt:
        err.print("stopped")
        raise typer.Exit(130) from None
    else:
        return
    raise typer.Exit(2)


def _number(value: float | bool | None, error: float | None = None) -> str:
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    return f"{value:.4g}" + (f" ± {error:.2g}" if error is not None else "")


def _error(text: str) -> None:
    err.print(Text("error: ", style="red") + Text(text, style="default"), soft_wrap=True)


def _conclude(run_dir: Path, result: Any, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(result.model_dump_json(indent=1) + "\n")
    table = Table("quantity", "claimed", "computed by the harness", "truth", "agrees")
    for check in result.claims:
        agrees = "" if check.agrees is None else "yes" if check.agrees else "[red]no[/]"
        claimed, harness = _number(check.claimed, check.claimed_error), _number(check.harness, check.harness_error)
        table.add_row(check.name, claimed, harness, _number(check.truth), agrees)
    if result.claims:
        err.print(table)
    if not result.is_llm:
        err.print("No LLM was involved: the built-in analyst follows fixed rules.", highlight=False)
    err.print(Text(f"{result.status}: {result.reason}"), soft_wrap=True)
    err.print(Text(f"report: {run_dir / 'report.html'}"), soft_wrap=True)
    if result.status in ("interrupted", "lost", "budget"):
        err.print(Text(f"go on with: beamcrew resume {run_dir}"), soft_wrap=True)
    raise typer.Exit(EXIT[result.status])


def main() -> None:
    app()
