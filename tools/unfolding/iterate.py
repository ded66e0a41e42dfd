"""OmniFold (arXiv:1911.09107; acceptance and efficiency: arXiv:2105.09923, section 2): weights for simulated events.

Two steps update weights nu ("push", at gen) and omega ("pull", at reco) that multiply the simulation's own:

    1.  reco:  r(y) = data / simulation weighted by nu;    omega_i = nu_i r(y_i)
    2.  gen:   nu(x) = simulation weighted by omega / simulation = E[omega | x]

Efficiency: an event that fails reco has no y. Either step 2 leaves it out, and so averages omega over the events of
equal truth that pass ("average", the unbinned form of iterative Bayesian unfolding), or the event keeps its nu
("keep"). Fakes (fail gen) enter step 1 with their own weight, nu = 1, because the data contain them too. Totals are
exact: after step 1 the simulation that passes reco sums to the data, and step 2 conserves the sum of omega.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from tools.contract import Frozen, named
from tools.types import Floats
from tools.unfolding.agreement import SIGNIFICANT, enough
from tools.unfolding.classifier import Classifier, Ratio, Weighted, ratio
from tools.unfolding.jets import JetNetwork
from tools.unfolding.mlp import Mlp
from tools.unfolding.problem import Problem
from tools.unfolding.steps import Progress, Steps, Unfolded
from tools.unfolding.trees import Trees

Misses = Literal["average", "keep"]


def iterate(
    problem: Problem,
    classifier: Classifier,
    iterations: int | None,
    max_iterations: int = 20,
    ensemble: int = 1,
    misses: Misses = "average",
    seed: int = 1,
    progress: Progress = lambda line: None,
    hidden: int = 0,
) -> Unfolded:
    """Run OmniFold for `iterations` or, with None, for as many as the data require.

    These are twice as many as it takes until data and reweighted simulation no longer differ significantly (see
    `agreement`): an update does not significantly lower the chi^2 of any observable, and step 1's classifier sees no
    difference in held-out events. No truth is needed. `hidden`: number of columns at the end of all arrays that are not
    observables and that only the classifier reads. Events are sorted first, so their order does not matter.
    """
    order = canonical(problem)
    p = order.problem
    push = previous = np.ones(len(p))
    steps = Steps(p.without_last(hidden))
    first: Ratio | None = None
    second: Ratio | None = None
    done, total = 0, iterations
    splits = np.random.SeedSequence(seed).generate_state(2)
    while done < (total or max_iterations):
        seeds = np.random.SeedSequence([seed, done]).generate_state(2)
        first = ratio(classifier, detector_level(p, push), int(splits[0]), int(seeds[0]), ensemble, first)
        progress(
            f"iteration {done + 1}: {steps.said()}, "
            f"held-out gain of the classifier {first.gain:.1e} ± {first.gain_error:.0e}"
        )
        pull = step1(p, push, first)
        second = ratio(classifier, particle_level(p, pull, misses), int(splits[1]), int(seeds[1]), 1, second)
        previous, push = push, step2(p, pull, second, misses)
        done += 1
        steps.add(push)
        if total is None and first.gain < SIGNIFICANT * first.gain_error and (total := enough(steps.agreements)):
            total = min(total, max_iterations)
    if total is None:
        progress(f"data and simulation were still converging after {done} iterations, the maximum allowed")
    restored = np.empty((2, len(p)))
    restored[:, order.rows] = push, previous
    return steps.done(restored[0], restored[1])


def detector_level(p: Problem, push: Floats) -> Weighted:
    """Return the samples of step 1: simulation that passes reco, weighted by push, as reference; data as target."""
    rows = p.pass_reco
    none_data, none_sim = np.zeros(len(p.data)), np.zeros(int(rows.sum()))
    return Weighted(
        np.concatenate([p.reco[rows], p.data]),
        np.concatenate([(p.weight * push)[rows], none_data]),
        np.concatenate([none_sim, p.data_weight]),
    )


def step1(p: Problem, push: Floats, r: Ratio) -> Floats:
    """Return omega: push times the ratio for events that pass reco, push for all others."""
    rows = p.pass_reco
    before = (p.weight * push)[rows]
    factor = np.exp(r.log_ratio(p.reco[rows]))
    factor *= p.data_weight.sum() / (before @ factor)
    pull = push.copy()
    pull[rows] *= factor
    return pull


def particle_level(p: Problem, pull: Floats, misses: Misses) -> Weighted:
    """Return the samples of step 2: simulation as reference, the same events weighted by pull as target."""
    rows = p.matched if misses == "average" else p.pass_gen
    return Weighted(p.gen[rows], p.weight[rows], (p.weight * pull)[rows])


def step2(p: Problem, pull: Floats, r: Ratio, misses: Misses) -> Floats:
    """Return nu: a function of truth only for events that pass gen, 1 for fakes."""
    rows = p.pass_gen
    used = p.matched if misses == "average" else rows
    push = np.ones(len(p))
    push[rows] = np.exp(r.log_ratio(p.gen[rows]))
    push[rows] *= (p.weight * pull)[used].sum() / (p.weight * push)[used].sum()
    return push


@dataclass(frozen=True)
class Canonical:
    """A problem with its events sorted by content, and the original rows of its simulated and measured events."""

    problem: Problem
    rows: NDArray[np.int64]
    data: NDArray[np.int64]


def canonical(p: Problem) -> Canonical:
    """Sort data and simulation by all columns, observables first."""
    data = np.lexsort((p.data_weight, *p.data.T))
    sim = np.lexsort((p.pass_gen, p.pass_reco, p.weight, *p.reco.T, *p.gen.T))
    return Canonical(
        Problem(
            p.data[data],
            p.gen[sim],
            p.reco[sim],
            p.data_weight[data],
            p.weight[sim],
            p.pass_gen[sim],
            p.pass_reco[sim],
        ),
        sim,
        data,
    )


def carry(classifier: Classifier, problem: Problem, other: Problem, other_weight: Floats, seed: int) -> Floats:
    """Return weights (n,) that give the events of `problem` the truth of `other` with its weights; fakes get 0."""
    mine, its = problem.pass_gen, other.pass_gen
    events = Weighted(
        np.concatenate([problem.gen[mine], other.gen[its]]),
        np.concatenate([problem.weight[mine], np.zeros(int(its.sum()))]),
        np.concatenate([np.zeros(int(mine.sum())), other_weight[its]]),
    )
    out = np.zeros(len(problem))
    found = ratio(classifier, events, seed, seed, 1)
    out[mine] = problem.weight[mine] * np.exp(found.log_ratio(problem.gen[mine]))
    return np.asarray(out * (other_weight[its].sum() / out.sum()))


class OmniFold(Frozen):
    """OmniFold: unbinned, any number of observables."""

    kind: Literal["omnifold"] = "omnifold"
    classifier: Annotated[
        Annotated[Mlp | Trees | JetNetwork, Field(discriminator="kind")],
        BeforeValidator(named),
        Field(description="'mlp', 'trees' or 'jets', alone or with settings", json_schema_extra={"default": "mlp"}),
    ] = Mlp()
    iterations: int | None = Field(None, ge=1, le=100, description="default: chosen from the data")
    max_iterations: int = Field(20, ge=1, le=100)
    step1_ensemble: int = Field(2, ge=1, le=50, description="classifiers averaged in step 1")
    misses: Misses = Field(
        "average", description="events that fail reco get the average of equal truth, or keep their weight"
    )

    def unfold(self, problem: Problem, seed: int = 1, progress: Progress = lambda line: None) -> Unfolded:
        """See `iterate`."""
        return iterate(
            problem,
            self.classifier,
            self.iterations,
            self.max_iterations,
            self.step1_ensemble,
            self.misses,
            seed,
            progress,
            self.classifier.columns if isinstance(self.classifier, JetNetwork) else 0,
        )

    def fixed(self, iterations: int) -> OmniFold:
        """Return the same method with this number of iterations."""
        return self.model_copy(update={"iterations": iterations})

    def carry(self, problem: Problem, other: Problem, other_weight: Floats, seed: int) -> Floats:
        """Return weights (n,) that give the events of `problem` the truth of `other` with its weights; fakes get 0."""
        return carry(self.classifier, problem, other, other_weight, seed)
