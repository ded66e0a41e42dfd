"""`beamcrew rerun`: the recorded replies once more, with every command and grade live."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from agents.cli import options, playing


def rerun(
    run_dir: options.RunDir,
    out: playing.Out = None,
    sandbox: Annotated[
        str | None, typer.Option(help="docker, podman, apptainer or bubblewrap; default: that of the run")
    ] = None,
    image: Annotated[str | None, typer.Option(help="image of the sandbox; default: that of the run, by digest")] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="relative change above which a number has moved")] = 1e-6,
    workers: options.Workers = 2,
    as_json: playing.OutcomeJson = False,
) -> None:
    """Run every command and grade of a run again, and compare: no model, no key. Exit status 6: something moved."""
    from agents.runs import rerun as live

    again = partial(live.rerun, sandbox=sandbox, image=image, tolerance=tolerance, workers=workers, say=playing.say)
    playing.play(run_dir, out, as_json, again)
