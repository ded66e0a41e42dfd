"""A claimed number was printed by something that ran, to the digits claimed, or it is not traced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_trace_store import STARTED
from tool_events import called

from agents.trace.events import Executed, Graded, Sealed
from agents.trace.store import Store
from agents.trace.traced import traced
from agents.trace.words import agreement
from tasks.quoted import among
from tasks.score import CheckedNumber, Metric, Score


def check(name: str, claimed: float | bool | None, error: float | None = None) -> CheckedNumber:
    scales = (1.0, 1e-3) if name == "mass" else (1.0,)
    return CheckedNumber(name=name, claimed=claimed, claimed_error=error, harness=None, agrees=True, scales=scales)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """812 ± 90 and 705.4 ± 95 events, 3,512.4 GeV, p = 3.16e-11; a long array; a metric that no agent saw."""
    made = Store.create(tmp_path / "r")
    made.append(STARTED)
    printed = made.put(b"fit: n=812 +- 90 events\nmass 3512.4+-21 GeV; seed7, v1.760\n")
    nothing = made.put(b"")
    ran = {"key": "k", "argv": ["python", "a.py"], "cwd": "/workspace", "given": {}, "exit_code": 0, "ended": "exit"}
    rest = {"seconds": 1.0, "stderr": nothing, "dropped_bytes": 0, "files": {}}
    made.append(Executed(where="worker/0/a", stdout=printed, **ran, **rest))
    made.append(Executed(where="audit/0/a", stdout=made.put(b"444"), **ran, **rest))
    result = {"signal": 705.4, "error": 95.0, "grid": [float(n) for n in range(500, 900)]}
    made.append(called(where="worker/0/a", tool="t", arguments={"window": 760}, result=result, seconds=1.0))
    score = Score(metric="z", value=6.5, reason="mass 3.5", details={"p_global": 3.16e-11, "warning": None})
    made.append(Graded(key="k", iteration=0, submission=None, score=score))
    made.append(Sealed(metrics=[Metric(name="truth", value=772.0)], checks=[]))
    return made


@pytest.mark.parametrize(
    ("name", "claimed", "error", "found"),
    [
        ("n_signal", 812.0, 90.0, True),
        ("n_signal", 760.0, 95.0, False),  # blended by eye
        ("n_signal", 705.0, 95.0, True),
        ("n_signal", 705.4, 60.0, False),  # the error was not
        ("n_signal", 710.0, 95.0, True),  # two digits
        ("n_signal", 772.0, None, False),  # the truth
        ("n_signal", 444.0, None, False),  # printed for the harness alone
        ("mass", 3.512, 0.021, True),
        ("mass", 3.51, None, True),
        ("mass", 3.53, None, False),
        ("n_signal", 3.512, None, False),  # no mass: no other units
        ("p_value", 3.2e-11, None, True),
        ("p_value", 3.3e-11, None, False),
        ("discovery", True, None, None),
        ("mass", None, None, None),
    ],
)
def test_a_number_is_traced_by_its_own_digits(
    store: Store, name: str, claimed: float | bool | None, error: float | None, found: bool | None
) -> None:
    (said,) = traced([check(name, claimed, error)], store.events(), store)
    assert said.traced is found
    assert agreement(said) == ("agrees, not traced" if found is False else "agrees")


def test_rounding_is_to_the_digits_that_are_claimed() -> None:
    printed = np.array([0.0123456, 3.0, 1e6])
    for claimed, found in [(0.012, True), (0.0123, True), (0.0124, False), (-3.0, True), (3.1, False), (1e6, True)]:
        assert among(claimed, printed) is found
    assert not among(0.0, printed)
    assert not among(1.0, np.array([]))
