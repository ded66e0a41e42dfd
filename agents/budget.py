"""What a run may spend, and the meter that is read before every model call and every command."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from agents.backends.base import Usage


class BudgetSpent(RuntimeError):  # noqa: N818 - nothing went wrong, the money is gone
    """A limit is reached: the run stops here, and the operator may raise the limit and resume."""


class Price(BaseModel):
    """Dollars per million tokens, as services quote them.

    >>> Price.parse("0.25,2").dollars(prompt_tokens=1_000_000, completion_tokens=500_000)
    1.25
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    prompt: float = Field(ge=0, allow_inf_nan=False)
    completion: float = Field(ge=0, allow_inf_nan=False)
    cached: float | None = Field(None, ge=0, allow_inf_nan=False, description="of prompt tokens read from the cache")

    @classmethod
    def parse(cls, text: str) -> Price:
        """Read `IN,OUT` or `IN,OUT,CACHED`."""
        try:
            prompt, completion, *cached = map(float, text.split(","))
            return cls(prompt=prompt, completion=completion, cached=_only(cached))
        except ValueError:
            raise ValueError(
                f"price: {text!r} is not IN,OUT or IN,OUT,CACHED: dollars per million prompt, completion and cached "
                "prompt tokens, e.g. 0.25,2,0.025"
            ) from None

    def dollars(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """What so many tokens cost; cached ones are among the prompt's, at their own price where there is one."""
        cached = self.prompt if self.cached is None else self.cached
        fresh = prompt_tokens - cached_tokens
        return (self.prompt * fresh + cached * cached_tokens + self.completion * completion_tokens) / 1e6


def _only(values: list[float]) -> float | None:
    """The one value, or none. Raises ValueError for more."""
    if len(values) > 1:
        raise ValueError(values)
    return values[0] if values else None


class Budget(BaseModel):
    """Limits of a run, resumed parts included. None: no limit. How often to iterate is the convergence rule's."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    dollars: float | None = Field(None, gt=0, allow_inf_nan=False)
    tokens: int | None = Field(None, gt=0, description="prompt and completion together")
    seconds: float | None = Field(None, gt=0, allow_inf_nan=False, description="wall time")
    model_calls: int | None = Field(None, gt=0)
    reply_tokens: int = Field(4096, ge=16, description="longest single reply asked for; a cut-off reply is asked again")


class Meter:
    """Adds up what a run has spent; safe to share between threads.

    Limits are looked at before, and usage is added after: workers that call side by side may together
    overshoot by the calls under way. `spent`, `seconds` and `model_calls` carry on from a resumed run.
    `priced` says whether a call's dollars can be known: the backend is no LLM, or a price was given.
    """

    def __init__(
        self,
        budget: Budget,
        *,
        priced: bool,
        spent: Usage | None = None,
        seconds: float = 0.0,
        model_calls: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if budget.dollars is not None and not priced:
            raise ValueError(
                f"dollars: a limit of {budget.dollars:g} cannot be kept, price unknown: "
                "give --price IN,OUT or drop the dollar limit"
            )
        self.budget = budget
        self._usage = spent or Usage()
        self._model_calls = model_calls
        self._clock = clock
        self._started = clock() - seconds
        self._lock = threading.Lock()

    @property
    def spent(self) -> Usage:
        """Tokens and dollars so far."""
        return self._usage

    @property
    def model_calls(self) -> int:
        """Model calls so far."""
        return self._model_calls

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return self._clock() - self._started

    def seconds_left(self) -> float:
        """Wall time until the budget is spent; infinite without a limit."""
        return math.inf if self.budget.seconds is None else self.budget.seconds - self.seconds

    def add(self, usage: Usage) -> None:
        """Count one model call."""
        with self._lock:
            self._model_calls += 1
            self._usage += usage

    def check(self, where: str, *, model_call: bool = True) -> None:
        """Raise BudgetSpent where a limit is reached. A command (`model_call=False`) spends only seconds."""
        for name, used, limit in self._limits():
            if used >= limit and (model_call or name == "seconds"):
                raise BudgetSpent(
                    f"budget spent before {where}: {used:.6g} of {limit:.6g} {name.replace('_', ' ')}; "
                    "raise the limit and resume the run to go on"
                )

    def _limits(self) -> list[tuple[str, float, float]]:
        """Name, used and limit of what is limited."""
        with self._lock:
            used = {
                "dollars": self._usage.dollars,
                "tokens": self._usage.prompt_tokens + self._usage.completion_tokens,
                "seconds": self.seconds,
                "model_calls": self._model_calls,
            }
        return [
            (name, used[name], limit)
            for name, limit in self.budget.model_dump(exclude_none=True).items()
            if name in used
        ]
