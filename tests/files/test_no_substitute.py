"""A model that was named is never replaced by the built-in analyst unasked."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import beamcrew
from agents.backends.price import Price
from agents.backends.select import choose_backend
from agents.cli.main import app


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "BEAMCREW_MODEL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("bare")
def test_a_model_is_never_replaced_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ({"model": "gpt-5-mini"}, {"price": Price(prompt=1, completion=2)}):
        with pytest.raises(ValueError, match=r"set OPENAI_API_KEY, or give --base-url; with --backend auto"):
            choose_backend(**given)  # type: ignore[arg-type]
        assert choose_backend("auto", **given).name == "analyst"  # type: ignore[arg-type]
    for command in (["run"], ["resume", str(tmp_path)], ["fork", str(tmp_path), "planner/1"]):
        result = CliRunner().invoke(app, [*command, "--model", "gpt-5-mini"])
        assert result.exit_code == 2
        assert "OPENAI_API_KEY" in result.stderr
    with pytest.raises(ValueError, match="OPENAI_API_KEY"):
        beamcrew.run(model="gpt-5-mini", runs=tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("BEAMCREW_MODEL", "gpt-5-mini")
    with pytest.raises(ValueError, match="gpt-5-mini was given"):
        choose_backend()
