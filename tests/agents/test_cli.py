"""The command line: what is wrong is one line and exit status 2; results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from scripted import Scripted, TinyTask, two_rounds
from typer.testing import CliRunner, Result

from agents.backends import select
from agents.cli.conclude import EXIT
from agents.cli.main import app
from agents.doctor import machine as doctor
from agents.runs import run
from agents.trace.events import RunFinished
from agents.trace.result import RunResult
from sandbox.docker import IMAGE
from sandbox.driver import SandboxLost
from tasks import catalogue
from tools.catalogue import CATALOGUE

TINY = ["run", "--task", "tiny", "--sandbox", "bubblewrap"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, no service, the tiny task beside the others, and runs in a folder of the test."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "BEAMCREW_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(catalogue.catalogue(), "tiny", TinyTask)
    monkeypatch.chdir(tmp_path)


def call(*words: str) -> Result:
    return CliRunner(env={"COLUMNS": "60", "TERM": "dumb", "NO_COLOR": "1"}).invoke(app, list(words))


def refused(*words: str) -> str:
    """The one line on stderr. Nothing is printed as a result, no traceback, and no run is begun."""
    result = call(*words)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("words", "value", "allowed"),
    [
        (["--task", "nonesuch"], "task='nonesuch'", "lhco-demo, lhco-rnd, lhco-jets, lhco-sr"),
        (["--task", "[/red] [bold]"], "task='[/red] [bold]'", "select from"),
        (["--set", "n_signal"], "'n_signal'", "NAME=VALUE"),
        (["--set", "=3"], "'=3'", "NAME=VALUE"),
        (["--set", "nonesuch=3"], "nonesuch=3", "n_signal"),
        (["--set", "n_signal=many"], "n_signal='many'", "integer"),
        (["--set", "n_signal=3001"], "n_signal=3001", "0 to 3000"),
        (["--set", "n_signal=-1"], "n_signal=-1", "0 to 3000"),
        (["--set", "signal=9000"], "signal=9000", "string"),
        (["--set", 'signal="9000"'], "signal='9000'", "3500_500_100"),
        (["--set", "events=5"], "events=5", "20000"),
        (["--set", "alpha=2"], "alpha=2", "less than 1"),
        (["--seed", "-1"], "seed=-1", "greater than or equal to 0"),
        (["--max-iterations", "0"], "max_iterations=0", "greater than or equal to 1"),
        (["--max-dollars", "-1"], "dollars=-1.0", "greater than 0"),
        (["--max-seconds", "nan"], "seconds=nan", "finite"),
        (["--sandbox", "chroot"], "sandbox='chroot'", "'apptainer' or 'bubblewrap'"),
        (["--gpu", "two"], "gpu='two'", "'none' or 'insist'"),
        (["--backend", "oracle"], "'oracle'", "auto, analyst, script, random, openai, local:NAME"),
        (["--backend", "openai"], "model", "--model"),
        (["--backend", "openai", "--model", "m"], "OPENAI_API_KEY", "put the key there"),
        (["--backend", "openai", "--model", "m", "--base-url", "nowhere"], "base_url", "http(s)://host"),
        (["--price", "cheap"], "'cheap'", "IN,OUT"),
        (["--task", "lhco-sr"], "data=None", "--data FOLDER"),
        (["--task", "lhco-sr", "--data", "none"], "data='none'", "innerdata_train.npy"),
        (["--task", "lhco-rnd", "--data", "none"], "data='none'", "features.h5"),
    ],
)
def test_what_an_operator_gets_wrong_is_one_line(words: list[str], value: str, allowed: str) -> None:
    line = refused("run", "--sandbox", "bubblewrap", *words) if "--sandbox" not in words else refused("run", *words)
    assert value in line
    assert allowed in line
    assert not Path("runs").exists()


def test_a_data_folder_with_broken_files_is_one_line(tmp_path: Path) -> None:
    for name in ("innerdata_train.npy", "innerdata_test.npy", "innerdata_background.npy"):
        (tmp_path / name).write_bytes(b"\x93NUMPY but not really")
    assert "innerdata_train.npy" in refused("run", "--task", "lhco-sr", "--data", str(tmp_path))
    np.save(tmp_path / "innerdata_train.npy", np.array([{"pickle": 1}], dtype=object), allow_pickle=True)
    assert "innerdata_train.npy" in refused("run", "--task", "lhco-sr", "--data", str(tmp_path))
    (tmp_path / "events_anomalydetection_v2.features.h5").write_text("no HDF5")
    assert "features.h5" in refused("run", "--task", "lhco-rnd", "--data", str(tmp_path))


def test_a_dollar_limit_without_a_price_is_refused() -> None:
    words = ["--backend", "openai", "--model", "m", "--base-url", "http://127.0.0.1:9", "--max-dollars", "1"]
    assert "--price IN,OUT" in refused("run", *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--nonesuch"], "--nonesuch"),
        (["nonesuch"], "nonesuch"),
        (["run", "--seed", "many"], "--seed"),
        (["run", "--workers", "0"], "--workers"),
        (["resume"], "RUN"),
        (["fork", "RUN"], "STEP"),
        (["replay", "RUN", "--execute"], "--execute"),
        (["replay", "RUN", "--fork", "reporter"], "--fork"),
        (["replay", "RUN", "--tolerance", "1"], "--tolerance"),
        (["rerun", "RUN", "--model", "m"], "--model"),
        (["fork", "RUN", "reporter", "--sandbox", "docker"], "--sandbox"),
    ],
)
def test_what_the_parser_refuses_names_it_too(words: list[str], said: str) -> None:
    result = call(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert said in result.stderr


def test_resume_of_what_is_no_run_is_one_line(tmp_path: Path) -> None:
    assert "none/trace.jsonl" in refused("resume", "none", "--backend", "analyst")
    (tmp_path / "trace.jsonl").write_text("no JSON\n")
    assert "line 1" in refused("resume", str(tmp_path), "--backend", "analyst")
    (tmp_path / "trace.jsonl").write_text("")
    assert "contains no events" in refused("resume", str(tmp_path), "--backend", "analyst")


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setattr(select, "choose_backend", lambda *_, **__: Scripted(two_rounds()))
    return call(*TINY, "--json", "Is there [bold]anything[/]?")


def test_a_run_prints_one_result_as_json_and_the_rest_on_stderr(ended: Result, tmp_path: Path) -> None:
    assert ended.exit_code == 0
    result = RunResult.model_validate_json(ended.stdout)
    assert (result.status, result.request) == ("converged", "Is there [bold]anything[/]?")
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert result == RunResult.model_validate_json((run_dir / "result.json").read_text())
    assert f"report: {Path('runs') / run_dir.name / 'report.html'}" in ended.stderr.splitlines()
    assert "resume" not in ended.stderr
    assert "nothing to resume" in refused("resume", str(run_dir))


def test_image_and_gpu_reach_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[run.Settings] = []

    def start(settings: run.Settings, *_: object, **__: object) -> None:
        asked.append(settings)
        raise SandboxLost("asked for enough")

    monkeypatch.setattr(run, "start", start)
    monkeypatch.setattr(select, "choose_backend", lambda *_, **__: Scripted(two_rounds()))
    assert "asked for enough" in refused(*TINY, "--image", "sha256:0123", "--gpu", "none")
    refused(*TINY)
    assert [(settings.image, settings.gpu) for settings in asked] == [("sha256:0123", "none"), (IMAGE, "auto")]


@pytest.mark.parametrize(("words", "said"), [(["--max-dollars", "0"], "dollars=0"), (["--workers", "0"], "workers")])
def test_a_resume_without_means_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], said: str
) -> None:
    monkeypatch.setattr(select, "choose_backend", lambda *_, **__: Scripted(two_rounds()))
    stopped = call(*TINY, "--max-seconds", "0.001")
    assert stopped.exit_code == EXIT["budget"] == 4
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert (
        f"continue with: beamcrew resume {Path('runs') / run_dir.name} --backend scripted"
        in stopped.stderr.splitlines()
    )
    before = (run_dir / "trace.jsonl").read_bytes()
    result = call("resume", str(run_dir), *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert (run_dir / "trace.jsonl").read_bytes() == before


def test_every_status_has_an_exit_code_and_only_good_ends_have_zero() -> None:
    statuses = set(RunFinished.model_fields["status"].annotation.__args__)  # type: ignore[union-attr]
    assert statuses == EXIT.keys()
    assert {status for status, code in EXIT.items() if code == 0} == {"converged", "exhausted"}


def test_tools_lists_all_and_shows_the_schema_of_one() -> None:
    listed = call("tools")
    assert listed.exit_code == 0
    words = " ".join(re.sub(r"[│┃]", " ", listed.stdout).split())  # a narrow terminal folds what is long
    assert all(" ".join(tool.description.split())[:12] in words for tool in CATALOGUE.values())
    shown = call("tools", "bumphunt.scan")
    assert json.loads(shown.stdout) == CATALOGUE["bumphunt.scan"].schema()
    assert "events.describe" in refused("tools", "nonesuch")


def test_doctor_shows_its_checks_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    check = doctor.Check(name="extra", ok=False, detail="pip install 'beamcrew[tools]' [/red]")
    monkeypatch.setattr(doctor, "report", lambda image: [check])
    result = call("doctor")
    assert result.exit_code == 0, result.exception
    assert "beamcrew[tools]" in "".join(re.sub(r"[│┃]", " ", result.stdout).split())


def test_doctor_works_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789")
    result = call("doctor")
    assert result.exit_code == 0
    for name in ("docker", "bubblewrap", "gpu", "machine", "model"):
        assert name in result.stdout
    assert "canary" not in result.output


COMMANDS = [
    "run",
    "resume",
    "replay",
    "rerun",
    "fork",
    "compare",
    "stability",
    "view",
    "trace",
    "tools",
    "data",
    "doctor",
]


@pytest.mark.parametrize(
    ("words", "listed"),
    [
        ([], COMMANDS),
        *(([command], []) for command in COMMANDS),
        (["data", "simulate"], ["qcd", "resonance", "zjets", "jets", "showers"]),
    ],
)
def test_help(words: list[str], listed: list[str]) -> None:
    result = call(*words, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout
    assert result.stderr == ""
    assert set(listed) <= set(re.findall(r"^\W+(\w+)", result.stdout, re.MULTILINE))


def test_data_info_describes_the_shipped_sample() -> None:
    sample = Path(catalogue.__file__).parent / "lhco" / "sample" / "signal_3500_500_100.parquet"
    result = call("data", "info", str(sample))
    assert result.exit_code == 0, result.output
    assert "mjj" in result.stdout
    assert re.search(r"rows \d{4,}, columns \d+, labels: no", result.stdout)
