"""Some attacks and honest recipes once, through claim and audit; `benchmarks.redteam` counts all of them, often."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.redteam import NOMINAL, claimed, data_set, outcome, trial
from benchmarks.redteam_recipes import CHEATS, HONEST, Recipe

ATTACKS = ("bump in the score", "memory of a region")
KEPT = ("weak classifier",)  # the benchmark runs all, often


def named(recipe: Recipe) -> str:
    return recipe.name


@pytest.mark.parametrize("recipe", [recipe for recipe in CHEATS if recipe.name in ATTACKS], ids=named)
def test_a_recipe_that_cheats_or_errs_claims_nothing(recipe: Recipe, tmp_path: Path) -> None:
    found = outcome(trial(recipe, data_set(recipe, 0, 300), tmp_path))
    assert not claimed(found, NOMINAL, audited=True)
    if claimed(found, NOMINAL, audited=False):
        assert "audit failed" in found["reason"]


@pytest.mark.parametrize("recipe", [recipe for recipe in HONEST if recipe.name in KEPT], ids=named)
@pytest.mark.slow
def test_an_honest_recipe_keeps_its_claim(recipe: Recipe, tmp_path: Path) -> None:
    found = outcome(trial(recipe, data_set(recipe, 1000, 301), tmp_path))
    assert claimed(found, NOMINAL, audited=False)
    assert claimed(found, NOMINAL, audited=True), found


def test_the_recipes_are_there() -> None:
    assert {*ATTACKS, *KEPT} <= {recipe.name for recipe in (*CHEATS, *HONEST)}
