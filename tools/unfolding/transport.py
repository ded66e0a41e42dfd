"""Unfolding with a Wasserstein loss (Craig, Faktor and Nachman, arXiv:2603.20903), in one or two observables.

Instead of maximising a binned likelihood, the truth t minimises the transport cost between the data and t folded with
the detector response K: min over t of W_2^2(K t, data). K is known only through samples: the simulated events of truth
cell j, at detector level y_k, with weights kappa_k that sum to 1 in the cell. A plan gamma_kl moves event k to measured
event l:

    min sum c_kl gamma_kl + blur^2 KL(gamma | e^(-c/blur^2)),   c = squared distance in standard deviations,
    sum_k gamma_kl = data_l,    sum_l gamma_kl = t_j kappa_k  for the events k of cell j and some t_j.

Both constraints are linear, so alternating KL projections converge (Bregman; Benamou et al., arXiv:1412.5154). The
first scales columns. The second determines t_j: with row sums r_k, it is the weighted geometric mean

    log t_j = sum_k kappa_k log(r_k / kappa_k),

and the rows are scaled to t_j kappa_k. This projection was derived from the paper's statement of the problem, not taken
from its algorithm, which was not available. Fakes are one more cell, whose t is known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.contract import Frozen
from tools.types import Floats
from tools.unfolding.cells import Cells, carry
from tools.unfolding.problem import Problem
from tools.unfolding.steps import Progress, Steps, Unfolded

TINY = 1e-300


@dataclass(frozen=True)
class Kernel:
    """Samples of the detector response: events at y (m, d) in truth cells `cell` (m,), with kappa (m,) summing to 1 per
    cell.
    """

    y: Floats
    cell: NDArray[np.int64]
    kappa: Floats
    n_cells: int


def transport(
    kernel: Kernel, z: Floats, nu: Floats, blur: float, steps: int, tolerance: float, fixed: dict[int, float]
) -> tuple[Floats, int, float]:
    """Return (t (n_cells,), steps taken, transport cost) for measured events `z` (l, d) with weights `nu`.

    `fixed`: known t_j. The iteration ends when no t_j changes by `tolerance` of their mean in a step, or after `steps`.
    """
    cost = ((kernel.y[:, None, :] - z[None, :, :]) ** 2).sum(axis=2)
    # Offsets give every row and column an entry of 1, so that none underflows as a whole. Columns are scaled to the
    # data anyway; the rows' offset is kept in u.
    plan = cost - cost.min(axis=0)
    offset = plan.min(axis=1)
    plan = np.exp(-(plan - offset[:, None]) / blur**2)
    log_u, log_kappa = -offset / blur**2, np.log(kernel.kappa)
    t, done = np.zeros(kernel.n_cells), 0
    known = np.array(list(fixed), dtype=int)
    free = np.setdiff1d(kernel.cell, known)
    while done < steps:
        done += 1
        v = nu / np.maximum(np.exp(log_u) @ plan, TINY)
        log_rows = np.log(np.maximum(plan @ v, TINY))  # row sums without u
        log_t = np.bincount(kernel.cell, kernel.kappa * (log_u + log_rows - log_kappa), minlength=kernel.n_cells)
        before, t = t, np.exp(log_t)
        t[known] = list(fixed.values())
        log_u = np.log(np.maximum(t, TINY))[kernel.cell] + log_kappa - log_rows
        if np.abs(t - before).max() < tolerance * t.mean():
            break
    weight = np.exp(log_u)[:, None] * plan * v
    # After the last row projection the total need not match the data.
    t[free] *= (nu.sum() - t[known].sum()) / t[free].sum()
    return t, done, float(np.sum(weight * cost) / weight.sum())


class Transport(Frozen):
    """Unfolding with a Wasserstein loss, by alternating projections."""

    kind: Literal["transport"] = "transport"
    bins: int | None = Field(None, ge=2, le=500, description="truth cells per observable; default 40, or 15 for two")
    blur: float = Field(0.1, gt=0, le=2, description="entropic length in standard deviations of the data")
    points: SkipJsonSchema[int] = Field(
        2000, ge=100, le=20_000, description="number of points that data and simulation are each merged into"
    )
    steps: SkipJsonSchema[int] = Field(500, ge=1)
    tolerance: SkipJsonSchema[float] = Field(1e-3, gt=0)

    def unfold(self, problem: Problem, seed: int = 1, progress: Progress = lambda line: None) -> Unfolded:
        """Return weights that are constant in each truth cell; nothing is random."""
        gen = Cells.of(problem, "gen", self.bins)
        cell = np.where(problem.pass_gen, gen.index(problem.gen), gen.n)  # one more: fakes
        weight = problem.weight * problem.pass_reco
        total = np.bincount(cell, weight, minlength=gen.n + 1)
        scale = problem.data.std(axis=0)
        z, nu = merge(problem.data / scale, problem.data_weight, self.points)
        filled = np.flatnonzero(total)
        parts = [
            merge(problem.reco[rows] / scale, weight[rows], -(-self.points // len(filled)))
            for rows in (np.flatnonzero((cell == j) & (weight > 0)) for j in filled)
        ]
        kernel = Kernel(
            np.concatenate([y for y, _ in parts]),
            np.repeat(filled, [len(y) for y, _ in parts]),
            np.concatenate([w / w.sum() for _, w in parts]),
            gen.n + 1,
        )
        fixed = {gen.n: total[gen.n]} if total[gen.n] > 0 else {}
        t, steps, cost = transport(kernel, z, nu, self.blur, self.steps, self.tolerance, fixed)
        progress(f"{steps} steps, transport cost {cost:.2e} of the data's variance")
        # The efficiency cancels: truth over simulated truth is t over the simulated events that pass both levels.
        factor = np.divide(t, total, out=np.ones_like(t), where=total > 0)
        factor[gen.n] = 1.0
        push = factor[cell]
        noted = Steps(problem)
        noted.add(push)
        return replace(noted.done(push), iterations=steps)

    def fixed(self, iterations: int) -> Transport:
        """Return this method unchanged: it runs until it has converged."""
        return self

    def carry(self, problem: Problem, other: Problem, other_weight: Floats, seed: int) -> Floats:
        """Return weights (n,) that give the events of `problem` the truth of `other` with `other_weight`."""
        return carry(problem, other, other_weight, self.bins)


def merge(x: Floats, weight: Floats, points: int) -> tuple[Floats, Floats]:
    """Merge neighbouring events (n, d) into about `points` weighted means (points, d), and return their weights too.

    The events are repeatedly halved along their wider axis. Means and the total weight are conserved; the spread within
    a point is lost.
    """
    groups = [np.arange(len(x))]
    while len(groups) < points and max(len(rows) for rows in groups) > 1:
        halves = []
        for rows in groups:
            axis = int(np.argmax(np.ptp(x[rows], axis=0)))
            half = len(rows) // 2
            halves += np.split(rows[np.argpartition(x[rows, axis], half)], [half])
        groups = [rows for rows in halves if len(rows)]
    total = np.array([weight[rows].sum() for rows in groups])
    means = np.array([weight[rows] @ x[rows] for rows in groups])[total > 0]
    return means / total[total > 0, None], total[total > 0]
