"""Iterative Bayesian unfolding of one or two binned observables (D'Agostini, Nucl. Instrum. Meth. A 362 (1995) 487).

With R_ij = P(reco bin i | truth bin j), whose column sums are the efficiencies e_j, data d_i and fakes b_i,

    t_j  <-  t_j / e_j  sum_i R_ij d_i / (sum_k R_ik t_k + b_i),

which is expectation maximisation (Richardson-Lucy) of the Poisson likelihood of d given R t + b. It starts from the
simulation's truth. With a binned classifier, OmniFold is the same iteration.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import Field

from tools.contract import Frozen, ToolError
from tools.types import Floats
from tools.unfolding.agreement import enough
from tools.unfolding.cells import Cells, carry
from tools.unfolding.problem import Problem
from tools.unfolding.steps import Progress, Steps, Unfolded

LOST = 0.01  # fraction of the data that may lie in bins without simulation


def ibu(data: Floats, response: Floats, prior: Floats, fakes: Floats) -> Iterator[Floats]:
    """Yield the truth (n_gen,) after each iteration, indefinitely.

    `data`, `fakes`: (n_reco,); `response`: (n_reco, n_gen). Truth bins with zero efficiency keep their prior.
    """
    truth, efficiency = prior, response.sum(axis=0)
    seen = efficiency > 0
    while True:
        folded = response @ truth + fakes
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(folded > 0, data / folded, 0.0)
            truth = np.where(seen, truth * (ratio @ response) / efficiency, prior)
        yield truth


class Ibu(Frozen):
    """Iterative Bayesian unfolding in quantile bins of the simulation."""

    kind: Literal["ibu"] = "ibu"
    bins: int | None = Field(
        None, ge=2, le=500, description="bins per observable and level; default 40, or 15 for two observables"
    )
    iterations: int | None = Field(None, ge=1, le=200, description="default: chosen from the data")
    max_iterations: int = Field(30, ge=1, le=1000)

    def unfold(self, problem: Problem, seed: int = 1, progress: Progress = lambda line: None) -> Unfolded:
        """Return weights that are constant in each truth bin. With iterations=None the data decide, as in OmniFold."""
        gen, reco = Cells.of(problem, "gen", self.bins), Cells.of(problem, "reco", self.bins)
        truth_bin, reco_bin = gen.index(problem.gen), reco.index(problem.reco)
        matched, fake = problem.matched, problem.pass_reco & ~problem.pass_gen
        prior = gen.fill(truth_bin, problem.weight * problem.pass_gen)
        joint = np.zeros((reco.n, gen.n))
        np.add.at(joint, (reco_bin[matched], truth_bin[matched]), problem.weight[matched])
        response = np.divide(joint, prior, out=np.zeros_like(joint), where=prior > 0)
        fakes = reco.fill(reco_bin, problem.weight * fake)
        data = reco.fill(reco.index(problem.data), problem.data_weight)
        _all_explained(data, joint.sum(axis=1) + fakes)
        done, total = 0, self.iterations
        push = previous = np.ones(len(problem))
        noted = Steps(problem)
        steps = ibu(data, response, prior, fakes)
        while done < (total or self.max_iterations):
            progress(f"iteration {done + 1}: {noted.said()}")
            truth, done = next(steps), done + 1
            factor = np.divide(truth, prior, out=np.ones_like(truth), where=prior > 0)
            previous, push = push, np.where(problem.pass_gen, factor[truth_bin], 1.0)
            noted.add(push)
            if total is None and (total := enough(noted.agreements)):
                total = min(total, self.max_iterations)
        return noted.done(push, previous)

    def fixed(self, iterations: int) -> Ibu:
        """Return the same method with this number of iterations."""
        return self.model_copy(update={"iterations": iterations})

    def carry(self, problem: Problem, other: Problem, other_weight: Floats, seed: int) -> Floats:
        """Return weights (n,) that give the events of `problem` the truth of `other` with `other_weight`."""
        return carry(problem, other, other_weight, self.bins)


def _all_explained(data: Floats, simulation: Floats) -> None:
    share = float(data[simulation == 0].sum() / data.sum())
    if share > LOST:
        raise ToolError(
            "bins", f"{share:.1%} of the data", "bins with simulation wherever there are data; use fewer bins"
        )
