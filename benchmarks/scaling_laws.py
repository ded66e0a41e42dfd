"""Scaling laws of a loss in three ways: `python -m benchmarks.scaling_laws GRID.csv [--floor 0.01] [--bootstraps 200]`.

A grid has one training per row: columns N (parameters), D (examples seen once), C (floating-point operations) and
val_loss; rows with iso_C > 0, if there is that column, belong to a family of equal cost, for the second approach alone.
The three approaches of Hoffmann et al. (arXiv:2203.15556, section 3) give the best size for a cost, N* ~ C**a:

- envelope: the smallest loss among the trainings of about the same cost (curves of loss against cost, interpolated);
- isoFLOP: the minimum of a parabola in ln N, at equal cost;
- parametric: L(N, D) = E + A / N**alpha + B / D**beta, for which a = beta / (alpha + beta) if C ~ N D. The fit
  minimises the Huber loss of ln L from many starting points (their eq. 3), and resampled rows give its errors.

The last line is one JSON object with the parameters, their errors (`_spread`), the exponents a of the three, and
`floor_error`, E over a known floor - 1.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import minimize
from scipy.special import logsumexp

from tools.types import Floats

HUBER = 1e-3  # in ln L
COSTS = 24  # at which the envelope is taken
LEAST = 4  # sizes of a family of equal cost, for a parabola
NAMES = ("E", "A", "alpha", "B", "beta")


@dataclass(frozen=True)
class Grid:
    """Trainings: parameters N, examples D, operations C, final loss; `family`: the common cost, or 0. All (n,)."""

    n: Floats
    d: Floats
    c: Floats
    loss: Floats
    family: Floats

    def take(self, rows: Any) -> Grid:
        return Grid(*(values[rows] for values in (self.n, self.d, self.c, self.loss, self.family)))


@dataclass(frozen=True)
class Law:
    """L(N, D) = E + A / N**alpha + B / D**beta."""

    E: float
    A: float
    alpha: float
    B: float
    beta: float

    def __call__(self, n: Floats, d: Floats) -> Floats:
        return np.asarray(self.E + self.A * n**-self.alpha + self.B * d**-self.beta)

    @property
    def exponent(self) -> float:
        """a of N* ~ C**a, for C ~ N D: where the derivatives by ln N and by ln D are equal."""
        return self.beta / (self.alpha + self.beta)


def parametric(grid: Grid, near: Law | None = None) -> Law:
    """Fit the law, from many starting points or from one `near` the best.

    Raises ValueError for fewer rows than parameters or a loss that is not positive.
    """
    if len(grid.n) <= len(NAMES) or not np.all(grid.loss > 0):
        raise ValueError(
            f"{len(grid.n)} rows with losses from {grid.loss.min():g}: more than {len(NAMES)}, all positive"
        )
    ln_n, ln_d, ln_loss = (np.log(values) for values in (grid.n, grid.d, grid.loss))
    centre_n, centre_d = ln_n.mean(), ln_d.mean()

    def huber(theta: Floats) -> tuple[float, Floats]:
        e, a, alpha, b, beta = theta
        terms = np.stack(
            [np.full_like(ln_n, e), a - alpha * (ln_n - centre_n), b - beta * (ln_d - centre_d)]
        )  # of ln L, at the centre of the grid
        total = logsumexp(terms, axis=0)
        apart = total - ln_loss
        size = np.abs(apart)
        value = np.where(size < HUBER, apart**2 / 2, HUBER * (size - HUBER / 2)).sum() / HUBER
        pull = np.clip(apart, -HUBER, HUBER) / HUBER * np.exp(terms - total)
        steps = pull[0], pull[1], -pull[1] * (ln_n - centre_n), pull[2], -pull[2] * (ln_d - centre_d)
        return float(value), np.array([step.sum() for step in steps])

    low, middle = np.log(grid.loss.min()), np.log(np.median(grid.loss))
    starts: Iterable[Sequence[float]] = product(
        (low - 2, low - 0.2), (middle - 2, middle), (0.3, 0.9), (middle - 2, middle), (0.3, 0.9)
    )
    if near is not None:
        amounts = near.A * np.exp(-near.alpha * centre_n), near.B * np.exp(-near.beta * centre_d)
        starts = [(np.log(near.E), np.log(amounts[0]), near.alpha, np.log(amounts[1]), near.beta)]
    found = min((minimize(huber, start, jac=True, method="L-BFGS-B") for start in starts), key=lambda fit: fit.fun)
    e, a, alpha, b, beta = found.x
    return Law(*map(float, (np.exp(e), np.exp(a + alpha * centre_n), alpha, np.exp(b + beta * centre_d), beta)))


def resampled(grid: Grid, best: Law, times: int, seed: int = 1) -> dict[str, float]:
    """Return the errors of the parameters and exponent of the `best` law of a grid, from fits to resampled rows."""
    rng = np.random.default_rng(seed)
    fits = [parametric(grid.take(rng.integers(0, len(grid.n), len(grid.n))), best) for _ in range(times)]
    values = {name: [getattr(fit, name) for fit in fits] for name in (*NAMES, "exponent")}
    return {name: float(np.std(each, ddof=1)) for name, each in values.items()}


def envelope(grid: Grid) -> float:
    """Return a of N* ~ C**a from the size with the smallest loss at each of many costs.

    A size takes part between its cheapest and its dearest training. Where a neighbour of the best size takes no part,
    the best is no minimum, and the cost is left out. Raises ValueError if fewer than three are left.
    """
    sizes = np.unique(grid.n)
    curves = []
    for size in sizes:
        rows = np.flatnonzero(grid.n == size)
        rows = rows[np.argsort(grid.c[rows])]
        curves.append((np.log(grid.c[rows]), np.log(grid.loss[rows])))
    costs = np.linspace(np.log(grid.c.min()), np.log(grid.c.max()), COSTS + 2)[1:-1]
    at = np.array([np.interp(costs, c, loss, left=np.inf, right=np.inf) for c, loss in curves])
    best = np.argmin(at, axis=0)
    known = np.pad(np.isfinite(at), ((1, 1), (0, 0)))  # no size lies beyond the smallest and the largest
    inside = np.array([known[b : b + 3, k].all() for k, b in enumerate(best)])
    return _slope(costs[inside], np.log(sizes[best[inside]]))


def isoflop(grid: Grid) -> float:
    """Return a of N* ~ C**a from the minima of parabolas in ln N, one for each family of equal cost.

    Minima outside the sizes of a family are left out. Raises ValueError if fewer than three are left.
    """
    costs, best = [], []
    for cost in np.unique(grid.family[grid.family > 0]):
        rows = grid.family == cost
        ln_n = np.log(grid.n[rows])
        if len(np.unique(ln_n)) < LEAST:
            continue
        curvature, slope, _ = np.polyfit(ln_n, np.log(grid.loss[rows]), 2)
        minimum = -slope / (2 * curvature)
        if curvature > 0 and ln_n.min() < minimum < ln_n.max():
            costs.append(np.log(cost))
            best.append(minimum)
    return _slope(np.array(costs), np.array(best))


def _slope(x: Floats, y: Floats) -> float:
    if len(x) < 3:
        raise ValueError(f"{len(x)} costs with a best size: at least 3 are needed")
    return float(np.polyfit(x, y, 1)[0])


def read(path: Path) -> Grid:
    """Read a grid. Raises ValueError naming a missing column or a value that is not a positive number."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {}
    for name in ("N", "D", "C", "val_loss"):
        if not rows or name not in rows[0]:
            raise ValueError(f"{path}: needs the column {name}")
        values = np.array([float(row[name]) for row in rows])
        if not np.all((values > 0) & np.isfinite(values)):
            raise ValueError(f"{path}: {name} must be positive and finite")
        columns[name] = values
    family = np.array([float(row.get("iso_C") or 0) for row in rows])
    return Grid(columns["N"], columns["D"], columns["C"], columns["val_loss"], family)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("grid", type=Path)
    parser.add_argument("--floor", type=float, help="the loss that no model can go below, if it is known")
    parser.add_argument("--bootstraps", type=int, default=200)
    arguments = parser.parse_args()
    everything = read(arguments.grid)
    grid = everything.take(everything.family == 0)
    law = parametric(grid)
    print(f"{len(grid.n)} trainings; {arguments.bootstraps} fits to resampled rows", file=sys.stderr)
    errors = resampled(grid, law, arguments.bootstraps)
    table = Table("parameter", "value", "error", title=f"{arguments.grid}")
    found: dict[str, Any] = {}
    for name, error in errors.items():
        value = float(getattr(law, name))
        table.add_row(name, f"{value:.4g}", f"{error:.2g}")
        found |= {name: value, f"{name}_spread": error}
    for approach, rows in ((envelope, grid), (isoflop, everything)):
        try:
            found[approach.__name__] = approach(rows)
        except ValueError as reason:
            print(f"{approach.__name__}: {reason}", file=sys.stderr)
        else:
            table.add_row(f"exponent, {approach.__name__}", f"{found[approach.__name__]:.3f}", "")
    if arguments.floor is not None:
        found["floor_error"] = law.E / arguments.floor - 1
    Console().print(table)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
