"""What a request and a table say about a search: mass, unit, features, weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents.intake.rules import by_rules
from tasks.catalogue import make_task
from tests.tasks.own_toys import events, prepared
from tools.events.sight import look

NAMED = {"column": "m_tt", "unit": "GeV", "features": ["lep_pt", "dphi", "btag"], "search_range": [250.0, 600.0]}


@pytest.mark.parametrize(
    ("request_", "options", "asked"),
    [
        ("Is there a resonance in m_tt between 0.25 and 0.6 TeV? Use the columns lep_pt, dphi and btag.", NAMED, []),
        ("Look for a bump in m_tt from 250 to 600 GeV using lep_pt, dphi, btag", NAMED, []),
        ("Is there a resonance in m_tt? Use lep_pt.", {"column": "m_tt", "features": ["lep_pt"]}, ["unit"]),
        ("Any resonance at 2-3 TeV? Use lep_pt.", {"column": "m_tt"}, ["search_range", "unit"]),
        ("Is there anything new in here?", {"column": "m_tt"}, ["unit", "features"]),
        ("Is there a bump in m_tt (GeV), with the weights in genWeight? Use lep_pt.", {"weights": "genWeight"}, []),
        ("Is there a bump in m_tt (GeV)? Use lep_pt.", {"features": ["lep_pt"]}, ["unweighted"]),
        (
            "Any resonance in m_tt from 250 to 600 GeV besides the one at 330 to 370 GeV? Use lep_pt, dphi, btag.",
            NAMED | {"known": [[330.0, 370.0]]},
            [],
        ),
        (
            "Is there a bump in m_tt apart from 330-370 GeV? Use lep_pt and dphi.",
            {"known": [[330.0, 370.0]], "unit": "GeV", "features": ["lep_pt", "dphi"]},
            [],
        ),
        ("Any bump in m_tt except at 33-37 TeV? Use lep_pt.", {"column": "m_tt"}, ["known", "unit"]),
        ("Is there anything new in m_tt (GeV)?", {"column": "m_tt", "unit": "GeV"}, ["features"]),
    ],
)
def test_requests(request_: str, options: dict[str, Any], asked: list[str], tmp_path: Path) -> None:
    more = {"genWeight": 1.5} if {"weights", "unweighted"} & {*options, *asked} else {}
    events(3000, 0, 1).assign(**more).to_parquet(tmp_path / "mine.parquet")
    card = by_rules(request_, look(tmp_path / "mine.parquet"))
    assert card.task == "search"
    assert card.options.items() >= options.items()
    assert [question.about for question in card.questions] == asked
    make_task("search", card.arguments())


@pytest.mark.parametrize("name", ["m_tt_GeV", "m_tt [GeV]", "mjj_gev", "mass(GeV)", "m_tt/GeV"])
@pytest.mark.parametrize("where", ["", " at 2-3 TeV", " between 0.25 and 0.6 TeV"])
def test_a_unit_in_the_name_of_the_column_is_not_asked_for(name: str, where: str, tmp_path: Path) -> None:
    events(3000, 0, 1).rename(columns={"m_tt": name}).to_parquet(tmp_path / "mine.parquet")
    for features, task in (" Use lep_pt and dphi.", "search"), ("", "spectrum"):
        card = by_rules(f"Is there a resonance{where}?{features}", look(tmp_path / "mine.parquet"))
        assert card.task == task
        assert card.options["column"] == name
        if task == "search":  # a spectrum is searched in the unit of the request
            assert card.options["unit"] == "GeV"
            assert [question.about for question in card.questions] == (["search_range"] if "2-3" in where else [])
            if not where:
                _, facts = prepared(tmp_path, events(20_000, 0, 1).rename(columns={"m_tt": name}), column=name)
                assert facts["unit"] == "GeV"
        elif not where:
            assert card.options["unit"] == "GeV"


@pytest.mark.parametrize(
    "asked",
    [
        "Is there a resonance in m_tt between 250 and 600 GeV?",
        "Is there a resonance between 250 and 600 GeV? Use the column m_tt.",
        "Is there a resonance in m_tt between 250 and 600 GeV? Use the weights in weight.",
        "Is there a resonance in m_tt between 250 and 600 GeV? Use events with btag > 0.",
    ],
)
def test_without_features_the_mass_alone_is_searched(asked: str, tmp_path: Path) -> None:
    events(3000, 0, 1).assign(weight=1.0).to_parquet(tmp_path / "mine.parquet")
    assert by_rules(asked, look(tmp_path / "mine.parquet")).task == "spectrum"


def test_weights_are_asked_about_and_labels_are_named(tmp_path: Path) -> None:
    events(3000, 0, 1).assign(weight=1.0, is_signal=0).to_parquet(tmp_path / "mine.parquet")
    card = by_rules("Is there a resonance in m_tt (GeV)? Use lep_pt.", look(tmp_path / "mine.parquet"))
    assert [question.about for question in card.questions] == ["unweighted"]
    assert "is_signal" in " ".join(card.remarks)
