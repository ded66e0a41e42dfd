"""A task and a tool of another distribution: installed by pip, found by entry points, carried out to the report."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OUTSIDE = ROOT / "tests" / "outside"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip has installed it."""
    folder = tmp_path_factory.mktemp("outside")
    shutil.copytree(OUTSIDE, folder / "source", ignore=shutil.ignore_patterns("carry_out.py", "__pycache__"))
    words = ["install", "-q", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(folder / "site")]
    subprocess.run([sys.executable, "-m", "pip", *words, str(folder / "source")], check=True, capture_output=True)
    return folder / "site"


def test_its_task_runs_with_every_kind_of_backend(site: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(OUTSIDE / "carry_out.py"), str(site), str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    ended = json.loads(done.stdout.decode().strip().splitlines()[-1])
    assert set(ended) == {"analyst", "script", "random", "scripted"}
    for backend, (status, reason, headline, claim) in ended.items():
        assert status in ("converged", "exhausted"), f"{backend}: {reason}"
        assert headline == "A measurement is claimed"
        assert claim["numbers"]["weight"]["value"] == pytest.approx(12.0, abs=0.5)
        page = (tmp_path / backend / "report.html").read_text()
        assert "true weight" in page
        assert "agreement" in page
