"""What a driver does beside what the conformance suite tries."""

from __future__ import annotations

import os
from pathlib import Path

from sandbox.canaries import KEY, plant_and_probe
from sandbox.conformance.arena import Arena


def test_canaries_are_taken_away_again(arena: Arena, tmp_path: Path) -> None:
    verdict = plant_and_probe(arena.box, tmp_path / "labels.csv")
    assert verdict.held, verdict.lines
    assert not (tmp_path / "labels.csv").exists()
    assert KEY not in os.environ


def test_torch_computes(arena: Arena) -> None:
    result = arena.python("import torch; print(float(torch.arange(4.0) @ torch.ones(4)))", seconds=60)
    assert result.stdout == "6.0\n", result.stderr


def test_info_says_what_runs(arena: Arena, driver: str) -> None:
    info = arena.box.info
    assert info.driver == driver
    assert ("sha256:" in (info.image or "")) == (driver != "bubblewrap")


def test_the_peak_of_memory_is_told(arena: Arena) -> None:
    code = "import time\nx = bytearray(200 << 20)\ntime.sleep(0.5)"
    peak, idle = arena.python(code).peak_mib, arena.box.exec(["sleep", "0.5"]).peak_mib
    assert peak is not None
    assert idle is not None
    assert 200 <= peak <= 300
    assert idle < 100
