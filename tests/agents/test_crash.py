"""A run that is killed again and again, at the boundary of events and at any instant, comes to the same end.

About 20 kills; `BEAMCREW_KILLS=120 pytest tests/agents/test_crash.py` kills that often, at every boundary.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

from killed import COST, SAME, SETTINGS, Life, commands, facts
from scripted import Scripted, two_rounds

from agents.runs.replay import replay
from agents.trace.result import RunResult
from agents.trace.verify import verified

KILLS = int(os.environ.get("BEAMCREW_KILLS", "10"))
STRIDE = 4 if KILLS <= 20 else 1  # new events a session may write before it is killed at the boundary of one
LONGEST = 1.5  # seconds that a session lives at most when it is killed at any instant


def test_however_often_it_is_killed_a_run_comes_to_the_same_end(tmp_path: Path, whole: tuple[RunResult, Path]) -> None:
    chance, kills, lives = random.Random(1), 0, 0
    while kills < KILLS:
        life = Life(tmp_path / str(lives), SETTINGS, lambda log: Scripted(two_rounds(), log, COST))
        if lives:
            life.at_any_instant(chance, KILLS - kills, LONGEST)
        else:
            life.at_boundaries(STRIDE)
        kills, lives = kills + life.kills, lives + 1
        result = RunResult.model_validate_json((life.run_dir / "result.json").read_text())
        assert result.model_dump(include=SAME) == whole[0].model_dump(include=SAME)
        assert facts(life.run_dir) == facts(whole[1] / "run")
        assert (life.run_dir / "report.html").is_file()
        assert set(commands(life.run_dir).values()) == {1}
        assert verified(life.run_dir)
        assert replay(life.run_dir, life.folder / "replay").agrees
