"""Quantile bins in one or two observables, in which binned and transport methods have constant weights."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tools.contract import ToolError
from tools.types import Floats
from tools.unfolding.problem import Problem


class Cells:
    """A grid of quantile bins in one or two observables; the outermost extend to infinity."""

    def __init__(self, edges: list[Floats]) -> None:
        self.edges = edges
        self.shape = tuple(len(e) + 1 for e in edges)
        self.n = int(np.prod(self.shape))

    @staticmethod
    def of(problem: Problem, level: Literal["gen", "reco"], bins: int | None) -> Cells:
        """Make cells from the simulated events that pass the level. Raises ToolError for more than two observables."""
        values, rows = (problem.gen, problem.pass_gen) if level == "gen" else (problem.reco, problem.pass_reco)
        d = values.shape[1]
        if d > 2:
            raise ToolError("observables", d, "one or two for a binned or transport method; any number for omnifold")
        inner = np.linspace(0, 1, (bins or (40 if d == 1 else 15)) + 1)[1:-1]
        # Edges are values of events and belong to the cell above, so that rounded values leave no cell empty.
        edges = (np.unique(np.quantile(x, inner, method="higher")) for x in values[rows].T)
        return Cells([e[e > x.min()] for e, x in zip(edges, values[rows].T, strict=True)])

    def index(self, x: Floats) -> NDArray[np.int64]:
        """Return the cell (n,) of each event (n, d)."""
        places = tuple(np.searchsorted(e, column, "right") for e, column in zip(self.edges, x.T, strict=True))
        return np.asarray(np.ravel_multi_index(places, self.shape))

    def fill(self, index: NDArray[np.int64], weight: Floats) -> Floats:
        """Return the sum of weights per cell."""
        return np.bincount(index, weight, minlength=self.n).astype(float)


def carry(problem: Problem, other: Problem, other_weight: Floats, bins: int | None) -> Floats:
    """Return weights (n,) that give the events of `problem`, cell by cell, the truth of `other` with `other_weight`.

    Weights are 0 in cells where `other` has no events, and for fakes.
    """
    cells = Cells.of(problem, "gen", bins)
    index = cells.index(problem.gen)
    weight = problem.weight * problem.pass_gen
    have = cells.fill(index, weight)
    want = cells.fill(cells.index(other.gen), other_weight * other.pass_gen)
    return weight * np.divide(want, have, out=np.zeros_like(have), where=have > 0)[index]
