"""Each behaviour of a service on its own; the benchmark of the same name counts them."""

from __future__ import annotations

import pytest

from benchmarks.backends import BEHAVIOURS
from benchmarks.services.scene import Behaviour, play

NAMES = [f"{behaviour.like}: {behaviour.name}" for behaviour in BEHAVIOURS]


def test_behaviours_have_names_of_their_own() -> None:
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=NAMES)
def test_what_can_be_had_is_had(behaviour: Behaviour) -> None:
    play(behaviour)
