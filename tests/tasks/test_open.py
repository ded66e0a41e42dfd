"""The task `open`: each way of cheating fails its own check, honest scripts fail none, and the analyst answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from agents.backends.select import choose_backend
from agents.runs import run as runs
from tasks.catalogue import make_task
from tasks.claim import Measured, Measurement
from tasks.open.checks import ALPHA, checked
from tasks.open.submission import OpenSubmission
from tasks.page import Graded, Run, Warning
from tasks.score import Score
from tasks.task import TaskError
from tools.analysis import Answer, repeat

# The mean of a column with its error, and the figure of a script that needs no library of plots.
HONEST = """
import json, struct, sys, zlib
from pathlib import Path
import numpy as np
import pyarrow.parquet as pq

data, out = sys.argv[1:3]
x = pq.read_table(data)["mass"].to_numpy()
value, error, unit = x.mean(), x.std() / np.sqrt(len(x)), "GeV"
counts, edges = np.histogram(x, 5, (9.0, 10.0))
CHEAT
def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
pixels = zlib.compress(b"\\0\\0\\xff" * 2)
head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0))
Path(out, "m.png").write_bytes(b"\\x89PNG\\r\\n\\x1a\\n" + head + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
figure = {"file": "m.png", "x": {"label": "mass", "unit": unit}, "y": {"label": "pairs", "unit": "events"},
          "series": [{"x": edges.tolist(), "y": counts.tolist()}]}
number = {"name": "mean", "value": float(value), "error": float(error), "unit": "GeV", "what": "mean mass"}
table = {"title": "range", "columns": [{"name": "mass", "unit": "GeV", "values": [float(x.min()), float(x.max())]}]}
results = {"numbers": [number], "figures": [figure], "tables": [table], "settings": {"bins": 5}}
Path(out, "results.json").write_text(json.dumps(results))
"""


def muons(rows: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    charge, truth = rng.choice(["OS", "SS"], rows), rng.integers(0, 2, rows)
    return pd.DataFrame(
        {"mass": rng.normal(9.46, 0.1, rows), "eta": rng.normal(0, 1.2, rows), "charge": charge, "is_signal": truth}
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of muon pairs and what the task makes of it."""
    folder = tmp_path_factory.mktemp("open")
    muons().to_csv(folder / "muons.csv", index=False)
    task = make_task("open", {"data": str(folder / "muons.csv"), "bootstraps": 10}).salted("0" * 32)
    facts = task.prepare(folder / "inputs", folder / "held_out", folder / "sealed")
    assert facts["rows"] == 400
    assert "is_signal" not in json.dumps(facts)  # truth reaches no agent
    assert "is_signal" not in pd.read_parquet(folder / "inputs" / "events.parquet")
    return folder


def repeated(
    folder: Path, cheat: str, prepared: Path, monkeypatch: pytest.MonkeyPatch, inputs: str = "inputs"
) -> Answer:
    """Return the results of the honest script with a change."""
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    Path("analysis.py").write_text(HONEST.replace("CHEAT", cheat))
    place = prepared / inputs
    repeat(script="analysis.py", data=str(place / "events.parquet"), resamples=str(place / "resamples.json"))
    return Answer.model_validate_json(Path("answer.json").read_bytes())


def graded(folder: Path, chosen: Score | None = None) -> Score:
    task = make_task("open", {"data": "anything.csv"})
    if chosen is None:
        return task.grade(OpenSubmission(), folder, folder, 1)
    return task.confirm(OpenSubmission(), chosen, folder, folder, folder)


def failed(score: Score) -> list[tuple[str, str]]:
    return [(each["of"], each["what"]) for each in score.details["checks"] if not each["holds"]]


CHEATS = {
    "none": ("", []),
    "a number that was typed in": ("value = 9.4603", [("mean", "follows the data")]),
    "an error too small": ("error /= 5", [("mean", "error is the spread")]),
    "an error too large": ("error *= 5", [("mean", "error is the spread")]),
    "no seed": ("value += np.random.normal(0, error / 10)", [("mean", "is made again")]),
    "no unit of an axis": ("unit = ''", [("m.png", "axes have labels and units")]),
    "no error": ("error = 0", [("mean", "has an error")]),
    "noise with a seed made of the data": (
        "import zlib; value = 9.46 + error * np.random.default_rng(zlib.crc32(x.tobytes())).normal()",
        [("mean", "is computed, not drawn")],
    ),
    "no half": ("assert len(x) > 250", [("script", "works on parts of the data"), ("mean", "halves agree")]),
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_each_cheat_fails_its_own_check(
    cheat: str, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, wrong = CHEATS[cheat]
    repeated(tmp_path, code, prepared, monkeypatch)
    score = graded(tmp_path)
    assert failed(score) == wrong
    assert score.value is not None
    assert (score.value == 1) == (not wrong)
    assert all(of in score.reason for of, _ in wrong)


def test_in_a_fresh_sandbox_other_halves_give_the_same_numbers(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = repeated(tmp_path / "crew", "", prepared, monkeypatch)
    chosen = graded(tmp_path / "crew")
    again = repeated(tmp_path / "claim", "", prepared, monkeypatch, "held_out")
    assert first.results == again.results
    assert first.resampled != again.resampled
    assert graded(tmp_path / "claim", chosen).value == 1
    # A file that was written by hand is the same whatever the halves are.
    assert failed(graded(tmp_path / "crew", chosen)) == [("mean", "follows the data")]
    # Numbers that depend on more than the data are others in a fresh sandbox.
    moved = chosen.details["results"] | {"numbers": [chosen.details["results"]["numbers"][0] | {"value": 9.5}]}
    other = chosen.model_copy(update={"details": chosen.details | {"results": moved}})
    assert failed(graded(tmp_path / "claim", other)) == [("mean", "is made again")]


def simulated(rng: np.random.Generator, off: float, numbers: int = 4, resamples: int = 20) -> Answer:
    """Return an answer whose numbers vary by `off` times their stated errors."""
    names = [f"x{k}" for k in range(numbers)]
    made = {"numbers": [{"name": n, "value": 0.0, "error": 1.0, "unit": "1"} for n in names]}

    def part(kind: str, error: float) -> dict[str, Any]:
        values = {n: (float(off * error * rng.normal()), error) for n in names}
        return {"kind": kind, "rows": 1, "numbers": values}

    parts = [part("half", np.sqrt(2)) for _ in range(2)] + [part("bootstrap", 1.0) for _ in range(resamples)]
    parts += [part("nearly all", 0.1) for _ in range(5)]
    return Answer.model_validate({"rows": 1000, "results": made, "again": made, "resampled": parts})


def wrong(off: float, n: int = 300) -> int:
    rng = np.random.default_rng(2)
    return sum(any(not check.holds for check in checked(simulated(rng, off))) for _ in range(n))


def test_right_errors_rarely_fail_and_wrong_ones_do() -> None:
    assert wrong(1.0) <= 3 + 3 * np.sqrt(300 * ALPHA)  # three are expected, fewer with the tolerance
    assert wrong(1.15) <= 30  # a formula that is a little off
    assert wrong(3.0, 50) == wrong(1 / 3, 50) == 50


def test_numbers_of_the_text_stand_in_the_results(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = repeated(tmp_path, "", prepared, monkeypatch)
    score, task = graded(tmp_path), make_task("open", {"data": "m.csv", "column": "mass", "cut": "eta < 2.4"})
    mean = answer.results.numbers[0]
    assert mean.error is not None
    honest = f"The mean is {mean.value:.4f} ± {mean.error:.2g} GeV for |eta| < 2.4 in 400 pairs, 5 bins."
    claim = Measurement(numbers={"mean": Measured(value=mean.value, error=mean.error)}, text=honest)
    (check,) = task.check(claim, [score], None)
    assert (check.agrees, check.unit) == (True, "GeV")
    lying = claim.model_copy(update={"text": f"{honest} The scale is shifted by 0.37%, at 4.2 errors."})
    checks = task.check(lying, [score], None)
    assert [each.name for each in checks[1:]] == ["in the text: 0.37%", "in the text: 4.2"]
    assert not any(each.agrees for each in checks[1:])
    page = task.page(Run(graded=[Graded(0, OpenSubmission(), score)], best=0, claim=lying, checks=checks))
    (warning,) = [block for block in page.answer if isinstance(block, Warning)]
    assert "0.37%, 4.2" in warning.text
    for name, value in (("mean", -mean.value), ("mean", mean.value + mean.error), ("shift", mean.value)):
        other = claim.model_copy(update={"numbers": {name: Measured(value=value)}})
        assert [each.agrees for each in task.check(other, [score], None) if each.claimed is not None] == [False]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "answer.json"),
        ("{", "not JSON"),
        ("{}", "rows"),
        ('{"rows": 1, "results": {}, "again": {}}', "no number"),
        ('{"rows": 1, "results": {"numbers": [{"name": "x", "value": NaN}]}, "again": {}}', "NaN"),
        ('{"rows": 1, "results": {"numbers": [{"name": "$(rm)", "value": 1}]}, "again": {}}', "numbers.0.name"),
    ],
)
def test_a_file_that_the_tool_did_not_write_is_refused(content: str | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "answer.json").write_text(content)
    score = graded(tmp_path)
    assert score.value is None
    assert said in score.reason


@pytest.mark.parametrize(
    ("options", "field", "words"),
    [
        ({"column": "pt"}, "column", "no column 'pt'"),
        ({"column": "charge"}, "column", "numbers needed"),
        ({"column": "mass", "groups": {"far": "eta > 100"}}, "groups", "selects no row"),
        ({"groups": {"os": "charge == 'OS'"}}, "", "groups need a column"),
        ({"cut": "mass > 1e9"}, "cut", "at least 50 rows, not 0"),
        ({"cut": "is_signal == 1"}, "cut", "no column 'is_signal'"),
        ({"weights": "charge"}, "weights", "a column of numbers: mass, eta"),
    ],
)
def test_what_does_not_go_is_named(
    options: dict[str, Any], field: str, words: str, prepared: Path, tmp_path: Path
) -> None:
    given = {"data": str(prepared / "muons.csv")} | options
    with pytest.raises(TaskError) as error:
        make_task("open", given).prepare(tmp_path / "inputs", tmp_path / "held_out", tmp_path / "sealed")
    assert error.value.field == field
    assert words in str(error.value)


def test_the_analyst_compares_two_groups_and_everything_is_repeated(prepared: Path, tmp_path: Path) -> None:
    groups = {"barrel": "abs(eta) < 1.2", "endcap": "abs(eta) >= 1.2"}
    options = {"data": str(prepared / "muons.csv"), "column": "mass", "unit": "GeV", "groups": groups, "bootstraps": 10}
    request = "Compare the dimuon mass in barrel and endcap; is the scale shifted?"
    settings = runs.Settings(request=request, task="open", options=options, sandbox="bubblewrap", salt="")
    result = runs.start(settings, choose_backend("analyst"), tmp_path / "run")
    assert (result.status, result.confirmed and result.confirmed.value) == ("converged", 1)
    table = muons()
    near = table.eta.abs() < 1.2
    means = [table.mass[near].mean(), table.mass[~near].mean()]
    claim = Measurement.model_validate(result.claim)
    found = claim.numbers["difference_endcap_barrel"]
    assert found.value == pytest.approx(means[1] - means[0], rel=1e-3)
    assert found.error == pytest.approx(np.hypot(*(table.mass[rows].sem() for rows in (near, ~near))), rel=0.02)
    assert "they agree within two errors" in claim.text
    assert all(check.agrees and check.traced for check in result.claims)  # none of the text is made up
    report = (tmp_path / "run" / "report.md").read_text()
    assert "in a fresh sandbox" in report
    assert "drawn by the harness" in report
