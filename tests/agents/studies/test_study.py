"""Study files: refused with the field named, hashed by what they say, and not to be changed afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.studies.cells import cells_of, find_cell, options_of, seed_of
from agents.studies.study import Study, first_difference, parse_study, read_study, shipped_studies, shipped_wordings
from tasks.catalogue import make_task

PLAIN = {
    "name": "s",
    "task": "lhco-demo",
    "options": {"events": 30000},
    "wordings": ["plain", {"mine": "Anything new?"}],
    "backends": [{"name": "a", "kind": "analyst"}, {"name": "b", "kind": "random"}],
    "datasets": [{"name": "with", "fresh": True}, {"name": "none", "options": {"n_signal": 0, "seed": 3}}],
    "repeats": 3,
}
OPENAI = {"name": "m", "kind": "openai", "model": "m"}


def study(**changes: Any) -> Study:
    return parse_study(yaml.safe_dump(PLAIN | changes), "test")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"repeat": 3}, r"repeat: no such field"),
        (
            {"backends": [{"name": "a", "kind": "analyst", "api_key": "k"}]},
            r"backends\.0\.api_key: no such field",
        ),
        ({"repeats": 0}, r"repeats=0: .*greater than or equal to 1"),
        ({"repeats": None}, r"repeats=None: .*integer"),
        ({"wordings": ["plain", "rude"]}, r"wordings.*'rude' is not a shipped wording; select from plain, terse"),
        ({"wordings": ["plain", {"plain": "?"}]}, r"wordings.*plain is given twice"),
        ({"wordings": []}, r"wordings.*at least 1"),
        ({"backends": [{"name": "a", "kind": "openai"}]}, r"model: must be named if kind is openai"),
        ({"backends": [{"name": "a", "kind": "analyst", "model": "m"}]}, r"model: must be absent if kind is analyst"),
        ({"backends": [{"name": "a", "kind": "claude"}]}, r"backends\.0\.kind='claude'"),
        ({"backends": [{"name": "../a", "kind": "analyst"}]}, r"backends\.0\.name='\.\./a'"),
        ({"backends": PLAIN["backends"] * 2}, r"backends.*a, b is given twice"),
        ({"backends": [OPENAI | {"api_key_env": "sk-abc123"}]}, r"api_key_env='sk-abc123'"),
        ({"backends": [OPENAI | {"base_url": "https://u:secret@host/v1"}]}, r"base_url: must not contain a password"),
        ({"backends": [OPENAI], "budget": {"dollars": 1}}, r"m has a dollar limit, which needs its price"),
        ({"best_of": [{"arm": "c", "n": 2}]}, r"best_of: c is not a backend of this study; it has a, b"),
        ({"best_of": [{"arm": "a", "n": 4}]}, r"best_of: n=4 of a needs as many repeats; there are 3"),
        (
            {"best_of": [{"arm": "a", "n": 2}], "datasets": [{"name": "d", "fresh": True}]},
            r"best_of: all data sets are fresh",
        ),
        ({"task": "unfolding"}, r"task='unfolding': does not define how its runs are judged"),
        ({"success": {"mas_within": 0.1}}, r"success: mas_within: no such field"),
        ({"success": {"mass_within": 0}}, r"success: mass_within=0: .*greater than 0"),
        ({"task": "lhc"}, r"task='lhc': select from lhco-demo"),
        ({"options": {"signals": 3}}, r"signals=3: lhco-demo has no such option"),
        ({"datasets": [{"name": "d", "options": {"n_signal": -1, "seed": "x"}}]}, r"seed='x'"),
        ({"datasets": [{"name": "d", "fresh": True, "options": {"seed": 1}}]}, r"d is fresh, .*leave it out"),
        ({"task": "lhco-sr", "options": {"data": "/here"}}, r"data: the path of files is not part of a study"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study(**changes)


def test_a_file_that_is_no_study_is_named(tmp_path: Path) -> None:
    for text, message in (
        ("a: [", "x.yaml: not YAML"),
        ("- 1", "x.yaml: must be a mapping"),
        ("name: a\nname: b", "'name' is given twice"),
    ):
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_study(str(tmp_path / "x.yaml"))
    with pytest.raises(ValueError, match=r"study=exampel: must be a file \*.yaml or a shipped study: .*example"):
        read_study("exampel")


def test_numbers_are_read_as_json_reads_them() -> None:
    text = yaml.safe_dump(PLAIN | {"datasets": []}).replace(
        "datasets: []", "datasets:\n- {name: d, options: {signal: 3000_400_250, alpha: 1e-3}}"
    )
    assert parse_study(text, "t").datasets[0].options == {"signal": "3000_400_250", "alpha": 0.001}


def test_the_hash_is_that_of_what_is_said_not_of_how() -> None:
    turned = parse_study(json.dumps(dict(reversed(PLAIN.items()))), "t")
    assert turned.sha256() == study().sha256()
    assert study(wordings={"plain": shipped_wordings()["plain"], "mine": "Anything new?"}).sha256() == study().sha256()
    assert Study.model_validate_json(study().model_dump_json()).sha256() == study().sha256()
    changes: list[dict[str, Any]] = [
        {"repeats": 4},
        {"seed": 2},
        {"exclusions": ["x"]},
        {"wordings": {"plain": "other"}},
        {"temperature": 0},
    ]
    hashes = {study(**change).sha256() for change in [{}, *changes]}
    assert len(hashes) == len(changes) + 1


def test_what_the_study_leaves_out_the_task_gives() -> None:
    assert study().primary.metric == "sic_at_0.001"
    assert study(primary={"failure": 2}).primary.model_dump() == {"metric": "sic_at_0.001", "failure": 2.0}
    given = study(success={"primary_at_least": 3})
    assert given.canonical()["success"] == {"mass_within": 0.1, "primary_at_least": 3.0}
    said = "its mass within 0.1 TeV of the truth, and SIC of at least 3; without one, no discovery claimed"
    assert given.success.words("SIC").endswith(said)


def test_the_first_field_that_differs_is_named_with_both_values() -> None:
    one = study().canonical()
    assert first_difference(one, study().canonical()) is None
    assert first_difference(one, study(repeats=5).canonical()) == "repeats: 3 before, 5 now"
    datasets = [PLAIN["datasets"][0], {"name": "none", "options": {"n_signal": 0, "seed": 4}}]  # type: ignore[index]
    assert first_difference(one, study(datasets=datasets).canonical()) == "datasets.1.options.seed: 3 before, 4 now"
    assert str(first_difference(one, study(wordings=["plain"]).canonical())).startswith("wordings.mine: ")


def test_every_cell_is_there_once_and_all_backends_get_the_same_events_and_seeds() -> None:
    cells = cells_of(study())
    assert len({cell.name for cell in cells}) == len(cells) == 2 * 2 * 2 * 3
    assert find_cell(study(), cells[7].name) == cells[7]
    with pytest.raises(ValueError, match="cell=a/b: study s has no such cell"):
        find_cell(study(), "a/b")
    given: dict[tuple[str, int], set[str]] = {}
    for cell in cells:
        task = make_task("lhco-demo", options_of(study(), cell))
        given.setdefault((cell.dataset.name, cell.repeat), set()).add(f"{cell.seed} {task.options()}")
    assert all(len(seen) == 1 for seen in given.values()), "nothing but backend and wording differs in a block"
    assert len({next(iter(seen)) for seen in given.values()}) == 6
    seeds = {cell.repeat: options_of(study(), cell)["seed"] for cell in cells if cell.dataset.name == "with"}
    assert len(set(seeds.values())) == 3, "fresh events in each repeat"
    assert {options_of(study(), cell)["seed"] for cell in cells if cell.dataset.name == "none"} == {3}
    # A study that is stopped half way has as many runs of each backend as of any other.
    assert [cell.arm.name for cell in cells[:4]] == ["a", "b", "a", "b"]
    assert [cell.repeat for cell in cells] == sorted(cell.repeat for cell in cells)


def test_seeds_stay_where_they_are_when_a_study_grows_and_are_well_spread() -> None:
    grown = study(repeats=500, datasets=[{"name": "new"}, *PLAIN["datasets"]])  # type: ignore[misc]
    for dataset in ("with", "none"):
        assert [seed_of(grown, dataset, k) for k in range(3)] == [seed_of(study(), dataset, k) for k in range(3)]
    seeds = [seed_of(grown, "new", k) for k in range(500)]
    assert len(set(seeds)) == 500
    assert sum(seed < 2**30 for seed in seeds) == pytest.approx(250, abs=4 * 500**0.5 / 2)
    assert seed_of(study(seed=2), "with", 0) != seed_of(study(), "with", 0)


def test_the_shipped_studies_hold_what_they_promise() -> None:
    shipped = {name: parse_study(text, name) for name, text in shipped_studies().items()}
    assert all(study.name == name for name, study in shipped.items())
    paper = shipped["agents-of-discovery"]
    assert (paper.task, paper.repeats) == ("lhco-sr", 16)
    text = paper.wordings["questions"]
    assert all(word in text for word in ("p-value", "mass", "percentage"))
    example = shipped["example"]
    assert {arm.kind for arm in example.backends} == {"analyst", "script", "random", "local"}
    tasks = [make_task(example.task, example.options | d.options).options() for d in example.datasets]
    assert len({t["n_signal"] for t in tasks} - {0}) >= 2
    assert len({t["signal"] for t in tasks if t["n_signal"]}) >= 2
    assert any(t["n_signal"] == 0 for t in tasks)


def test_every_wording_asks_for_the_same_four_things() -> None:
    wordings = shipped_wordings()
    assert len(wordings) >= 5
    assert len(set(wordings.values())) == len(wordings)
    for text in wordings.values():
        low = text.lower()
        assert "mass" in low or "how heavy" in low
        assert "p-value" in low or "by chance" in low
        assert any(words in low for words in ("signal event", "signal yield", "how many"))
        assert any(words in low for words in ("resonance", "new particle"))
