"""`beamcrew submit`: give a run or a study to a batch system."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from agents.cli.console import clear_errors, out

if TYPE_CHECKING:
    from agents.batch.job import Job
    from agents.batch.systems import Wanted

COMMANDS = ("run", "stability")
TIME = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?")
# Options that `beamcrew resume` takes as well: a resumed run needs the same backend.
SHARED = frozenset(
    ["backend", "model", "base_url", "price", "timeout", "pictures", "servers", "workers", "max_dollars", "max_tokens"]
)


def submit(
    context: typer.Context,
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND", help="`run` or `stability` with its options, after --")
    ],
    time: Annotated[str, typer.Option(metavar="3h30m", help="wall time of a job, as its queue allows: 2d, 4h, 90m")],
    jobs: Annotated[int, typer.Option(min=1, help="most jobs, one after another; each continues the last")] = 1,
    parallel: Annotated[int, typer.Option(min=1, help="jobs side by side, which share the runs of a study")] = 1,
    cpus: Annotated[int, typer.Option(min=1, help="cores of a job")] = 2,
    memory: Annotated[int, typer.Option(min=512, help="memory of a job [MiB]")] = 8192,
    option: Annotated[
        list[str] | None, typer.Option(help="a line for the batch system, e.g. --option=--gres=gpu:1; repeatable")
    ] = None,
    setup: Annotated[
        list[str] | None,
        typer.Option(help="shell line before the command, e.g. 'export OPENAI_API_KEY=$(cat ~/.key)'; repeatable"),
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="slurm or htcondor; default: the one whose command is here")
    ] = None,
) -> None:
    """Give a run or a study to Slurm or HTCondor, for as many jobs as it takes.

    A job is stopped shortly before its time is up, and the next one continues: nothing is paid for twice. Keys come
    from a --setup line: a job takes over nothing of the environment in which it is submitted.
    """
    from agents.batch.systems import Wanted, detect
    from agents.batch.systems import submit as hand_in

    with clear_errors():
        seconds, chosen = seconds_of(time), system or detect()
        job, folder = job_of(context, command, seconds, jobs, parallel)
        wanted = Wanted(
            name=folder.name, cpus=cpus, memory_mib=memory, parallel=parallel, options=option or [], setup=setup or []
        )
        _without_keys(job, wanted)
        number = hand_in(chosen, folder, job, wanted)
    out.print(Text(f"{chosen} took the job: {number}; its files: {folder}"), soft_wrap=True)
    if job.run:
        out.print(Text(f"the run will be in {job.run}; to follow it: beamcrew view"), soft_wrap=True)


def seconds_of(text: str) -> float:
    """Return a wall time in seconds. Raises ValueError.

    >>> seconds_of("1h30m")
    5400.0
    """
    match = TIME.fullmatch(text)
    days, hours, minutes = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = ((days * 24 + hours) * 60 + minutes) * 60.0
    if total < 300:
        raise ValueError(f"--time {text}: must be at least 5m, such as 2d, 4h or 3h30m")
    return total


def job_of(context: typer.Context, words: list[str], seconds: float, jobs: int, parallel: int) -> tuple[Job, Path]:
    """Return the job, and the new folder for its files. Raises ValueError for a command that cannot run in a job."""
    from agents.batch.job import MARGIN, Job
    from agents.runs.run import new_run_dir

    name, *rest = words
    if name not in COMMANDS:
        raise ValueError(f"{name}: a job carries out one of {', '.join(COMMANDS)}")
    inner = parsed(context, name, rest)
    given = inner.params
    files = Path(given["runs"]).resolve() / "batch"
    stamp = f"{time.strftime('%Y%m%d-%H%M%S')}"
    if name == "stability":
        if given["study"] is None:
            raise ValueError("STUDY: name a study file or a shipped study")
        return Job(first=words, again=words, seconds=seconds, jobs=jobs), files / f"{stamp}-{Path(given['study']).stem}"
    if parallel > 1:
        raise ValueError(f"--parallel {parallel}: only for a study; a run is one job after another")
    if not (given["yes"] or given["card"] or given["task"]):
        raise ValueError("run: nobody can be asked in a job: add --yes, --card FILE or --task NAME")
    run = (given["out"] or new_run_dir(Path(given["runs"]), given["task"] or "run")).resolve()
    extra = [] if given["out"] else ["--out", str(run)]
    total = given["max_seconds"] or jobs * (seconds - MARGIN)
    limit = ["--max-seconds", f"{total:g}"]
    first = [name, *extra, *([] if given["max_seconds"] else limit), *rest]
    return Job(
        first=first, again=["resume", str(run), *shared(inner), *limit], run=str(run), seconds=seconds, jobs=jobs
    ), files / run.name


def _without_keys(job: Job, wanted: Wanted) -> None:
    """Raise ValueError if a key of this shell is in what would be written to the job's files."""
    from agents.backends.select import secrets

    written = "\n".join([*job.first, *wanted.options, *wanted.setup])
    if any(key in written for key in secrets()):
        example = "'export OPENAI_API_KEY=$(cat ~/.openai_key)'"
        raise ValueError(f"a key is in what would be written to the job's files: read it in the job, --setup {example}")


def parsed(context: typer.Context, name: str, words: list[str]) -> Any:
    """Return the context of a command of beamcrew with these words, which are checked as if typed."""
    root: Any = context.find_root()
    return root.command.commands[name].make_context(name, list(words), parent=root)


def shared(inner: Any) -> list[str]:
    """Return the words that give `resume` what `run` was given."""
    words: list[str] = []
    for parameter in inner.command.params:
        value = inner.params.get(str(parameter.name))
        if parameter.name in SHARED and value != parameter.get_default(inner):
            flags = [*parameter.opts, *parameter.secondary_opts] if isinstance(value, bool) else parameter.opts
            words += [flags[-1]] if isinstance(value, bool) else [flags[-1], str(value)]
    return words
