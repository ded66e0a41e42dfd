"""The shipped study of four families: complete, priced, and of a size that can be paid."""

from __future__ import annotations

import pytest

from agents.backends.openai_service import OpenAIService
from agents.studies.cell import backend_of
from agents.studies.estimate import COMPLETION_TOKENS, PROMPT_TOKENS, estimate
from agents.studies.study import Arm, read_study


def test_four_families_eight_repeats_with_signal_and_without() -> None:
    study = read_study("frontier")
    models = [arm for arm in study.backends if arm.is_llm]
    assert len({arm.base_url for arm in models}) == len({arm.api_key_env for arm in models}) == 4
    assert study.repeats == 8
    assert {dataset.options["n_signal"] for dataset in study.datasets} == {0, 300}
    for row, arm in zip(estimate(study, []), study.backends, strict=True):
        if arm.is_llm:
            assert arm.price
            assert row.dollars == pytest.approx(16 * arm.price.dollars(PROMPT_TOKENS, COMPLETION_TOKENS))
            assert row.dollars < 10


@pytest.mark.parametrize(("name", "value"), [("effort", "high"), ("pictures", False), ("reviewer", True)])
def test_a_later_setting_is_part_of_a_study_and_its_default_leaves_the_hash_as_it_was(name: str, value: object) -> None:
    study = read_study("frontier")
    told = study.backends[0].model_copy(update={name: value})
    other = study.model_copy(update={"backends": [told, *study.backends[1:]]})
    assert other.sha256() != study.sha256()
    assert other.canonical()["backends"][0][name] == value
    assert name not in study.canonical()["backends"][0]


def test_a_backend_without_pictures_shows_none() -> None:
    arm = Arm(name="a", kind="openai", model="m", base_url="http://127.0.0.1:9/v1")
    for shown in (True, False):
        backend = backend_of(arm.model_copy(update={"pictures": shown}))
        assert isinstance(backend, OpenAIService)
        assert backend.dialect.pictures is shown
