"""`beamcrew replay`: a run once more from its trace; with its commands live, or live from a step on."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from agents.cli.conclude import conclude, watched
from agents.cli.console import clear_errors, err

if TYPE_CHECKING:
    from agents.runs.replay import Outcome

DIFFERS = 6  # exit status
STYLE = {"identical": "green", "within": "green", "flagged": "yellow", "moved": "red"}
EXECUTE: Any = {"rich_help_panel": "with --execute"}
FORK: Any = {"rich_help_panel": "with --fork"}


def replay(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="folder of the run")],
    out: Annotated[Path | None, typer.Option(help="new folder for what is made; of the new run, with --fork")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the outcome on standard output")] = False,
    workers: Annotated[int, typer.Option(min=1, help="live commands or steps side by side")] = 2,
    execute: Annotated[bool, typer.Option("--execute", help="run every command again, and compare", **EXECUTE)] = False,
    sandbox: Annotated[str | None, typer.Option(help="docker or bubblewrap; default: the run's", **EXECUTE)] = None,
    image: Annotated[str | None, typer.Option(help="of Docker; default: the run's, by digest", **EXECUTE)] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="relative; more has moved", **EXECUTE)] = 1e-6,
    fork: Annotated[
        str | None,
        typer.Option(metavar="STEP", help="a new run, live from planner/1, worker/0/NAME or reporter on", **FORK),
    ] = None,
    request: Annotated[str | None, typer.Option(help="another request", **FORK)] = None,
    prompts: Annotated[Path | None, typer.Option(help="folder with planner.md, worker.md, reporter.md", **FORK)] = None,
    backend: Annotated[str, typer.Option(help="auto, analyst, script, random, openai, local:NAME", **FORK)] = "auto",
    model: Annotated[str | None, typer.Option(help="model name (or BEAMCREW_MODEL)", **FORK)] = None,
    base_url: Annotated[str | None, typer.Option(help="service (or OPENAI_BASE_URL)", **FORK)] = None,
    price: Annotated[str | None, typer.Option(metavar="IN,OUT", help="dollars per million tokens", **FORK)] = None,
    timeout: Annotated[float, typer.Option(min=1, help="seconds to wait for one reply of a model", **FORK)] = 300,
    max_dollars: Annotated[float | None, typer.Option(help="budget, the past included", **FORK)] = None,
    max_tokens: Annotated[int | None, typer.Option(help="budget, the past included", **FORK)] = None,
    max_seconds: Annotated[float | None, typer.Option(help="budget, wall time from the step on", **FORK)] = None,
) -> None:
    """Play a run from its record: no model, no sandbox, no key. All must come out as recorded; 6: something did not."""
    from agents.backends.price import Price
    from agents.backends.select import choose_backend
    from agents.crew.context import read_prompts
    from agents.runs.fork import fork as fork_from
    from agents.runs.run import beginning, new_run_dir

    if not fork:
        _play(run_dir, out, as_json, execute, sandbox, image, tolerance, workers)
        return
    with clear_errors():
        if execute:
            raise ValueError("--execute, --fork: one of them")
        told = read_prompts(prompts) if prompts else None
        limits = {"dollars": max_dollars, "tokens": max_tokens, "seconds": max_seconds}
        chosen = choose_backend(
            backend, model=model, base_url=base_url, price=Price.parse(price) if price else None, timeout=timeout
        )
        child = out or new_run_dir(run_dir.resolve().parent, beginning(run_dir)[0].task)
        with watched(chosen) as listeners:
            result = fork_from(
                run_dir,
                fork,
                child,
                chosen,
                request=request,
                prompts=told,
                budget={name: limit for name, limit in limits.items() if limit is not None},
                workers=workers,
                listeners=listeners,
            )
    conclude(child, result, as_json)


def _play(
    run_dir: Path,
    out: Path | None,
    as_json: bool,
    execute: bool,
    sandbox: str | None,
    image: str | None,
    tolerance: float,
    workers: int,
) -> None:
    from agents.runs.provenance import changed, kernels
    from agents.runs.replay import replay as play
    from agents.runs.rerun import rerun
    from agents.runs.run import beginning
    from agents.trace.strict import Differs

    with clear_errors(), _folder(out) as folder:
        if not execute and (sandbox or image):
            raise ValueError("sandbox, image: go with --execute")
        others = changed(beginning(run_dir)[0])
        for other in others.values():
            _say(f"made with something else: {other}")
        try:
            if execute:
                outcome = rerun(run_dir, folder, sandbox, image, tolerance, workers, _say)
            else:
                outcome = play(run_dir, folder)
        except Differs as difference:
            err.print(Text("differs: ", style="red") + Text(str(difference), style="default"), soft_wrap=True)
            raise typer.Exit(DIFFERS) from None
    if as_json:
        sys.stdout.write(outcome.model_dump_json(indent=1) + "\n")
    _tell(outcome)
    if any(row.verdict == "moved" for row in outcome.compared or ()):
        for name in others.keys() & kernels():
            _say(f"a likely cause of what moved, rounding: {others[name]}")
    if not outcome.agrees:
        raise typer.Exit(DIFFERS)


def _say(line: str) -> None:
    err.print(Text(line), soft_wrap=True)


def _tell(outcome: Outcome) -> None:
    how = "all of it as recorded" if outcome.whole else f"as recorded up to where it was cut off ({outcome.status})"
    err.print(Text(f"{outcome.run}: {outcome.events} events played in {outcome.seconds:.1f} s, {how}"), soft_wrap=True)
    for name, compared in outcome.report.items():
        err.print(Text(f"{name}: {compared}", style="red" if compared == "differs" else ""))
    if outcome.compared is None:
        return
    table = Table("where", "what", "", "how")
    for row in outcome.compared:
        if row.verdict != "identical" or row.how:
            table.add_row(*map(Text, (row.where, row.what)), Text(row.verdict, style=STYLE[row.verdict]), Text(row.how))
    if table.rows:
        err.print(table)
    counts = Counter[str](row.verdict for row in outcome.compared)
    err.print(Text("run again: " + ", ".join(f"{counts[verdict]} {verdict}" for verdict in STYLE)))


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    """A new folder: the one that was asked for, or one that is gone afterwards."""
    if out:
        if out.exists():
            raise ValueError(f"out={out}: is there already; name a new folder")
        yield out
    else:
        with tempfile.TemporaryDirectory(prefix="beamcrew-replay-") as folder:
            yield Path(folder, "replay")
