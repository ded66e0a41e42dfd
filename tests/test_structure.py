"""Conventions as tests: imports go one way, files stay small, importing does nothing heavy, packages are listed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tasks.catalogue import OURS, find_task

ROOT = Path(__file__).parent.parent
PACKAGES = ("agents", "beamcrew", "sandbox", "tasks", "tools")
# Who may import whom, of our own packages. Tasks read what leaves the sandbox through its strict reader.
ALLOWED = {
    "tools": {"tools"},
    "sandbox": {"sandbox"},
    "tasks": {"tasks", "tools", "sandbox.reader"},
    "agents": {"agents", "tasks", "tools", "sandbox"},
    "beamcrew": {"beamcrew", "agents", "tasks", "tools", "sandbox.reader"},
}
# The rooms of agents/ by floors: a room knows those below it.
ROOMS = ("backends", "trace", "crew", "outside", "runs", "ask", "studies doctor intake batch", "view", "mcp", "cli")
MAX_LINES = 400
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
ALL_SOURCES = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    ours = {name for name in imported(path) if name.split(".")[0] in PACKAGES}
    wrong = {n for n in ours if not any(n == a or n.startswith(a + ".") for a in ALLOWED[package])}
    assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


@pytest.mark.parametrize("floor", range(len(ROOMS)), ids=lambda floor: ROOMS[floor])
def test_rooms_of_agents_know_those_below(floor: int) -> None:
    below = {room for rooms in ROOMS[:floor] for room in rooms.split()}
    for room in ROOMS[floor].split():
        names = {name for path in (ROOT / "agents" / room).rglob("*.py") for name in imported(path)}
        known = {name.split(".")[1] for name in names if name.startswith("agents.")}
        assert known <= below | {room}, f"agents/{room} imports {sorted(known - below - {room})}"


def test_every_file_of_agents_is_in_a_room() -> None:
    rooms = {room for floor in ROOMS for room in floor.split()}
    inside = {path.relative_to(ROOT / "agents").parts[0] for path in SOURCES if path.is_relative_to(ROOT / "agents")}
    assert inside == rooms | {"__init__.py"}


def test_only_one_file_knows_the_openai_package() -> None:
    users = [path.name for path in SOURCES if any(name.split(".")[0] == "openai" for name in imported(path))]
    assert users == ["openai_service.py"]


@pytest.mark.parametrize("path", ALL_SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{path.relative_to(ROOT)} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            public = [n for n in node.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
            assert ast.get_docstring(node) or len(public) == 0, f"{path.relative_to(ROOT)}: class {node.name}"


def test_importing_does_nothing_heavy() -> None:
    code = (
        "import sys, agents.cli.main, beamcrew, tools.catalogue, tasks.catalogue\n"
        "heavy = {'torch', 'zuko', 'sklearn', 'awkward', 'fastjet', 'pythia8mc', 'h5py'} & sys.modules.keys()\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_packages_are_listed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["tool"]["setuptools"]["packages"]["find"]["include"]) == {f"{name}*" for name in PACKAGES}


def test_every_dependency_has_a_lower_bound_that_the_lock_meets() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    locked = dict(line.split("==") for line in lines if not line.startswith("#"))
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    for requirement in map(Requirement, [*project["dependencies"], *extras]):
        assert {part.operator for part in requirement.specifier} & {">=", "=="}, f"{requirement}: no lower bound"
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), f"{requirement}: locked"


def test_the_lock_works_with_any_index_and_any_build() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert lines[0].startswith("#")
    assert not [line for line in lines[1:] if not re.fullmatch(r"[a-z0-9-]+==[\w.]+", line)]


PHYSICS = re.compile(
    r"\b((\w+_)?mass(es|_\w+)?|resonances?|mjj|sidebands?|dijets?|jets?|showers?|tagg(ing|er)s?|unfold\w*|TeV|GeV|"
    r"(\w+_)?n_signal\w*|injected|particles?|collider|calorimeter|lhc\w*|discover(y|ies)|discovery_\w+|sic(_\w+)?|"
    r"omnifold|bumphunt|anomaly)\b",
    re.IGNORECASE,
)
TEXTS = [
    path
    for path in sorted((ROOT / "agents").rglob("*"))
    if path.suffix in (".py", ".md", ".j2", ".js", ".html", ".css", ".yaml")
]


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_agents_know_no_physics(path: Path) -> None:
    found = [line.strip() for line in path.read_text().splitlines() if PHYSICS.search(line)]
    assert not found


def test_agents_import_no_task() -> None:
    frame = {"tasks"} | {f"tasks.{path.stem}" for path in (ROOT / "tasks").glob("*.py")}
    known = {name for path in (ROOT / "agents").rglob("*.py") for name in imported(path) if name.startswith("tasks")}
    assert known <= frame, f"agents import {sorted(known - frame)}"


def test_tasks_are_listed_by_their_names_and_the_command_line_loads_none() -> None:
    assert [find_task(name).name for name in OURS] == list(OURS)
    code = "import sys, agents.cli.main; print([name for name in sys.modules if name.startswith('tasks.lhco')])"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
