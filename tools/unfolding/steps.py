"""What every method states after each of its updates: agreement with the data, number of events, effective sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tools.contract import ToolError
from tools.events.weights import effective
from tools.types import Floats
from tools.unfolding.agreement import Agreement, agreement
from tools.unfolding.problem import Problem

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Drawn:
    """Draws (n_data, draws, d) from the posterior of each measured event, with weights (n_data, draws).

    The weights make them a sample of the particle level: they undo efficiency and fakes.
    """

    gen: Floats
    weight: Floats


@dataclass(frozen=True)
class Unfolded:
    """Push weights (n,) of simulated events: those that pass gen estimate the truth with weight * push.

    `discrepancy`: chi^2 per bin of data and reweighted simulation at reco, and its spread if they agree, before the
    first update and after each; `totals`, `effective`: number of events at particle level, and effective sample size,
    likewise. `previous`: push before the last update, if there are updates. `drawn`: of generative methods.
    """

    push: Floats
    iterations: int
    discrepancy: list[tuple[float, float]]
    previous: Floats | None = None
    totals: list[float] = field(default_factory=list)
    effective: list[float] = field(default_factory=list)
    drawn: Drawn | None = None


class Steps:
    """The updates of an unfolding so far; the first entry is the simulation as it is."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.agreements: list[Agreement] = []
        self.totals: list[float] = []
        self.effective: list[float] = []
        self.add(np.ones(len(problem)))

    def add(self, push: Floats) -> None:
        """Note an update. Raises ToolError for weights that are not finite, negative, or zero altogether."""
        p = self._problem
        weight = (p.weight * push)[p.pass_gen]
        bad = ~np.isfinite(weight) | (weight < 0)
        if bad.any() or not weight.sum() > 0:
            said = f"weights that are finite and 0 or more; after update {len(self.totals)}, {int(bad.sum())} are not"
            raise ToolError("method", f"{int(bad.sum())} of {len(weight)}", f"{said}: the training diverged")
        self.agreements.append(agreement(p, push))
        self.totals.append(float(weight.sum()))
        self.effective.append(effective(weight))

    def done(self, push: Floats, previous: Floats | None = None, drawn: Drawn | None = None) -> Unfolded:
        """Return the result with these push weights (n,)."""
        discrepancy = [each.per_bin() for each in self.agreements]
        return Unfolded(push, len(discrepancy) - 1, discrepancy, previous, self.totals, self.effective, drawn)

    def said(self) -> str:
        """Return the state in words, for a line of progress."""
        last: Sequence[float] = self.agreements[-1].per_bin()
        return (
            f"chi2 per bin of data and simulation {last[0]:.2f}, {self.totals[-1]:.0f} events, "
            f"effective sample {self.effective[-1]:.0f}"
        )
