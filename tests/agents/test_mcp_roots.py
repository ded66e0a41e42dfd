"""Files that a client may name: what lies below the allowed folders, by whatever path, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agents.mcp.roots import Roots, as_parquet
from tools.arrays import load_arrays
from tools.contract import ToolError


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    """Two folders, one with the folder of runs in it; beside them a file with a secret."""
    for name in ("one/inner", "one/runs/a/sealed", "one/.ssh", "two"):
        (tmp_path / name).mkdir(parents=True)
    for name in (
        "secret",
        "one/a.csv",
        "one/inner/b.csv",
        "one/.env",
        "one/.ssh/key",
        "one/runs/a/sealed/labels",
        "two/c",
    ):
        (tmp_path / name).write_text(name)
    (tmp_path / "one" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "one" / "within").symlink_to(tmp_path / "two" / "c")
    os.mkfifo(tmp_path / "one" / "pipe")
    return Roots([tmp_path / "one", tmp_path / "two"], tmp_path / "one" / "runs")


@pytest.mark.parametrize("path", ["a.csv", "inner/b.csv", "inner/../a.csv", "./a.csv", "c", "within"])
def test_what_is_inside_is_copied(roots: Roots, path: str, tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    copy = roots.copied("path", path, tmp_path / "into")
    assert copy.parent == tmp_path / "into"
    assert copy.read_text().endswith(Path(path).name if path != "within" else "c")
    assert not copy.stat().st_mode & 0o222


@pytest.mark.parametrize(
    "path",
    [
        *("../secret", "/etc/passwd", "out", "inner/../../secret", "nothing", "", "\0", "x" * 5000, "~/.ssh", "pipe"),
        *(".env", ".ssh/key", "runs/a/sealed/labels", "/proc/self/environ", "/proc/self/cwd", "inner"),
    ],
)
def test_what_is_outside_hidden_in_a_run_or_no_file_is_not(roots: Roots, path: str, tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    with pytest.raises(ToolError, match="path="):
        roots.copied("path", path, tmp_path / "into")
    assert not list((tmp_path / "into").iterdir())


def test_a_folder_with_a_link_that_leads_out_is_refused(roots: Roots, tmp_path: Path) -> None:
    assert roots.place("data", "inner") == tmp_path / "one" / "inner"
    with pytest.raises(ToolError, match="links that lead out"):
        roots.place("data", str(tmp_path / "one"))


def test_paths_in_options_are_checked_and_other_texts_are_left_alone(roots: Roots, tmp_path: Path) -> None:
    given = {"column": "sqrt(2*a/b)", "n": 3, "files": ["a.csv"], "name": "tiny"}
    assert roots.checked("options", given) == given | {"files": [str(tmp_path / "one" / "a.csv")]}
    for value in ("/etc/passwd", "~/x", {"deep": ["/proc/self/environ"]}, ".env", "../secret"):
        with pytest.raises(ToolError, match="options"):
            roots.checked("options", {"weights": value})


@pytest.mark.parametrize("name", ["$(touch x).csv", "-rf", "a\u202ecsv", "a b\n.csv", "é" * 80 + ".csv"])
def test_copies_have_harmless_names(tmp_path: Path, name: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "into").mkdir()
    (tmp_path / "root" / name).write_text("x")
    copy = Roots([tmp_path / "root"], tmp_path / "runs").copied("path", name, tmp_path / "into")
    assert copy.name.isascii()
    assert copy.name.replace(".", "").replace("-", "").replace("_", "").isalnum() or set(copy.name) <= set("_.")
    assert copy.name[0] not in ".-"


def test_two_files_of_one_name_are_kept_apart_and_one_file_is_there_once(tmp_path: Path) -> None:
    for name in ("one", "two", "into"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text(name) if name != "into" else None
    roots = Roots([tmp_path / "one", tmp_path / "two"], tmp_path / "runs")
    first, second, again = (
        roots.copied("path", str(tmp_path / name / "a.csv"), tmp_path / "into") for name in ("one", "two", "one")
    )
    assert (first.read_text(), second.read_text()) == ("one", "two")
    assert again == first


def test_a_table_becomes_parquet_without_labels(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("m,is_signal,kind\n1.5,0,a\n2.5,1,b\n")
    target = as_parquet(tmp_path / "t.csv")
    assert target
    assert {name: list(each) for name, each in load_arrays(str(target), "t").items()} == {"m": [1.5, 2.5]}
    (tmp_path / "t.txt").write_text("no table")
    assert as_parquet(tmp_path / "t.txt") is None
