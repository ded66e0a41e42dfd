"""Runs and studies as batch jobs: what is submitted, when a job ends, and who continues. `-m engines`: a real Slurm."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import slurm_rig
from scripted import Scripted, two_rounds
from typer.testing import CliRunner

from agents.batch import job as batch
from agents.batch import systems
from agents.batch.job import CONTINUE, JOB, MARGIN, SCRIPT, Job
from agents.cli.conclude import EXIT
from agents.cli.main import app
from agents.cli.submit import seconds_of
from agents.runs.run import Settings, resume, start
from agents.trace.approval import Approval
from agents.trace.events import RunFinished, RunResumed
from agents.trace.store import TRACE, read_trace

RUN = ["run", "--yes", "--backend", "analyst", "--sandbox", "bubblewrap", "--no-pictures", "Anything?"]


@pytest.fixture
def systems_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands of both systems that take every job, and refuse one whose script says so."""
    for name in ("sbatch", "condor_submit"):
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(
            f'#!/bin/sh\npwd >>{tmp_path}/{name}.log\ngrep -q refuse job.sh && echo "no" >&2 && exit 1\necho 17\n'
        )
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*words: str) -> str:
    result = CliRunner(env={"COLUMNS": "400", "NO_COLOR": "1"}).invoke(app, ["submit", *words])
    return f"{result.exit_code} {result.output}"


def submitted(folder: Path) -> tuple[Job, str]:
    (script,) = folder.glob(f"runs/batch/*/{SCRIPT}")
    for text in script.parent.glob("*.sh"):
        if text.read_text().startswith("#!"):
            subprocess.run(["bash", "-n", text], check=True)
    return Job.model_validate_json((script.parent / JOB).read_bytes()), script.read_text()


def test_a_run_is_submitted_with_what_continues_it(systems_here: Path) -> None:
    said = call("--time", "1h", "--jobs", "3", "--option=--gres=gpu:1", "--setup", "export A=$(cat ~/k)", "--", *RUN)
    assert said.startswith("0 slurm took the job: 17")
    job, script = submitted(systems_here)
    assert job.run
    total = str(3 * (3600 - MARGIN))
    assert job.first == ["run", "--out", job.run, "--max-seconds", total, *RUN[1:]]
    assert job.again == ["resume", job.run, "--backend", "analyst", "--no-pictures", "--max-seconds", total]
    assert "#SBATCH --time=60\n" in script
    assert "#SBATCH --gres=gpu:1\n" in script
    assert "--export=NONE" in script
    assert script.index("export A=") < script.index(sys.executable)


def test_a_limit_of_time_that_the_operator_gives_stands(systems_here: Path) -> None:
    call("--time", "1h", "--", *RUN, "--max-seconds", "500", "--out", "here")
    job, _ = submitted(systems_here)
    assert (job.run, job.first) == (str(systems_here / "here"), [*RUN, "--max-seconds", "500", "--out", "here"])
    assert job.again[-2:] == ["--max-seconds", "500"]


def test_jobs_side_by_side_share_a_study(systems_here: Path) -> None:
    said = call("--system", "htcondor", "--time", "2h", "--jobs", "2", "--parallel", "4", "--", "stability", "example")
    assert said.startswith("0 htcondor took the job")
    job, script = submitted(systems_here)
    assert job.first == job.again == ["stability", "example"]
    assert "\nqueue 4\n" in script
    assert "max_retries = 1\n" in script
    assert (next(systems_here.glob("runs/batch/*/run.sh")).stat().st_mode & 0o777) == 0o755


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--time", "1h", "--", "view"], "view: a job carries out one of run, stability"),
        (["--time", "1h", "--", "run", "What?"], "nobody can be asked in a job"),
        (["--time", "1h", "--", "stability"], "STUDY: name"),
        (["--time", "1h", "--", "run", "--wokers", "2"], "No such option"),
        (["--time", "60", "--", *RUN], "--time 60: must be at least 5m"),
        (["--time", "4m", "--", *RUN], "must be at least 5m"),
        (["--time", "1h", "--parallel", "2", "--", *RUN], "--parallel 2: only for a study"),
        (["--time", "1h", "--system", "pbs", "--", *RUN], "choose one of slurm, htcondor"),
        (["--time", "1h", "--option=--refuse", "--", *RUN], "sbatch refuses"),
    ],
)
def test_what_cannot_run_in_a_job_is_refused_before(systems_here: Path, words: list[str], why: str) -> None:
    said = call(*words)
    assert said.startswith("2 ")
    assert why in said


def test_a_key_reaches_no_file_of_a_job(systems_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1234567890abcdef")
    said = call("--time", "1h", "--setup", "export OPENAI_API_KEY=sk-1234567890abcdef", "--", *RUN)
    assert said.startswith("2 ")
    assert "a key is in what would be written" in said
    assert not list(systems_here.glob("runs/batch/*"))


def test_names_with_spaces_are_quoted(systems_here: Path) -> None:
    assert call("--time", "1h", "--", *RUN, "--runs", "my runs", "--out", "50% more").startswith("0 ")
    (script,) = systems_here.glob(f"my runs/batch/50% more/{SCRIPT}")
    lines = [shlex.split(line) for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    assert ["#SBATCH", "--job-name=50% more"] in lines
    assert ["#SBATCH", f"--output={script.parent}/job.log".replace("%", "%%")] in lines


def test_a_machine_without_a_batch_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "neither sbatch nor condor_submit" in call("--time", "1h", "--", *RUN)


def test_a_run_that_waits_says_how_it_goes_on_as_a_job(
    systems_here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer is kept; nothing that the run's folder names is carried out for whoever answers."""
    call("--time", "1h", "--", *RUN)
    (folder,) = (systems_here / "runs/batch").iterdir()
    job = Job.model_validate_json((folder / JOB).read_bytes())
    assert job.run
    assert job.submit == ["sbatch", "--parsable", str(folder / SCRIPT)]
    settings = Settings(request="?", task="tiny", sandbox="bubblewrap", salt="", approve=Approval(plan="first"))

    def execute(words: Sequence[str], seconds: float) -> int:
        assert job.run
        start(settings, Scripted(two_rounds()), Path(job.run))
        return EXIT["waiting"]

    monkeypatch.setattr(batch, "execute", execute)
    assert batch.main([str(folder)]) == batch.WAITING == EXIT["waiting"]
    again = f"sbatch --parsable {folder / SCRIPT}"
    assert f"it waits for a person: beamcrew approve {job.run}; then: {again}" in capsys.readouterr().out
    done = CliRunner(env={"COLUMNS": "400"}).invoke(app, ["approve", job.run, "--yes", "--who", "ada"])
    assert done.exit_code == 0
    assert f"as a job again: {again}" in done.output
    assert f"here, with your environment: beamcrew {' '.join(job.again)}" in done.output
    assert json.loads((Path(job.run) / "answer.json").read_text())["who"] == "ada"
    assert isinstance(read_trace(Path(job.run))[-1], RunFinished)  # nothing went on
    assert (systems_here / "sbatch.log").read_text().count("\n") == 1
    assert resume(Path(job.run), Scripted(two_rounds())).status == "converged"


def test_times() -> None:
    assert [seconds_of(text) for text in ("5m", "2h", "1d12h", "1h30m")] == [300, 7200, 129600, 5400]


@pytest.mark.parametrize(
    ("code", "said"), [(0, 0), (3, 3), (4, 4), (2, 2), (5, CONTINUE), (7, CONTINUE), (130, CONTINUE), (137, CONTINUE)]
)
def test_another_job_is_asked_for_where_it_may_help(tmp_path: Path, code: int, said: int) -> None:
    asked: list[tuple[Sequence[str], float]] = []

    def execute(words: Sequence[str], seconds: float) -> int:
        asked.append((words, seconds))
        return code

    job = Job(first=["first"], again=["again"], run=str(tmp_path), seconds=1000)
    assert batch.carry_out(job, time.time(), execute) == said
    (tmp_path / TRACE).write_text("{}\n")
    batch.carry_out(job, time.time() - 500, execute)
    assert [words for words, _ in asked] == [["first"], ["again"]]
    assert [round(seconds / 100) for _, seconds in asked] == [9, 4]


SITE = """
import os, sys
sys.path[:0] = {paths!r}
if sys.argv[:1] == ["-c"] and "BEAMCREW_JOB" in os.environ:
    import scripted
    from agents.backends import select
    from tasks import catalogue
    catalogue.catalogue()["tiny"] = scripted.TinyTask
    script = scripted.two_rounds("import time\\ntime.sleep(max(0, {until!r} - time.time()))")
    select.choose_backend = lambda *_, **__: scripted.Scripted(script, __import__("pathlib").Path({log!r}))
"""


@pytest.mark.engines
def test_slurm_continues_a_run_until_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step outlasts the first job, which is stopped; the next one continues, and nothing is paid for twice."""
    root = Path(__file__).parents[2]
    site, log = tmp_path / "site", tmp_path / "calls"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        SITE.format(paths=[str(root), str(root / "tests/agents"), *sys.path], until=time.time() + 30, log=str(log))
    )
    run = tmp_path / "run"
    words = ["run", "--task", "tiny", "--sandbox", "bubblewrap", "--out", str(run), "Is there anything?"]
    job = Job(first=words, again=["resume", str(run)], run=str(run), seconds=MARGIN + 18, jobs=6)
    wanted = systems.Wanted(name="tiny", cpus=1, memory_mib=1000, setup=[f"export PYTHONPATH={site}"])
    monkeypatch.chdir(root)
    folder = tmp_path / "job"
    with slurm_rig.slurm(tmp_path / "slurm") as environment:
        for name in ("SLURM_CONF", "PATH"):
            monkeypatch.setenv(name, environment[name])
        systems.submit("slurm", folder, job, wanted)
        deadline = time.monotonic() + 200
        while slurm_rig.seen(environment, "squeue", "-h") and time.monotonic() < deadline:
            time.sleep(0.5)
    said = (folder / "job.log").read_text()
    events = read_trace(run)
    endings = [event.status for event in events if isinstance(event, RunFinished)]
    assert endings[0] == "interrupted", said
    assert endings[-1] == "converged", said
    assert sum(isinstance(event, RunResumed) for event in events) >= 1
    assert max(Counter(log.read_text().splitlines()).values()) == 1
    assert json.loads((run / "result.json").read_text())["status"] == "converged"
