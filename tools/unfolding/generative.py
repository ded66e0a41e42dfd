"""Generative unfolding: a network learns p(gen | reco) from the simulation, and draws a true event for a measured one.

The posterior contains the simulation's own truth as prior. It is replaced step by step, as in OmniFold:

    1.  learn p(gen | reco) from the simulated events that pass both levels, weighted by nu; draw for all data;
    2.  nu(x) = drawn events / simulation, by a classifier at gen.

Exact steps are those of expectation maximisation, as in OmniFold and in iterative Bayesian unfolding (iterated with a
cINN: arXiv:2212.08674). So the data decide when to stop, by the same rule. Efficiency: in step 2 both samples pass
reco, and it cancels; drawn events are weighted by its inverse. Fakes: data count as genuine with the probability
1 - f(y), where f is the fraction of fakes in the simulation weighted by nu.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import BeforeValidator, Field
from pydantic.json_schema import SkipJsonSchema

from tools.contract import ToolError, named
from tools.field import FieldTraining
from tools.parallel import one_thread
from tools.training import CHUNK, Losses, device, split, to_tensor, train
from tools.types import Floats
from tools.unfolding.agreement import enough
from tools.unfolding.classifier import Ratio, Weighted, ratio
from tools.unfolding.coordinates import Coordinates, Levels, Residuals
from tools.unfolding.iterate import canonical, carry
from tools.unfolding.marginals import Peak
from tools.unfolding.mlp import Mlp
from tools.unfolding.problem import Problem
from tools.unfolding.steps import Drawn, Progress, Steps, Unfolded
from tools.unfolding.trees import Trees

MIN_STEPS = 64  # per epoch: few events are split into smaller batches
HELD_OUT = 0.1  # fraction of the events, to choose the epoch
WARM_RATE = 0.3  # fraction of the learning rate for networks that continue from an earlier iteration


class Generative(FieldTraining):
    """What all generative methods share: training, iterations and the classifier of step 2."""

    coordinates: ClassVar[type[Levels | Residuals]] = Levels
    epochs: int = Field(30, ge=1, le=1000, description="epochs in the first iteration; later ones continue with half")
    batch: SkipJsonSchema[int] = Field(512, ge=16)
    classifier: SkipJsonSchema[
        Annotated[Annotated[Mlp | Trees, Field(discriminator="kind")], BeforeValidator(named)]
    ] = Mlp()
    iterations: int | None = Field(None, ge=1, le=100, description="default: chosen from the data")
    max_iterations: SkipJsonSchema[int] = Field(10, ge=1, le=100)
    draws: int = Field(2, ge=1, le=1000, description="events drawn from the posterior of each measured one")
    peaks: dict[str, tuple[float, float]] = Field(
        {}, description="mass and width of a resonance whose mass an observable is, by observable: keeps its peak"
    )
    names: SkipJsonSchema[tuple[str, ...]] = Field((), description="unfolding.unfold fills in the observables")

    def on(self, names: list[str]) -> Self:
        """Return the same method for these observables; ToolError for a peak of another one or without width."""
        for name, (mass, width) in self.peaks.items():
            if name not in names:
                raise ToolError("method", name, f"peaks of the observables {', '.join(names)}")
            if not (np.isfinite(mass) and width > 0):
                raise ToolError("method", [mass, width], f"a mass and a width above 0 for the peak of {name}")
        return self.model_copy(update={"names": tuple(names)})

    def conditions(self, dimensions: int) -> int:
        """Return how many numbers the network is told of a measured event."""
        raise NotImplementedError

    def prepare(self, model: Any, gen: Any, reco: Any, weight: Any) -> None:
        """Fix what the network needs from the training events, coordinates (n, d), besides their training."""

    def losses(self, model: Any, gen: Any, reco: Any) -> Any:
        """Return the losses (n, d) of simulated events, coordinates (n, d) at both levels."""
        raise NotImplementedError

    def draw(self, model: Any, reco: Any, generator: Any) -> Any:
        """Return coordinates (n, d) at gen, one draw for each measured event (n, d)."""
        raise NotImplementedError

    def fit(self, gen: Floats, reco: Floats, weight: Floats, seed: int, start: Posterior | None = None) -> Posterior:
        """Learn p(gen | reco) from simulated events (n, d); on a CPU the same seed gives the same network.

        `start`: a posterior to continue from. Raises ToolError for levels of different dimensions, and when training
        diverges.
        """
        import torch

        if gen.shape != reco.shape:
            raise ToolError("observables", gen.shape[1], f"as many at both levels for {self.names}")
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        d = gen.shape[1]
        training = self.model_copy(update={"batch": max(16, min(self.batch, len(gen) // MIN_STEPS))})
        if start is None:
            peaks = {self.names.index(name): Peak(*of) for name, of in self.peaks.items() if name in self.names}
            known = self.coordinates.of(gen, reco, weight, peaks, rng)
            model = self.build(d, self.conditions(d)).to(device())
        else:
            known, model = start.coordinates, copy.deepcopy(start.model)
            changed = {"epochs": max(1, self.epochs // 2), "learning_rate": WARM_RATE * self.learning_rate}
            training = training.model_copy(update=changed)
        where = device()
        c = known.condition(reco, rng)
        x, y = (to_tensor(each, where) for each in (known.forward(gen, c, rng), c))
        w = to_tensor(weight / weight.mean(), where)
        used, held = split(len(gen), HELD_OUT, seed, self.max_events)
        if start is None:
            self.prepare(model, x[used], y[used], w[used])

        def loss(x: Any, y: Any, w: Any) -> Any:
            return (w * self.losses(model, x, y).mean(dim=1)).mean()

        with one_thread():
            losses, _ = train(model, loss, (x[used], y[used], w[used]), (x[held], y[held], w[held]), training, seed)
        return Posterior(self, model, known, losses)

    def unfold(self, problem: Problem, seed: int = 1, progress: Progress = lambda line: None) -> Unfolded:
        """Return weights that follow the drawn events, and the events themselves. See the top of the file."""
        order = canonical(problem)
        p = order.problem
        matched = p.matched
        push = previous = np.ones(len(p))
        steps = Steps(p)
        learned: Posterior | None = None
        known: Ratio | None = None
        done, total = 0, self.iterations
        splits = np.random.SeedSequence(seed).generate_state(1)
        while done < (total or self.max_iterations):
            seeds = [int(s) for s in np.random.SeedSequence([seed, done]).generate_state(4)]
            progress(f"iteration {done + 1}: {steps.said()}")
            learned = self.fit(p.gen[matched], p.reco[matched], (p.weight * push)[matched], seeds[0], learned)
            gen = learned.draw(p.data, self.draws, seeds[1])
            genuine = p.data_weight * (1 - self._fakes(p, push, seeds[2]))
            weight = np.repeat(genuine / self.draws, self.draws)
            events = Weighted(
                np.concatenate([p.gen[matched], gen.reshape(-1, gen.shape[2])]),
                np.concatenate([p.weight[matched], np.zeros(len(weight))]),
                np.concatenate([np.zeros(int(matched.sum())), weight]),
            )
            known = ratio(self.classifier, events, int(splits[0]), seeds[3], 1, known)
            previous, push = push, np.ones(len(p))
            push[p.pass_gen] = np.exp(known.log_ratio(p.gen[p.pass_gen]))
            push[p.pass_gen] *= weight.sum() / (p.weight * push)[matched].sum()
            steps.add(push)
            done += 1
            if total is None and (total := enough(steps.agreements)):
                total = min(total, self.max_iterations)
        assert learned is not None
        inverse = 1 / self._efficiency(p, gen.reshape(-1, gen.shape[2]), seeds[2])
        restored = np.empty((2, len(p)))
        restored[:, order.rows] = push, previous
        drawn = Drawn(np.empty_like(gen), np.empty(gen.shape[:2]))
        drawn.gen[order.data], drawn.weight[order.data] = gen, (weight * inverse).reshape(gen.shape[:2])
        return steps.done(restored[0], restored[1], drawn)

    def fixed(self, iterations: int) -> Self:
        """Return the same method with this number of iterations."""
        return self.model_copy(update={"iterations": iterations})

    def carry(self, problem: Problem, other: Problem, other_weight: Floats, seed: int) -> Floats:
        """Return weights (n,) that give the events of `problem` the truth of `other` with its weights; fakes get 0."""
        return carry(self.classifier, problem, other, other_weight, seed)

    def _fakes(self, p: Problem, push: Floats, seed: int) -> Floats:
        """Return the probability (n_data,) that a measured event is a fake."""
        seen, fake = p.pass_reco, p.pass_reco & ~p.pass_gen
        genuine = (p.weight * push * p.pass_gen)[seen]
        fakes = (p.weight * fake)[seen]
        if not fakes.any():
            return np.zeros(len(p.data))
        found = ratio(self.classifier, Weighted(p.reco[seen], genuine, fakes), seed, seed, 1)
        odds = np.exp(found.log_ratio(p.data)) * fakes.sum() / genuine.sum()
        return np.asarray(odds / (1 + odds))

    def _efficiency(self, p: Problem, gen: Floats, seed: int) -> Floats:
        """Return the probability (n,) that true events (n, d) pass reco."""
        every = p.weight[p.pass_gen]
        passing = (p.weight * p.pass_reco)[p.pass_gen]
        if np.array_equal(every, passing):
            return np.ones(len(gen))
        found = ratio(self.classifier, Weighted(p.gen[p.pass_gen], every, passing), seed, seed, 1)
        return np.asarray(np.minimum(np.exp(found.log_ratio(gen)) * passing.sum() / every.sum(), 1.0))


@dataclass
class Posterior:
    """A trained network, the coordinates it learned in, and its losses (training, validation) per epoch."""

    method: Generative
    model: Any
    coordinates: Coordinates
    losses: Losses

    def draw(self, reco: Floats, draws: int, seed: int) -> Floats:
        """Return true events (n, draws, d) drawn from the posterior of each measured event (n, d)."""
        import torch

        where = device()
        rng, generator = np.random.default_rng(seed), torch.Generator(where).manual_seed(seed)
        c = self.coordinates.condition(np.repeat(reco, draws, axis=0), rng)
        y = to_tensor(c, where)
        with one_thread(), torch.no_grad():
            parts = [self.method.draw(self.model, part, generator).cpu().numpy() for part in torch.split(y, CHUNK)]
        x = np.concatenate(parts).astype(float)
        return self.coordinates.inverse(x, c).reshape(len(reco), draws, -1)
