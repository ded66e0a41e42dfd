"""`beamcrew stability` as it is typed: what it says, and what the board and the estimate add up to."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from study_rows import outcomes_of, study_of
from test_study import PLAIN
from typer.testing import CliRunner

from agents.cli.main import app
from agents.studies.board import Board
from agents.studies.estimate import COMPLETION_TOKENS, PROMPT_TOKENS, estimate
from agents.studies.study import parse_study


def test_the_list_has_studies_and_wordings() -> None:
    said = CliRunner().invoke(app, ["stability", "--list"])
    assert said.exit_code == 0
    for word in ("example", "agents-of-discovery", "sceptical"):
        assert word in said.output


def test_a_dry_run_shows_the_matrix_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(PLAIN))
    said = CliRunner().invoke(
        app, ["stability", str(tmp_path / "s.yaml"), "--dry-run", "--runs", str(tmp_path / "runs")]
    )
    assert said.exit_code == 0
    assert "24 of 24 runs left" in said.output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a study file or a shipped study"),
        (["exampel"], "or a shipped study"),
        (["example", "--sandbox", "jail", "--dry-run"], ""),
        (["example", "--sandbox", "jail"], "sandbox='jail'"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["stability", *arguments, "--runs", str(tmp_path)])
    assert said.exit_code == (2 if message else 0)
    assert message in said.output.replace("\n", " ")
    assert not list(tmp_path.iterdir())


def test_an_estimate_is_by_the_budget_the_price_and_the_runs_that_are_done() -> None:
    price = {"prompt": 2, "completion": 8}
    arms = [
        {"name": "free", "kind": "analyst"},
        {"name": "model", "kind": "openai", "model": "m", "price": price},
        {"name": "held", "kind": "openai", "model": "m", "price": price, "budget": {"dollars": 0.01, "tokens": 1000}},
        {"name": "unpriced", "kind": "openai", "model": "m"},
    ]
    study = parse_study(yaml.safe_dump(PLAIN | {"backends": arms}), "t")
    free, model, held, unpriced = estimate(study, [])
    assert (free.runs, free.left, free.dollars, free.at_most, free.tokens) == (12, 12, 0, 0, 0)
    assert model.dollars == pytest.approx(12 * (2 * PROMPT_TOKENS + 8 * COMPLETION_TOKENS) / 1e6)
    assert (model.at_most, model.seconds) == (None, None)
    assert (held.dollars, held.at_most, held.tokens) == (pytest.approx(0.12), pytest.approx(0.12), 12_000)
    assert (unpriced.dollars, unpriced.at_most) == (None, None)


def test_runs_that_are_done_count_for_the_estimate_of_the_others() -> None:
    study = study_of()
    done = [o for o in outcomes_of(study, {"good": 0.9, "analyst": 0.7, "random": 0.3}) if o.repeat == 0]
    rows = {row.arm: row for row in estimate(study, done)}
    mine = [o for o in done if o.backend == "good"]
    left = rows["good"].runs - len(mine)
    assert (rows["good"].left, rows["good"].measured) == (left, len(mine))
    assert rows["good"].seconds == pytest.approx(left * sum(o.seconds for o in mine) / len(mine))
    assert rows["good"].dollars == pytest.approx(left * sum(o.cost.dollars for o in mine) / len(mine))


def test_the_board_counts_what_is_there_and_names_what_is_tried_again(tmp_path: Path) -> None:
    study, out = study_of(), StringIO()
    outcomes = outcomes_of(study, {"good": 0.9, "analyst": 0.7, "random": 0.3})
    for outcome in outcomes[:3]:
        (tmp_path / outcome.cell).mkdir(parents=True)
        (tmp_path / outcome.cell / "outcome.json").write_text(outcome.model_dump_json())
    with Board(study, tmp_path, Console(file=out, width=200)) as board:
        assert len(board.left()) == len(outcomes) - 3
        late = outcomes[3]
        board.tell(late.cell, "running")
        board.tell(late.cell, "lost")
        assert late.cell in board.left()
        (tmp_path / late.cell).mkdir(parents=True)
        (tmp_path / late.cell / "outcome.json").write_text(late.model_dump_json())
        board.tell(late.cell, "done")
        assert late.cell not in board.left()
    said = out.getvalue()
    assert f"{late.cell}: lost, will be tried again" in said
    assert f"[4/{len(outcomes)}] {late.cell}" in said
