"""`beamcrew replay`: a run once more from its trace."""

from __future__ import annotations

from agents.cli import options, playing


def replay(run_dir: options.RunDir, out: playing.Out = None, as_json: playing.OutcomeJson = False) -> None:
    """Play a run from its record: no model, no sandbox, no key. Exit status 6: something is not as recorded."""
    from agents.runs import replay as recorded

    playing.play(run_dir, out, as_json, recorded.replay)
