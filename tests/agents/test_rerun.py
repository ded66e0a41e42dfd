"""Recorded replies in a live sandbox: what moved is found, measured and told from what only prints otherwise."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import numpy as np
import pytest
from scripted import CLAIM, Script, Scripted, TinyTask, call, plan, python, step
from test_confirm import SCORE
from test_replay import HELD_OUT, beamcrew, content, edited_trace

from agents.runs import provenance
from agents.runs.replay import Outcome
from agents.runs.rerun import rerun
from agents.runs.run import start
from agents.trace.moved import compare_files, compare_json
from sandbox.driver import Kind, SandboxLost
from tasks import catalogue
from tasks.score import Metric, Score
from tasks.task import Verdict
from tools.events.parquet import write_events

TEST_IMAGE = os.environ.get("BEAMCREW_TEST_IMAGE", "beamcrew-sandbox:test")
CHANCE = "import os\nchance = int.from_bytes(os.urandom(4)) / 2**32\n"
NOISY = SCORE + CHANCE + "write_events(Path('scores.parquet'), {'score': x + %g * chance})\n"


def script(code: str, *first: str) -> Script:
    """Two steps; the second hands in what `code` leaves, and depends on the first."""
    submit = call("submit", scores="scores.parquet", window=[3.3, 3.7], method="scripted")
    return {
        "planner/0": [plan(step("a"), step("b", ["a"], submits=True))],
        "worker/0/a": [*(python(one) for one in first), call("finish", summary="x")],
        "worker/0/b": [python(code), submit, call("finish", summary="handed in")],
        "reporter": [json.dumps(CLAIM)],
    }


def run(folder: Path, of: Script) -> Path:
    settings = HELD_OUT.model_copy(update={"options": {"holds_out": True, "max_iterations": 1}})
    assert start(settings, Scripted(of), folder).status == "exhausted"
    return folder


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalogue.catalogue(), "tiny", TinyTask)
        first = "import json, time\njson.dump({'n': 3, 'time': time.time()}, open('n.json', 'w'))"
        yield run(tmp_path_factory.mktemp("runs") / "r", script(NOISY % 0, first))


def verdicts(outcome: Outcome) -> dict[str, str]:
    assert outcome.compared
    return {f"{row.where} {row.what}": row.verdict for row in outcome.compared}


def test_a_deterministic_run_comes_out_the_same(run_dir: Path, tmp_path: Path) -> None:
    before = content(run_dir)
    outcome = rerun(run_dir, tmp_path / "out")
    assert verdicts(outcome) == {
        "worker/0/a python a.py: end": "identical",
        "worker/0/a i0/a/n.json": "identical",
        "worker/0/b python a.py: end": "identical",
        "worker/0/b i0/b/scores.parquet": "identical",
        "grade 0 correlation": "identical",
        "claim/0/b python a.py: end": "identical",
        "claim/0/b i0/b/scores.parquet": "identical",
        "claim unseen": "identical",
        "sealed signal fraction": "identical",
        "sealed curves": "identical",
    }
    assert outcome.agrees
    assert content(run_dir) == before
    assert (tmp_path / "out" / "workspace" / "i0" / "a" / "n.json").is_file()


@pytest.mark.docker
@pytest.mark.parametrize(("first", "second"), [("bubblewrap", "docker"), ("docker", "bubblewrap"), ("docker", None)])
def test_what_ran_in_one_sandbox_comes_out_the_same_in_another(
    tmp_path: Path, first: Kind, second: Kind | None
) -> None:
    """None: in that of the run, by its very image."""
    run_dir = tmp_path / "r"
    settings = HELD_OUT.model_copy(update={"options": {"holds_out": True, "max_iterations": 1}})
    settings = settings.model_copy(update={"sandbox": first, "image": TEST_IMAGE})
    start(settings, Scripted(script(NOISY % 0, "print(open('/proc/self/cgroup').read())")), run_dir)
    outcome = rerun(run_dir, tmp_path / "out", second, TEST_IMAGE if second == "docker" else None)
    assert set(verdicts(outcome).values()) <= {"identical", "flagged"}
    assert outcome.agrees
    assert Counter(verdicts(outcome).values())["identical"] >= 9, verdicts(outcome)
    assert not docker.from_env().containers.list(filters={"label": f"beamcrew.run={tmp_path.name}"})


@pytest.mark.parametrize(("tolerance", "verdict", "status"), [("0.05", "within", 0), ("1e-6", "moved", 6)])
def test_chance_is_measured(tmp_path: Path, tolerance: str, verdict: str, status: int) -> None:
    run_dir = run(tmp_path / "r", script(NOISY.replace("x + %g * chance", "x + 0.01 * chance * (x > 0.2)")))
    code, out, err = beamcrew("rerun", str(run_dir), "--json", "--tolerance", tolerance)
    rows = {f"{row['where']} {row['what']}": row for row in json.loads(out)["compared"]}
    assert code == status, err
    assert rows["worker/0/b i0/b/scores.parquet"]["verdict"] == verdict
    assert "of its range, correlation" in rows["worker/0/b i0/b/scores.parquet"]["how"]
    assert re.match(r"\S+ ± 0.01 became \S+ ± 0.01, by \S+ of its error; ", rows["grade 0 correlation"]["how"])
    assert rows["sealed signal fraction"]["how"] in err
    assert re.fullmatch(r"0\.\d+", rows["sealed signal fraction"]["how"])
    assert verdict in err
    assert re.search(r"worker/0/b: python a.py took [\d.]+ m?s, [\d.]+ m?s when recorded", err)


def test_another_kernel_is_named_as_a_cause_where_a_number_moved(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = run(tmp_path / "r", script(NOISY % 0.1))
    cause = "a likely cause of what moved, rounding: blas "
    assert cause not in beamcrew("rerun", str(noisy))[2]
    monkeypatch.setattr(provenance, "kernels", lambda: {"blas": "openblas 0.3 Z80"})
    for folder, moved in ((noisy, True), (run_dir, False)):
        _, _, err = beamcrew("rerun", str(folder))
        assert "then, openblas 0.3 Z80 here" in err
        assert (cause in err) == moved


def test_what_fails_appears_or_prints_otherwise_is_told_apart(tmp_path: Path) -> None:
    """Decided by the wall clock, which no replay can hold still."""
    once = "import time\nt = time.time_ns()\n"
    of = script(
        NOISY % 0,
        once + "print('took', t)",
        once + "open(f'{t}.txt', 'w').close()",
        once + "raise SystemExit(t % 97 + 1)",
    )
    run_dir = run(tmp_path / "r", of)
    rows = verdicts(rerun(run_dir, tmp_path / "out"))
    assert rows["worker/0/a python a.py: output"] == "flagged"
    moved = {name for name, verdict in rows.items() if verdict == "moved" and ".txt" in name and "claim" not in name}
    assert len(moved) == 2  # the recorded one is missing, and another is there
    assert rows["worker/0/b i0/b/scores.parquet"] == "identical"


def test_another_grader_is_found_and_does_not_steer(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TinyTask, "grade", lambda *_: Score(metric="correlation", value=0.25, reason="mended"))
    monkeypatch.setattr(
        TinyTask, "seal", lambda *_: Verdict(metrics=[Metric(name="signal fraction", value=None)], checks=[])
    )
    outcome = rerun(run_dir, tmp_path / "out")
    assert outcome.compared
    rows = {row.where: row for row in outcome.compared}
    assert (rows["grade 0"].verdict, rows["claim"].verdict, rows["sealed"].verdict) == ("moved", "moved", "identical")
    assert "became 0.25" in rows["grade 0"].how
    assert verdicts(outcome)["sealed signal fraction"] == "moved"
    assert not outcome.agrees


def test_nothing_is_run_on_other_inputs_or_in_an_unknown_sandbox(run_dir: Path, tmp_path: Path) -> None:
    copy = edited_trace(run_dir, tmp_path / "copy", lambda documents, store: None)
    (copy / "inputs").unlink()
    (copy / "inputs").mkdir()
    with pytest.raises(SandboxLost, match="the inputs changed"):
        rerun(copy, tmp_path / "a")
    refused = "sandbox=chroot: select from docker, podman, apptainer, bubblewrap"
    with pytest.raises(ValueError, match=refused):
        rerun(run_dir, tmp_path / "b", "chroot")
    status, _, err = beamcrew("rerun", str(run_dir), "--sandbox", "chroot")
    assert (status, refused in err) == (2, True)


def files(folder: Path, name: str, old: Any, new: Any) -> tuple[str, str]:
    for place, value in (("old", old), ("new", new)):
        (folder / place).mkdir(exist_ok=True)
        path = folder / place / name
        if isinstance(value, bytes):
            path.write_bytes(value)
        elif value is not None:
            write_events(path, {"x": np.array(value, dtype=float)})
    row = compare_files("w", name, folder / "old", folder / "new", 1e-6)
    return row.verdict, row.how


def test_files_are_compared_by_what_they_hold(tmp_path: Path) -> None:
    assert files(tmp_path, "a.parquet", [1, 2, 4], [1, 2, 4]) == ("identical", "")
    verdict, how = files(tmp_path, "b.parquet", [1, 2, 4], [1, 2.3, 4])
    assert (verdict, how) == ("moved", "x: |Δ| up to 0.3, 1.0e-01 of its range, correlation 0.993588749")
    assert files(tmp_path, "c.parquet", [1, 2, 4], [1, 2, 4 + 2e-6])[0] == "within"
    assert "finite" in files(tmp_path, "d.parquet", [1, 2, 4], [1, np.nan, 4])[1]
    assert "different columns or rows: x (3,) became x (2,)" in files(tmp_path, "e.parquet", [1, 2, 4], [1, 2])[1]
    assert files(tmp_path, "f.parquet", [2, 2], [2, 3])[0] == "moved"
    assert files(tmp_path, "g.parquet", [1, 2], b"no parquet")[0] == "moved"
    assert files(tmp_path, "h.txt", b"a", b"b")[0] == "moved"
    assert files(tmp_path, "i.png", b"a", b"b")[0] == "flagged"
    assert files(tmp_path, "j.json", b'{"a": 1, "time": 2}', b'{"a": 1.0, "time": 3}')[0] == "identical"
    assert files(tmp_path, "k.jsonl", b'{"a": 1}\n{"a": 2}', b'{"a": 1}\n{"a": 2.1}')[0] == "moved"
    verdict, how = files(tmp_path, "l.txt", b"a", None)
    assert (verdict, "No such file" in how) == ("moved", True)


def test_documents_are_compared_number_by_number() -> None:
    assert compare_json({"a": [1, "x", None]}, {"a": [1, "x", None]}, 0) == ("identical", "")
    assert compare_json({"a": 1.0}, {"a": 1.0 + 1e-9}, 1e-6)[0] == "within"
    assert compare_json({"a": 1.0}, {"a": 1.1}, 1e-6) == ("moved", "relative 9.1e-02 at most, a: 1 became 1.1")
    assert compare_json({"a": 1.0}, {"a": None}, 1)[0] == "moved"
    assert compare_json({"a": True}, {"a": 1}, 1)[0] == "moved"
    assert compare_json({"a": "x"}, {"a": "y"}, 1) == ("moved", 'a: "x" became "y"')
    assert compare_json({"a": 1}, {"b": 1}, 1)[0] == "moved"
    assert compare_json([1], [1, 2], 1)[0] == "moved"
    assert compare_json(float("nan"), float("nan"), 0)[0] == "identical"
    assert compare_json(1.0, float("inf"), 1)[0] == "moved"
