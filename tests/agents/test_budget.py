"""Limits stop a run where they say, whatever thread spends, and a resumed run goes on counting."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import ValidationError

from agents.backends.base import Usage
from agents.backends.price import Price
from agents.crew.budget import Budget, BudgetSpent, Meter

CALL = Usage(prompt_tokens=70, completion_tokens=30, dollars=0.25)


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("budget", "calls", "words"),
    [
        (Budget(dollars=0.5), 2, "0.5 of 0.5 dollars"),
        (Budget(tokens=250), 3, "300 of 250 tokens"),
        (Budget(model_calls=4), 4, "4 of 4 model calls"),
        (Budget(tokens=1000, dollars=0.3, model_calls=9), 2, "0.5 of 0.3 dollars"),
    ],
)
def test_spending_reaches_a_limit(budget: Budget, calls: int, words: str) -> None:
    meter = Meter(budget, priced=True)
    for _ in range(calls):
        meter.check("planner/1")
        meter.add(CALL)
    with pytest.raises(BudgetSpent, match=f"before worker/2/fit: {words}"):
        meter.check("worker/2/fit")
    meter.check("worker/1/train", model_call=False)  # a command costs neither tokens nor dollars


def test_time_stops_commands_too() -> None:
    clock = Clock()
    meter = Meter(Budget(seconds=60), priced=True, clock=clock)
    clock.now += 59.5
    meter.check("planner/1")
    clock.now += 0.5
    for model_call in (True, False):
        with pytest.raises(BudgetSpent, match="60 of 60 seconds"):
            meter.check("worker/1/train", model_call=model_call)


def test_without_limits_nothing_stops() -> None:
    meter = Meter(Budget(), priced=False)
    meter.add(Usage(prompt_tokens=10**9, dollars=1e6))
    meter.check("reporter")


def test_a_resumed_run_goes_on_counting() -> None:
    clock = Clock()
    budget = Budget(dollars=1, tokens=1000, seconds=100, model_calls=10)
    meter = Meter(budget, priced=True, spent=CALL, seconds=90, model_calls=8, clock=clock)
    meter.add(CALL)
    clock.now += 4
    assert (meter.spent.dollars, meter.model_calls, meter.seconds) == (0.5, 9, 94)
    assert meter.spent == Usage(prompt_tokens=140, completion_tokens=60, dollars=0.5)
    clock.now += 6
    with pytest.raises(BudgetSpent, match="seconds"):
        meter.check("planner/3")


def test_threads_lose_no_spending() -> None:
    meter = Meter(Budget(model_calls=4000), priced=True)
    together = threading.Barrier(8)

    def spend(_: int) -> None:
        together.wait()
        for _ in range(500):
            meter.check("worker")
            meter.add(CALL)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(spend, range(8)))
    assert meter.spent == Usage(prompt_tokens=280_000, completion_tokens=120_000, dollars=1000)
    with pytest.raises(BudgetSpent, match="4000 of 4000 model calls"):
        meter.check("worker")


def test_a_dollar_limit_needs_a_price() -> None:
    with pytest.raises(ValueError, match="price is unknown: give --price IN,OUT or drop the dollar limit"):
        Meter(Budget(dollars=5), priced=False)


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["dollars", "tokens", "seconds", "model_calls"])
def test_limits_are_positive_numbers(name: str, limit: float) -> None:
    with pytest.raises(ValidationError, match=name):
        Budget.model_validate({name: limit})


def test_prices() -> None:
    assert Price.parse("0.25,2") == Price(prompt=0.25, completion=2)
    assert Price.parse("1, 2").dollars(500_000, 250_000) == 1.0
    for text in ("", "1", "1,2,3,4", "a,b", "-1,2", "nan,1"):
        with pytest.raises(ValueError, match=r"price: .* is not IN,OUT"):
            Price.parse(text)
