"""Steering score of an unfolding: the share of the discrepancy between data and simulation that the weights remove.

Measured at detector level, on measured events that the crew does not have, and without truth:

    share = 1 - X(weights) / X(simulation as it is)

for the weights as they are or as a function of the particle level, whichever share is smaller.
X is the triangular discriminator between unseen data and the simulated events that pass reco, averaged over the
observables and all their pairs, minus the value expected from the fluctuations of the data alone. 0 means no unfolding;
1 would be a perfect one with an infinite simulation.

Ways to cheat, and why they fail:

- Weights made at detector level reproduce the data there and need no unfolding. Made a function of the particle level,
  E[w | gen] by regression in folds, they lose all other information.
- Weights that follow the fluctuations of the data: the score uses other events.
- Wild weights: the fluctuations of the weighted simulation are not subtracted, so a small effective sample costs score;
  this is why the weights are also taken as they are.

The score cannot see what the detector hides: differences at particle level that make none at reco level. The gates
(`gates`) look for that and for wrong errors; they do not change the score. Stress tests are made by the crew's own
commands, as the errors are: the harness knows the truth they should give, not that they were unfolded.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sandbox.reader import read_bytes
from tasks.score import Score
from tasks.submission import MAX_BYTES
from tasks.unfolding.gates import gates, summary, verdict
from tasks.unfolding.samples import Samples
from tasks.unfolding.spectra import spectra
from tasks.unfolding.stability import iterations, last_change
from tasks.unfolding.submission import WeightsSubmission
from tasks.unfolding.weights import numbers, read_weights, total, unfolded_names
from tools.events.weights import effective
from tools.types import Floats
from tools.unfolding.discriminator import floor, triangular

Ints = NDArray[np.int64]
METRIC = "share of the discrepancy removed"
BINS, PAIR_BINS = 20, 6  # quantile bins of the simulation: of one observable, of each of two
FOLDS = 5
BOOTSTRAPS = 50


def grade(submission: WeightsSubmission, workspace: Path, samples: Samples, seed: int = 1) -> Score:
    """Return the share with a bootstrap error over the unseen events; numbers and discriminators are in `details`."""
    simulation = samples.simulation
    passed = simulation["pass_gen"] > 0
    try:
        weights = read_weights(workspace, submission.weights, passed, samples.nuisances)
    except ValueError as reason:
        return Score(metric=METRIC, value=None, reason=str(reason))
    nominal = weights["nominal"]
    start = simulation["weight"]
    gen = np.column_stack([simulation[name] for name in samples.columns("gen")])
    used = passed & (start > 0)
    projected = np.zeros(len(nominal))
    projected[used] = start[used] * function_of(gen[used], nominal[used] / start[used], seed, start[used])
    compare = Comparison(simulation, samples.data(unseen=True), samples.names)
    # The simulation is normalised to the crew's data; fakes are part of the measured events and keep this weight.
    weight = normalisation(len(samples.data(unseen=False)), simulation) * start
    before, raw, smooth = (compare.folded(w, weight) for w in (weight, nominal, projected))
    shares = {"as_they_are": compare.share(before, raw), "as_function_of_gen": compare.share(before, smooth)}
    beside = compare.share_of(weights.get("method"), weight, before)
    after = raw if shares["as_they_are"] < shares["as_function_of_gen"] else smooth
    rng = np.random.default_rng(seed)
    toys = [compare.share(before, after, rng.poisson(1.0, compare.n_data)) for _ in range(BOOTSTRAPS)]
    ess = effective(nominal[passed])
    found = numbers(weights, simulation, [x.name for x in samples.asked])
    published = spectra(samples, weights)
    details: dict[str, Any] = {
        "numbers": {name: {"value": value, "error": total(errors)} for name, (value, errors) in found.items()},
        "errors": {name: errors for name, (_, errors) in found.items()},
        "reco_delta_before": compare.deltas(before),
        "reco_delta": compare.deltas(after),
        "reco_delta_floor": compare.floors(before),
        "shares": shares,
        "share_of_the_other_method": beside,
        "effective_sample_size": ess,
        "iterations": iterations(weights),
        "last_iteration_change": last_change(simulation, weights, samples.asked),
        "effective_fraction": ess / int(passed.sum()),
        "replicas": sorted({name.partition("_")[0] for name in weights}),
        "bootstraps": sum(name.startswith("bootstrap_") for name in weights),
        "measured_events": len(samples.data(unseen=False)),
        "unseen_events": compare.n_data,
        "units": {x.name: x.unit for x in samples.asked if x.unit},
        "assumed": samples.notes,
        "spectra": published,
    }
    names = unfolded_names(workspace, submission.weights, len(passed), samples.names)
    judged = gates(samples, weights, published, names, len(samples.data(unseen=False)))
    details |= verdict(judged)
    return Score(
        metric=METRIC,
        value=min(shares.values()),
        error=float(np.std(toys, ddof=1)),
        resampled=toys,
        reason=f"on {compare.n_data} unseen events at detector level; effective sample {ess:.0f} of {passed.sum()}; "
        + summary(judged),
        artefact=sha256(read_bytes(workspace, submission.weights, MAX_BYTES)).hexdigest(),
        details=details,
    )


def normalisation(n_data: int, simulation: dict[str, Floats]) -> float:
    """Return the factor that makes the weights of simulated events passing reco add up to the number of data events."""
    return n_data / float(simulation["pass_reco"] @ simulation["weight"])


def function_of(x: Floats, weight: Floats, seed: int, start: Floats) -> Floats:
    """Return E[weight | x] (n,) over events weighted by `start` (n,), for x (n, d).

    It is predicted for each event by boosted trees not trained on it.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    fold = np.random.default_rng(seed).permutation(len(x)) % FOLDS
    scale = np.average(weight, weights=start)
    each = start if np.ptp(start) > 0 else None
    out = np.empty(len(x))
    for k in range(FOLDS):
        model = HistGradientBoostingRegressor(loss="poisson", max_iter=100, min_samples_leaf=40, random_state=seed)
        model.fit(x[fold != k], weight[fold != k] / scale, None if each is None else each[fold != k])
        out[fold == k] = model.predict(x[fold == k]) * scale
    return out


class Comparison:
    """Compare data (n, d) with the simulation at one level, in bins of one observable and of two."""

    def __init__(
        self, simulation: dict[str, Floats], data: Floats, names: Sequence[str], level: Literal["gen", "reco"] = "reco"
    ) -> None:
        self._names = names
        self._rows = simulation[f"pass_{level}"] > 0
        self._fake = self._rows & ~(simulation["pass_gen"] > 0)
        simulated = np.column_stack([simulation[f"{level}_{x}"][self._rows] for x in names])
        self.n_data = len(data)
        self._bins: list[tuple[Ints, Ints, int]] = []  # bin of simulated events, bin of data, number of bins
        fine, coarse = (
            [
                [np.searchsorted(inner, values[:, k], "right") for values in (simulated, data)]
                for k, inner in enumerate(_inner_edges(column, n) for column in simulated.T)
            ]
            for n in (BINS, PAIR_BINS)
        )
        self._bins += [(s, d, BINS) for s, d in fine]
        for a, b in combinations(range(len(names)), 2):
            both = [coarse[a][i] * PAIR_BINS + coarse[b][i] for i in (0, 1)]
            self._bins.append((both[0], both[1], PAIR_BINS**2))

    def folded(self, weights: Floats, fakes: Floats) -> Floats:
        """Return the weights (m,) of simulated events that pass the level; `fakes` (n,): of those that fail gen."""
        return np.where(self._fake, fakes, weights)[self._rows]

    def deltas(self, folded: Floats) -> dict[str, float]:
        """Return discriminators x 1000 by observable, fluctuations included."""
        found = (self._histograms(bins, folded) for bins in self._bins[: len(self._names)])
        return {name: triangular(data, sim) for name, (data, sim) in zip(self._names, found, strict=True)}

    def floors(self, folded: Floats) -> dict[str, float]:
        """Return the discriminators x 1000 expected of two equal samples of these sizes, by observable."""
        found = {}
        for name, (simulated, measured, n) in zip(self._names, self._bins, strict=False):
            data, sim = self._histograms((simulated, measured, n), folded)
            found[name] = floor(data, sim, data, np.bincount(simulated, folded**2, n).astype(np.float64))
        return found

    def excess(self, folded: Floats, counts: NDArray[np.int64] | None = None) -> float:
        """Return X: mean discriminator x 1000 over all histograms, minus that from the data's fluctuations."""
        total = 0.0
        for bins in self._bins:
            data, sim = self._histograms(bins, folded, counts)
            p, q = data / data.sum(), sim / sim.sum()
            filled = p + q > 0
            noise = 500 * np.sum((p * (1 - p) / self.n_data)[filled] / (p + q)[filled])
            total += triangular(data, sim) - float(noise)
        return total / len(self._bins)

    def share(self, before: Floats, after: Floats, counts: NDArray[np.int64] | None = None) -> float:
        """Return 1 - X(after) / X(before). `counts` (n,): how often each data event counts."""
        return 1 - self.excess(after, counts) / max(self.excess(before, counts), 1e-3)

    def share_of(self, weights: Floats | None, fakes: Floats, before: Floats) -> float | None:
        """Return `share` of the simulated events with these weights, `folded` as there; None without weights."""
        return None if weights is None else self.share(before, self.folded(weights, fakes))

    def _histograms(
        self, bins: tuple[Ints, Ints, int], folded: Floats, counts: NDArray[np.int64] | None = None
    ) -> tuple[Floats, Floats]:
        simulated, measured, n = bins
        data = np.bincount(measured, counts, n).astype(np.float64)
        return data, np.bincount(simulated, folded, n).astype(np.float64)


def _inner_edges(values: Floats, bins: int) -> Floats:
    return np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1])
