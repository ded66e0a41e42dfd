"""What `unfolding_generative.py` measures, each as one row: Gaussians, pairs of events, unfolded spectra, priors."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.integrate import quad

from benchmarks.omnifold_cases import BINS, Case
from benchmarks.rows import Row
from tasks.unfolding.samples import SAMPLE
from tools.events.parquet import read_columns
from tools.events.zjets_jets import OBSERVABLES
from tools.metrics import auc
from tools.types import Floats
from tools.unfolding.discriminator import floor
from tools.unfolding.generative import Generative
from tools.unfolding.iterate import OmniFold
from tools.unfolding.problem import Problem
from tools.unfolding.uncertainty import METHOD

CORRELATION = 0.8
GENERATIVE = ("flow_matching", "direct_diffusion", "schroedinger_bridge")
ROUNDED, MANY = 1e-3, 0.004  # step of the mantissas; share of events that makes a value one of its own
SLOPE = 0.5  # of the shifted prior: the truth has weights 1 + SLOPE tanh(z) of the simulation's first observable


def generative(method: Row) -> Generative:
    found = METHOD.validate_python(method)
    assert isinstance(found, Generative)
    return found


def known(g: float, r: float = CORRELATION) -> float:
    """Return the correlation of unfolded and measured events of the unconditional bridge: exp(-int (1 - c)/t dt)."""

    def rate(t: float) -> float:
        variance = (1 - t) ** 2 + t**2 + 2 * t * (1 - t) * r + g * t * (1 - t)
        return (1 - ((1 - t) + t * r) / variance) / t

    return float(np.exp(-quad(rate, 1e-9, 1)[0]))


def gaussian_row(method: Row, events: int, seed: int) -> Row:
    """Learn a unit Gaussian pair; return the correlation with the measured events, and the variance around r reco."""
    rng = np.random.default_rng(seed)

    def pair() -> tuple[Floats, Floats]:
        gen = rng.standard_normal((events, 1))
        return gen, CORRELATION * gen + np.sqrt(1 - CORRELATION**2) * rng.standard_normal((events, 1))

    start = time.perf_counter()
    posterior = generative(method).fit(*pair(), np.ones(events), seed)
    trained = time.perf_counter()
    reco = pair()[1]
    drawn = posterior.draw(reco, 1, seed)[:, 0, 0]
    return {
        "correlation": float(np.corrcoef(drawn, reco[:, 0])[0, 1]),
        "residual": float(np.var(drawn - CORRELATION * reco[:, 0])),
        **_cost(start, trained),
    }


def matched(folder: str | None, name: str, events: int | None) -> tuple[Floats, Floats]:
    """Return six observables (n, 6) at both levels of the Z+jets events that pass both.

    The shipped sample has its mantissas rounded to 1e-3, which would give exactly equal values at both levels: what was
    rounded away is drawn anew, except for multiplicities and values that many events share.
    """
    rng = np.random.default_rng(7)
    table = read_columns(Path(folder or SAMPLE) / f"{name}.parquet")
    rows = np.flatnonzero((table["pass_gen"] > 0) & (table["pass_reco"] > 0))[:events]
    gen, reco = (np.column_stack([table[f"{level}_{x}"][rows] for x in OBSERVABLES]) for level in ("gen", "reco"))
    return tuple(np.column_stack([_smooth(x, rng) for x in level.T]) for level in (gen, reco))  # type: ignore[return-value]


def _smooth(x: Floats, rng: np.random.Generator) -> Floats:
    if np.all(x == np.round(x)):
        return x
    values, index, counts = np.unique(x, return_inverse=True, return_counts=True)
    mantissa, exponent = np.frexp(x)
    drawn = np.ldexp(mantissa + ROUNDED * (rng.uniform(size=len(x)) - 0.5), exponent)
    return np.where(counts[index] > MANY * len(x), values[index], drawn)


def pairs_row(method: Row, events: int | None, folder: str | None, draws: int, seed: int) -> Row:
    """Learn 70% of the simulation; judge pairs (unfolded, reco) and posteriors of the rest."""
    gen, reco = matched(folder, "a14", events)
    rows = np.random.default_rng(seed).permutation(len(gen))
    used, unseen = np.split(rows, [int(0.7 * len(rows))])
    start = time.perf_counter()
    posterior = generative(method).fit(gen[used], reco[used], np.ones(len(used)), seed)
    trained = time.perf_counter()
    drawn = posterior.draw(reco[unseen], 1, seed)[:, 0]
    cost = _cost(start, trained) | {"drawn": len(unseen)}
    few = unseen[:2000]
    ranks = _ranks(posterior.draw(reco[few], draws, seed + 1), gen[few], seed)
    histogram = np.array([np.histogram(each, 10, (0, 1))[0] for each in ranks.T])
    expected = len(few) / 10
    return {
        "auc": joint_auc(gen[unseen], drawn, reco[unseen], seed),
        "auc_error": float(np.sqrt((2 * len(unseen) + 1) / 12) / len(unseen)),
        "auc_before": joint_auc(gen[unseen], reco[unseen], reco[unseen], seed),
        "coverage": float(np.mean(np.abs(ranks - 0.5) < 0.34)),
        "coverage_by_observable": np.mean(np.abs(ranks - 0.5) < 0.34, axis=0).tolist(),
        "rank_chi2": (np.sum((histogram - expected) ** 2 / expected, axis=1) / 9).tolist(),
        **cost,
    }


def _ranks(drawn: Floats, true: Floats, seed: int) -> Floats:
    """Return the rank (n, d), from 0 to 1, of true values (n, d) among draws (n, k, d); equal ones in random order."""
    below, equal = (drawn < true[:, None]).sum(axis=1), (drawn == true[:, None]).sum(axis=1)
    chance = np.random.default_rng(seed).uniform(size=true.shape)
    return np.asarray((below + chance * (equal + 1)) / (drawn.shape[1] + 1))


def joint_auc(gen: Floats, drawn: Floats, reco: Floats, seed: int) -> float:
    """Return the AUC of trees between (gen, reco) and (drawn, reco), on events that they have not seen.

    Both pairs of an event are in the same of two folds.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    x = np.concatenate([np.column_stack([gen, reco, gen - reco]), np.column_stack([drawn, reco, drawn - reco])])
    label = np.repeat([1.0, 0.0], len(gen))
    fold = np.tile(np.random.default_rng(seed).permutation(len(gen)) % 2, 2)
    score = np.empty(len(x))
    for k in (0, 1):
        model = HistGradientBoostingClassifier(learning_rate=0.05, min_samples_leaf=100, random_state=seed)
        score[fold == k] = model.fit(x[fold != k], label[fold != k]).decision_function(x[fold == k])
    return float(np.mean([auc(*(score[(fold == k) & (label == each)] for each in (1, 0))) for k in (0, 1)]))


def spectra_row(method: Row, events: int | None, folder: str | None, seed: int) -> Row:
    """Unfold nature, by all six observables or, for binned methods, one by one; return discriminators to the truth."""
    (gen, reco), (truth, data) = matched(folder, "a14", events), matched(folder, "vincia", events)
    case, chosen = Case(tuple(OBSERVABLES), data, gen, reco, truth), METHOD.validate_python(method)
    start = time.perf_counter()
    row: Row = {}
    if isinstance(chosen, OmniFold | Generative):
        done = chosen.unfold(Problem.of(data, gen, reco).scaled(), seed)
        row |= {"delta": case.deltas(done.push), "iterations": done.iterations}
        if done.drawn is not None:
            flat, weight = done.drawn.gen.reshape(-1, gen.shape[1]), done.drawn.weight.ravel()
            row["delta_drawn"] = Case(case.names, data, flat, flat, truth).deltas(weight)
    else:
        singles = [
            Case((x,), data[:, [k]], gen[:, [k]], reco[:, [k]], truth[:, [k]]) for k, x in enumerate(OBSERVABLES)
        ]
        pushes = [chosen.unfold(Problem.of(c.data, c.gen, c.reco).scaled(), seed).push for c in singles]
        row["delta"] = [c.deltas(push)[0] for c, push in zip(singles, pushes, strict=True)]
    least = []
    for true, simulated in zip(truth.T, gen.T, strict=True):
        low, high = (float(q) for q in np.quantile(true, (0.0005, 0.9995)))
        counts = [np.histogram(x, BINS, (low, high))[0].astype(float) for x in (true, simulated)]
        least.append(floor(*counts, *counts))
    return row | {"before": case.deltas(np.ones(len(gen))), "floor": least, **_cost(start, start)}


def prior_row(method: Row, iterations: int, events: int | None, folder: str | None, seed: int) -> Row:
    """Unfold half of the simulation, whose truth is given a slope, with the other; return the share of it left."""
    gen, reco = matched(folder, "a14", events)
    half = np.random.default_rng(seed).permutation(len(gen)) % 2 == 0
    z = (gen[:, 0] - gen[:, 0].mean()) / gen[:, 0].std()
    slope = 1 + SLOPE * np.tanh(z)
    problem = Problem.of(reco[half], gen[~half], reco[~half], slope[half]).scaled()
    start = time.perf_counter()
    done = METHOD.validate_python(method | {"iterations": iterations}).unfold(problem, seed)
    true, before, after = (
        float(np.average(x, weights=w))
        for x, w in ((gen[half, 0], slope[half]), (gen[~half, 0], None), (gen[~half, 0], done.push))
    )
    scale = np.average(gen[~half, 0], weights=slope[~half]) - before
    fluctuation = float(np.hypot(gen[half, 0].std(), gen[~half, 0].std()) / np.sqrt(half.sum()) / scale)
    return {"left": (true - after) / float(scale), "left_error": fluctuation, **_cost(start, start)}


def peer_row(events: int, seed: int) -> Row:
    """Time the loss of `torchcfm` in our training, and ours, with the same network; None without the package."""
    import torch

    from tools.field import straight_losses
    from tools.unfolding.flow_matching import FlowMatching

    try:
        from torchcfm.conditional_flow_matching import ConditionalFlowMatcher  # type: ignore[import-not-found]
    except ImportError:
        return {"seconds": None, "ours": None}
    matcher = ConditionalFlowMatcher(sigma=0.0)

    def theirs(model: Any, x: Any, c: Any) -> Any:
        t, here, velocity = matcher.sample_location_and_conditional_flow(torch.randn_like(x), x)
        return (model(here, t[:, None], c) - velocity).square()

    found = []
    for loss in (theirs, straight_losses):
        torch.manual_seed(seed)
        x, model = torch.randn(events, 6), FlowMatching().build(6, 6)
        optimiser = torch.optim.Adam(model.parameters())
        start = time.perf_counter()
        for part in torch.split(x, 512):
            optimiser.zero_grad()
            loss(model, part, part).mean().backward()
            optimiser.step()
        found.append(time.perf_counter() - start)
    return {"seconds": found[0], "ours": found[1]}


def _cost(start: float, trained: float) -> Row:
    now = time.perf_counter()
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {"train_seconds": trained - start, "seconds": now - start, "mib": mib}


METHODS: dict[str, Row] = {
    "omnifold": {"kind": "omnifold"},
    "ibu": {"kind": "ibu"},
    "transport": {"kind": "transport"},
    **{kind: {"kind": kind} for kind in GENERATIVE},
    **{f"{kind} unconditional": {"kind": kind, "conditional": False} for kind in GENERATIVE[1:]},
}
NOISES = (0.0, 0.1, 0.3)
