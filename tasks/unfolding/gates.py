"""Gates of an unfolding: what has to hold before its errors are believed, each with its stated limit.

A gate that fails is a finding in words; one that could not be made (the file lacks its columns) has not passed. They do
not change the score: the share of the discrepancy removed says how much was unfolded, gates say whether to trust it.

    stress_a         data from the simulation's truth times a slope of a% (`tools.unfolding.stress`): the rms over bins
                     of bias/stated error is at most 1, and from 20% on, half of the slope or more is recovered,
                     which errors that are large do not help
    prior_x          the result from another prior: rms of shift/error at most 1
    other method     the same for the other method, with the errors without it: at most 2
    covariance       of the published bins: positive definite, condition number of the correlations at most CONDITION
    effective sample at least EFFECTIVE of the simulated events
    normalisation    the weighted simulation has as many events at detector level as the data, and the last iteration
                     changed their number at particle level by less than its error
    bottom line      see `bottomline`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.unfolding.bottomline import bottom_lines
from tasks.unfolding.gate import Gate
from tasks.unfolding.samples import Samples, edges_of
from tasks.unfolding.spectra import Spectra, names
from tasks.unfolding.weights import numbers, total
from tools.events.weights import effective
from tools.types import Floats
from tools.unfolding import stress
from tools.unfolding.read import Histogram, UnfoldedEvents

BINS = 10  # quantile bins of the simulation, unless the operator gives others
BIAS, METHOD, RECOVERED, LARGE = 1.0, 2.0, 0.5, 20
CONDITION = 1e6
EFFECTIVE = 0.2
TOTAL = 0.02  # relative difference at detector level, beyond three standard deviations of the data


def gates(
    samples: Samples, weights: Mapping[str, Floats], of: Spectra, unfolded: Sequence[str], n_data: int
) -> list[Gate]:
    """Return all gates of submitted weights. `of`: their published spectra; `unfolded`: observables in their file."""
    scale = n_data / float(samples.simulation["pass_reco"] @ samples.simulation["weight"])
    start = scale * samples.simulation["weight"]
    bins = _Bins(samples, weights)
    return [
        *_stress(samples, weights, bins, start, unfolded),
        *_priors(weights, bins),
        _other(weights, bins),
        *(_covariance(x, of) for x in names(of)),
        _effective(samples, weights),
        *_normalisation(samples, weights, start, n_data),
        *bottom_lines(samples, weights, start),
    ]


def verdict(found: Sequence[Gate]) -> dict[str, Any]:
    """Return what the score's details hold: gates by name, and a warning if any has not passed."""
    warning = {} if all(gate.passed for gate in found) else {"warning": f"Gates: {summary(found)}."}
    return {"gates": {gate.name: gate.model_dump(exclude={"name"}) for gate in found}, **warning}


def summary(found: Sequence[Gate]) -> str:
    """Return in words how many gates passed, and what the others found."""
    said = [gate.finding for gate in found if gate.finding]
    if not said:
        return f"all {len(found)} gates passed"
    return f"{len(found) - len(said)} of {len(found)} gates passed; {'; '.join(said)}"


class _Bins:
    """Histograms of all observables asked for, one after the other, with the stated errors."""

    def __init__(self, samples: Samples, weights: Mapping[str, Floats]) -> None:
        passed = samples.simulation["pass_gen"] > 0
        self._columns = []
        for x in samples.asked:
            values = samples.simulation[f"gen_{x.name}"]
            edges = edges_of(x, values[passed], BINS, open_ends=True)
            self._columns.append((np.where(passed, values, np.nan), edges))
        events = UnfoldedEvents({}, dict(weights), {})
        self._made: list[Histogram] = [events.histogram(*column) for column in self._columns]

    def fill(self, weight: Floats) -> Floats:
        return np.concatenate([np.histogram(*column, weights=weight)[0] for column in self._columns])

    def errors(self, without: str = "") -> Floats:
        kept = [
            Histogram(each.edges, each.values, {n: part for n, part in each.parts.items() if n != without})
            for each in self._made
        ]
        return np.concatenate([each.errors for each in kept])

    def pull(self, one: Floats, other: Floats, without: str = "") -> Floats:
        """Return the difference of two weights (n,) in units of the errors; where none is stated, as if it were 0."""
        error = self.errors(without)
        difference = self.fill(one) - self.fill(other)
        return np.divide(difference, error, out=np.where(difference == 0, 0.0, 1e6), where=error > 0)


def rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _stress(
    samples: Samples, weights: Mapping[str, Floats], bins: _Bins, start: Floats, unfolded: Sequence[str]
) -> list[Gate]:
    """Return the stress tests: bias over error, and the share of the slope that is recovered."""
    simulation, found = samples.simulation, []
    passed: NDArray[np.bool_] = simulation["pass_gen"] > 0
    limit = f"rms of bias over stated error at most {BIAS:g}"
    for size in stress.SIZES:
        name, more = f"stress {size}%", limit
        if size >= LARGE:
            more += f" and {RECOVERED:.0%} or more of the slope recovered"
        made = weights.get(f"stress_{size}")
        if made is None or not unfolded:
            found.append(Gate(name=name, value=None, limit=more, passed=None, more="unfold with stress=true"))
            continue
        gen = np.column_stack([simulation[f"gen_{x}"] for x in unfolded])
        truth = start * passed * stress.slope(gen, passed, size / 100)
        before, after = bins.fill(start * passed - truth), bins.fill(made - truth)
        recovered = 1 - rms(after) / max(rms(before), 1e-300)
        pull = bins.pull(made, truth)
        change = float(np.max(np.abs(before) / np.maximum(bins.fill(truth), 1e-12)))
        said = f"spectra change by up to {change:.0%}; {recovered:.0%} recovered, largest {np.max(np.abs(pull)):.2f}"
        numbers = {"recovered": recovered, "largest": float(np.max(np.abs(pull))), "change": change}
        good = rms(pull) <= BIAS and (size < LARGE or recovered >= RECOVERED)
        found.append(Gate(name=name, value=rms(pull), limit=more, passed=good, more=said, numbers=numbers))
    return found


def _priors(weights: Mapping[str, Floats], bins: _Bins) -> list[Gate]:
    """Return how far the result moves from another prior, in its errors."""
    limit, found = f"rms of shift over stated error at most {BIAS:g}", []
    for key, name in (("prior_slope", "sloped prior"), ("prior_flat", "flat prior")):
        if key not in weights:
            found.append(Gate(name=name, value=None, limit=limit, passed=None, more="unfold with stress=true"))
            continue
        value = rms(bins.pull(weights[key], weights.get("ensemble_0", weights["nominal"])))
        found.append(Gate(name=name, value=value, limit=limit, passed=value <= BIAS))
    return found


def _other(weights: Mapping[str, Floats], bins: _Bins) -> Gate:
    limit = f"rms of difference over the other errors at most {METHOD:g}"
    if "method" not in weights:
        return Gate(name="other method", value=None, limit=limit, passed=None, more="unfold with `beside`")
    value = rms(bins.pull(weights["method"], weights["nominal"], without="method"))
    return Gate(name="other method", value=value, limit=limit, passed=value <= METHOD)


def _covariance(x: str, of: Spectra) -> Gate:
    """Return whether the published covariance of an observable can be inverted."""
    covariance = np.array(of[f"{x}.covariance"]).reshape(len(of[f"{x}.unfolded"]), -1)
    limit = f"positive definite, and the condition number of the correlations at most {CONDITION:.0e}"
    value = condition(covariance)
    said = "the bins of a singular covariance are more than its replicas can tell apart: make more bootstraps"
    passed = value <= CONDITION
    return Gate(name=f"covariance {x}", value=value, limit=limit, passed=passed, more="" if passed else said)


def condition(covariance: Floats) -> float:
    """Return largest over smallest eigenvalue of the correlations of a covariance (b, b); 1e300 if not positive
    definite.
    """
    error = np.sqrt(np.maximum(np.diag(covariance), 0))
    if not np.all(error > 0):
        return 1e300
    values = np.linalg.eigvalsh(covariance / np.outer(error, error))
    return float(values[-1] / values[0]) if values[0] > 1e-12 * values[-1] else 1e300


def _effective(samples: Samples, weights: Mapping[str, Floats]) -> Gate:
    passed = (samples.simulation["pass_gen"] > 0) & (samples.simulation["weight"] > 0)
    value = effective(weights["nominal"][passed]) / effective(samples.simulation["weight"][passed])
    limit = f"at least {EFFECTIVE:.0%} of the simulated events"
    return Gate(name="effective sample", value=value, limit=limit, passed=value >= EFFECTIVE)


def _normalisation(samples: Samples, weights: Mapping[str, Floats], start: Floats, n_data: int) -> list[Gate]:
    """Return whether the folded result has as many events as the data, and whether the last iteration kept them."""
    simulation, nominal = samples.simulation, weights["nominal"]
    seen = simulation["pass_reco"] > 0
    folded = float(np.where(simulation["pass_gen"] > 0, nominal, start)[seen].sum())
    most = TOTAL + 3 / np.sqrt(n_data)
    value = abs(folded / n_data - 1)
    limit = f"events at detector level within {most:.1%} of those measured"
    found = [Gate(name="normalisation", value=value, limit=limit, passed=value <= most)]
    before = next((w for name, w in weights.items() if name.startswith("iteration_")), None)
    if before is not None and "ensemble_0" in weights:
        error = total(numbers(weights, simulation, [])["events"][1])
        moved = abs(float(weights["ensemble_0"].sum() - before.sum())) / max(error, 1e-12)
        limit = "number of events moved by the last iteration at most its error"
        found.append(Gate(name="last iteration", value=moved, limit=limit, passed=moved <= 1))
    return found
