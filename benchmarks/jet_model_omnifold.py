"""OmniFold with the jet model as its classifier, from pretrained weights and from scratch, on Z+jets at both levels.

Simulation and data are two samples of Pythia 8, Monash tune. A data event is kept with a known probability that depends
on its particle level (`kept`) and prefers wide jets of many particles; the particle level of the kept events is the
truth. Both starts have the same jets and seeds, and each its own learning rate. Compared are the first classifier of
data against simulation, whose target is the same for both (published: half the epochs from pretrained weights,
arXiv:2404.16091), and the observables after one iteration, also with those that the known probability itself gives.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from benchmarks.jet_model_labels import _error, converged
from benchmarks.omnifold_cases import BINS
from benchmarks.rows import Row
from tools.events.parquet import particles_path, read_columns
from tools.events.zjets import ZJetsSimulation, simulate_zjets
from tools.events.zjets_jets import OBSERVABLES
from tools.jet_model.jets_file import count_jets
from tools.jet_model.train import Outcome
from tools.types import Floats
from tools.unfolding.classifier import Model, Rows, Weighted
from tools.unfolding.discriminator import triangular
from tools.unfolding.iterate import OmniFold, iterate
from tools.unfolding.jets import JetNetwork
from tools.unfolding.problem import Problem

SEEDS = {"simulation": 41, "data": 44}
RATES = {"pretrained": 1e-4, "scratch": 1e-3}  # the best of 1e-4, 3e-4, 1e-3 and of 5e-4, 1e-3, 2e-3, on other data
STARTS = tuple(RATES)


def simulated(folder: Path, name: str, events: int, workers: int) -> Path:
    """Return a file of Z+jets with particles, simulated if missing."""
    path = folder / f"zjets_{name}_{events}.parquet"
    if not path.exists():
        print(f"simulating {events} events of Z+jets: {name}", file=sys.stderr, flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        simulate_zjets(ZJetsSimulation(events=events, seed=SEEDS[name], particles=True), path, workers)
    return path


def kept(truth: Floats, gen: Floats) -> Floats:
    """Return the probability (n,) to keep events of this particle level: the logistic function of the sum of
    multiplicity and width, each standardised with mean and standard deviation of the simulation (gen).
    """
    columns = [OBSERVABLES.index(name) for name in ("mult", "width")]
    far = (truth[:, columns] - gen[:, columns].mean(axis=0)) / gen[:, columns].std(axis=0)
    return np.asarray(expit(far.sum(axis=1)))


@dataclass
class Recorder:
    """A classifier that records how its networks were trained."""

    network: JetNetwork
    fitted: list[Outcome] = field(default_factory=list)

    def fit(self, events: Weighted, splits: list[tuple[Rows, Rows]], seed: int, start: Model | None = None) -> Model:
        model = self.network.fit(events, splits, seed, start)
        self.fitted += model.fitted
        return model


def unfolded(start: str, seed: int, simulation: str, data: str, weights: str, epochs: int) -> Row:
    """Unfold once; return held-out losses of the first classifier by epoch, and discriminators of all observables."""
    import torch

    torch.set_num_threads(1)
    begin = time.perf_counter()
    problem, truth = load(Path(simulation), Path(data), seed)
    network = JetNetwork(
        start=weights if start == "pretrained" else None, epochs=epochs, learning_rate=RATES[start], patience=1000
    ).on([str(particles_path(Path(path))) for path in (simulation, data)])
    recorder = Recorder(network)
    done = iterate(problem, recorder, 1, misses=OmniFold().misses, seed=seed, hidden=network.columns)
    first = recorder.fitted[0]
    return {
        "losses": [epoch.loss for epoch in first.history],
        "deltas": deltas(problem, done.push, truth),
        "before": deltas(problem, np.ones(len(problem)), truth),
        "exact": deltas(problem, kept(problem.gen, problem.gen), truth),
        "seconds": time.perf_counter() - begin,
    }


def load(simulation: Path, data: Path, seed: int) -> tuple[Problem, Floats]:
    """Return the problem for events that pass both levels, with rows of jets as last column, and the true observables
    of the data; of the data only events that are `kept`.
    """
    count = count_jets(particles_path(simulation))
    assert count is not None
    levels = []
    for path, start in ((simulation, 0), (data, count)):
        columns = read_columns(path)
        both = np.flatnonzero((columns["pass_gen"] > 0) & (columns["pass_reco"] > 0))
        for level in ("gen", "reco"):
            names = [*(f"{level}_{x}" for x in OBSERVABLES), f"{level}_jet"]
            levels.append(np.column_stack([columns[name][both] + start * name.endswith("_jet") for name in names]))
    gen, reco, truth, measured = levels
    chosen = np.random.default_rng([seed, 2]).random(len(truth)) < kept(truth, gen)
    return Problem.of(measured[chosen], gen, reco), truth[chosen, :-1]


def deltas(problem: Problem, push: Floats, truth: Floats) -> list[float]:
    """Return triangular discriminators x 1000 of truth and weighted simulation, by observable."""
    found = []
    for gen, true in zip(problem.gen.T, truth.T, strict=False):
        low, high = np.quantile(true, (0.0005, 0.9995))
        edges = np.linspace(float(low), float(high), BINS + 1)
        histograms = (np.histogram(gen, edges, weights=push * problem.weight)[0], np.histogram(true, edges)[0])
        found.append(triangular(*histograms))
    return found


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """Return omnifold_epoch_ratio (epochs to converge, scratch over pretrained, geometric mean), losses and deltas."""
    of = {start: {row["seed"]: row for row in rows if row["start"] == start} for start in STARTS}
    seeds = sorted(set(of["pretrained"]) & set(of["scratch"]))
    if not seeds:
        return {}
    ratios, differences = [], []
    for seed in seeds:
        ours, scratch = (of[start][seed]["losses"] for start in STARTS)
        epochs = [converged(losses, scratch, float(np.log(2))) for losses in (ours, scratch)]
        ratios.append(float(np.log(epochs[1] / epochs[0])))
        differences.append(min(scratch) - min(ours))
    ratio = float(np.exp(np.mean(ratios)))
    out: dict[str, Any] = {
        "omnifold_epoch_ratio": ratio,
        "omnifold_epoch_ratio_error": ratio * _error(ratios),
        "omnifold_loss_gain": float(np.mean(differences)),
        "omnifold_loss_gain_error": _error(differences),
    }
    for start in STARTS:
        out[f"omnifold_loss_{start}"] = float(np.mean([min(of[start][seed]["losses"]) for seed in seeds]))
        out[f"omnifold_deltas_{start}"] = _by_observable([of[start][seed]["deltas"] for seed in seeds])
    for name in ("before", "exact"):
        out[f"omnifold_deltas_{name}"] = _by_observable([of["scratch"][seed][name] for seed in seeds])
    return out


def _by_observable(found: list[list[float]]) -> dict[str, float]:
    return {name: round(float(mean), 2) for name, mean in zip(OBSERVABLES, np.mean(found, axis=0), strict=True)}
