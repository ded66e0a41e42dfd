"""Names that a terminal would take for markup, or for commands to itself, are shown as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.files.toys import assert_refused, data, events, jets, parquet
from tools.data_console import shown
from tools.jet_model.jets_file import write_jets


@pytest.mark.parametrize("name", ["m[/jj]", "[bold]m[/bold]", "[red]", "m[link=x]", ":smile:", "[/]"])
def test_names_are_shown_as_they_are(tmp_path: Path, name: str) -> None:
    path = parquet(tmp_path / f"{name.replace('/', '')}.parquet", events(50) | {name: np.ones(50)})
    result = data("info", path)
    assert result.exit_code == 0, result.output
    assert name in result.stdout
    assert path.name in result.stdout
    target = tmp_path / f"out{name.replace('/', '')}.parquet"
    result = data("convert", path, target)
    assert (result.exit_code, target.name in result.stdout) == (0, True)
    assert_refused(data("convert", path, target), target.name)


def test_names_of_kinds_and_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "[bold].h5"
    write_jets(path, jets(kinds=("[/qcd]", "\x1b[2Jtop")))
    result = data("info", path)
    assert result.exit_code == 0, result.output
    assert "[/qcd] 15" in result.stdout
    assert r"\x1b[2Jtop 15" in result.stdout
    assert "\x1b" not in result.output
    wild = parquet(tmp_path / "wild.parquet", events(50) | {"\x1b[2Jm\nm": np.full(50, np.nan)})
    assert_refused(data("info", wild), r"\x1b[2Jm")
    assert shown("a\u202eb\n") == r"a\u202eb\n"
