"""The budget of a run, and the meter that is checked before every model call and every command."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from pydantic import Field

from agents.backends.base import Usage
from tools.contract import Frozen


class BudgetSpent(RuntimeError):  # noqa: N818 - nothing went wrong, the money is gone
    """A limit is reached: the run stops, and the operator may raise the limit and resume."""


GO_ON = "to continue, raise the limit and resume the run"
NEAR = 0.8  # share of a limit whose spending is announced
Near = Callable[[str, float, float], None]  # name of the limit, amount used, limit


class Budget(Frozen):
    """Limits of a run, resumed parts included. None: no limit. The convergence rule limits the iterations."""

    dollars: float | None = Field(None, gt=0, allow_inf_nan=False)
    tokens: int | None = Field(None, gt=0, description="prompt and completion together")
    seconds: float | None = Field(None, gt=0, allow_inf_nan=False, description="wall time")
    model_calls: int | None = Field(None, gt=0)
    reply_tokens: int = Field(4096, ge=16, description="longest single reply; a cut-off reply is asked for again")

    def written(self) -> dict[str, float]:
        """Return the limits as the trace has them."""
        return {name: float(limit) for name, limit in self.model_dump(exclude_none=True).items()}


class Meter:
    """Adds up what a run has spent. Thread-safe.

    Limits are checked before each call and usage is added after it: parallel workers may overshoot a limit by the calls
    in progress. `spent`, `seconds` and `model_calls` carry over from a resumed run. `priced`: the cost of calls is
    known, since the backend is not an LLM or a price was given. Raises ValueError for a dollar limit without a price.
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
                f"dollars: a limit of {budget.dollars:g} cannot be enforced, since the price is unknown: "
                "give --price IN,OUT or drop the dollar limit"
            )
        self.budget = budget
        self._usage = spent or Usage()
        self._model_calls = model_calls
        self._clock = clock
        self._started = clock() - seconds
        self._lock, self._asking = threading.Lock(), threading.Lock()
        self._near: Near | None = None
        self._told: set[str] = set()
        self._approved: Callable[[str], None] | None = None

    def announce_with(self, near: Near) -> None:
        """Call `near` once for each limit of which NEAR is used, at the first check, call or `announce` after that."""
        self._near = near

    def ask_with(self, approved: Callable[[str], None]) -> None:
        """Call `approved` before each call of a model: it raises if a person has to be asked first."""
        self._approved = approved

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
        """Wall time so far [s]."""
        return self._clock() - self._started

    def seconds_left(self) -> float:
        """Return the wall time until the budget is spent [s]; infinite without a limit."""
        return math.inf if self.budget.seconds is None else self.budget.seconds - self.seconds

    def left(self) -> dict[str, float]:
        """Return what is left of each limited resource, e.g. `dollars_left`; of the wall time, whole minutes."""
        left = {name: max(0.0, limit - used) for name, used, limit in self._limits()}
        minutes = {"minutes_left": left.pop("seconds") // 60} if "seconds" in left else {}
        return minutes | {f"{name}_left": float(f"{amount:.3g}") for name, amount in left.items()}

    def add(self, usage: Usage, calls: int = 1) -> None:
        """Count model calls, and what they have used together."""
        with self._lock:
            self._model_calls += calls
            self._usage += usage
        self.announce()

    def check(self, where: str, *, model_call: bool = True) -> None:
        """Raise BudgetSpent if a limit is reached. A command (`model_call=False`) spends only seconds."""
        self.announce()
        for name, used, limit in self._limits():
            if used >= limit and (model_call or name == "seconds"):
                raise BudgetSpent(
                    f"budget spent before {where}: {used:.6g} of {limit:.6g} {name.replace('_', ' ')}; {GO_ON}"
                )
        if model_call and self._approved:
            with self._asking:
                self._approved(where)

    def announce(self) -> None:
        """Announce the limits of which most is used by now, each once."""
        if self._near is None:
            return
        for name, used, limit in self._limits():
            with self._lock:
                new = used >= NEAR * limit and name not in self._told
                self._told |= {name} if new else set()
            if new:
                self._near(name, used, limit)

    def _limits(self) -> list[tuple[str, float, float]]:
        """Return name, amount used and limit of each limited resource."""
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
