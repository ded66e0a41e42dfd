"""Decorrelated scores: is the map right, what is left of the dependence, do bump hunts on background stay honest?

    python -m benchmarks.decorrelation [--quick] [--jets FILE ...] [--sections ...]

The files hold quark, gluon and W jets (`beamcrew data simulate jets FILE --kinds quark,gluon,w --events 7500 --seed 3`,
ten minutes on a core); without them, or quick, shipped tops stand in for W and `jsd_over_ceiling_w` is null.

- W against QCD: maps and trainings on the same observables, at the same cuts (`decorrelated_jets.py`).
- 1-D map: score N(mu(m), sigma(m)); largest error of F(T(s|m)) against F(s|m), and of the scores over their range from
  1 to 99%, at 40 masses and 99 quantiles.
- Toy of MoDe (arXiv:2010.09745): signal mass half U(-1, 1), half N(0.2, 0.1), x1 ~ N(1, 1); background (1 + m)/2 with
  x1 ~ N(0, 1) and (1 - m)/2 with N(-4, 1); x2 = exp(m) + m.
- Two scores at once: unit Gaussians whose correlation runs from -0.6 to 0.6 with the mass; cuts on their sum.
- Bump hunts: 20,000 background events with a score that has a hump of half its width at 3.5 TeV, 12% wide; one map for
  all, learned from 50 times as many others (of ten times as many, a fluctuation would be a third of an error of each
  search, in all of them alike); local p-value of a 3.5% resonance at 3.5 TeV, with no error of the background beyond
  its smoothness.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import kstest

from benchmarks.decorrelated_jets import at_cut, out_of_fold, tagged
from benchmarks.decorrelated_jets import compared as of_jets
from tools.bumphunt.fit import scan_spectrum
from tools.bumphunt.measure import threshold
from tools.bumphunt.spectrum import RANGE, histogram, make_edges, one
from tools.decorrelation.cnots import Cnots
from tools.decorrelation.flow import Flow
from tools.dependence import dependence
from tools.types import Floats

Mask = NDArray[np.bool_]


def map_error(n: int, method: Cnots | Flow) -> tuple[float, float]:
    """Return the largest error of the map, in its range as a quantile and in that of the scores (1 to 99%)."""
    rng = np.random.default_rng(1)

    def draw(n: int) -> tuple[Floats, Floats]:
        mass = rng.uniform(2.5, 5.0, n)
        return mass, centre(mass) + width(mass) * rng.normal(size=n)

    def centre(mass: Floats) -> Floats:
        return np.asarray(1.6 * np.log(mass / 3.2))

    def width(mass: Floats) -> Floats:
        return np.asarray(0.6 + 0.25 * (mass - 2.5))

    mass, score = draw(n)
    everything = np.sort(draw(2_000_000)[1])
    learned = method.fit(score[:, None], mass[:, None], 1)
    at, level = np.repeat(np.linspace(2.55, 4.95, 40), 99), np.tile(np.linspace(0.01, 0.99, 99), 40)
    found = learned((centre(at) + width(at) * ndtri(level))[:, None], at[:, None])[:, 0]
    true, ends = np.quantile(everything, level), np.quantile(everything, [0.01, 0.99])
    in_levels = np.abs(np.searchsorted(everything, found) / len(everything) - level).max()
    return float(in_levels), float(np.abs(found - true).max() / (ends[1] - ends[0]))


def compared(name: str, score: Floats, mass: Floats, is_signal: Mask, method: Cnots | Flow) -> float:
    """Print rejection and 1/JSD at half of the signal, before and after, and return 1/JSD after over its ceiling."""
    moved = out_of_fold(np.empty((len(score), 0)), score, mass, is_signal, method)
    cut = "50% of the signal"
    found = [at_cut(cut, each, mass, is_signal) for each in (score, moved)]
    for said, at in zip(("before", "after"), found, strict=True):
        print(
            f"{name}, {said}: R50 {1 / at['background']:.2f}, 1/JSD {at['inverse_jsd']:.1f}, random selection "
            f"{at['ceiling']:.0f}, ratio {at['over_ceiling']:.2f} +- {at['error']:.2f}, p {at['p']:.3f}",
            flush=True,
        )
    return found[1]["over_ceiling"]


def published_toy(n: int) -> tuple[Floats, Floats, Mask]:
    """Return score, mass and truth of n events of each class of the toy of MoDe."""
    rng = np.random.default_rng(3)
    flat = rng.uniform(-1, 1, n)
    signal = np.where(rng.random(n) < 0.5, flat, rng.normal(0.2, 0.1, n))
    rises = rng.random(n) < 0.5
    background = np.where(rises, 1, -1) * (2 * np.sqrt(rng.random(n)) - 1)
    mass, is_signal = np.concatenate([signal, background]), np.arange(2 * n) < n
    x1 = np.concatenate([np.ones(n), np.where(rises, 0.0, -4.0)]) + rng.normal(size=2 * n)
    return tagged(np.column_stack([x1, np.exp(mass) + mass]), is_signal), mass, is_signal


def together(n: int, method: Cnots | Flow) -> float:
    """Return 1/JSD over its ceiling of the tightest tenth in the sum of two scores whose correlation changes."""
    rng = np.random.default_rng(4)

    def draw(n: int) -> tuple[Floats, Floats]:
        mass = rng.uniform(2.5, 5.0, n)
        r = 0.48 * (mass - 3.75)
        first, other = rng.normal(size=(2, n))
        return np.column_stack([first, r * first + np.sqrt(1 - r**2) * other]), mass

    scores, mass = draw(n)
    learned = method.fit(scores, mass[:, None], 1)
    scores, mass = draw(n)
    total = learned(scores, mass[:, None]).sum(axis=1)
    return dependence(mass, total >= np.quantile(total, 0.9)).over_ceiling


def bump_hunts(sets: int, n_learned: int, method: Cnots | Flow) -> dict[str, Any]:
    """Return KS probabilities that p-values on background alone are uniform, for a random, a humped, a mapped score."""
    rng = np.random.default_rng(5)
    window, tested, bins = (3.3, 3.7), one(3.5, 0.035), make_edges(*RANGE)

    def draw(n: int) -> tuple[Floats, Floats]:
        mass = 2.4 * np.exp(rng.exponential(1 / 5.5, 2 * n))
        mass = mass[mass < RANGE[1]][:n]
        return mass, rng.normal(size=len(mass)) + 0.5 * np.exp(-((np.log(mass / 3.5) / 0.12) ** 2) / 2)

    def p(mass: Floats, score: Floats) -> float:
        passed = score >= threshold(score, mass, window, 0.02)
        return float(ndtr(-scan_spectrum(histogram(mass, passed, bins), tested)[0][0]))

    mass, score = draw(n_learned)
    learned = method.fit(score[:, None], mass[:, None], 1)
    found = []
    for _ in range(sets):
        mass, score = draw(20_000)
        found.append(
            [p(mass, rng.normal(size=len(mass))), p(mass, score), p(mass, learned(score[:, None], mass[:, None])[:, 0])]
        )
    columns = np.array(found).T
    names = ("bumphunt_ks_floor", "bumphunt_ks_before", "bumphunt_ks_after")
    return {name: float(kstest(column, "uniform").pvalue) for name, column in zip(names, columns, strict=True)} | {
        "mean_p": [round(float(column.mean()), 3) for column in columns]
    }


SECTIONS = ("map", "jets", "toy", "two", "hunts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer events, shorter trainings, tops for W")
    parser.add_argument("--jets", type=Path, nargs="+", default=[], help="files of simulated quark, gluon and W jets")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    arguments = parser.parse_args()
    quick, start = arguments.quick, time.monotonic()
    n, method = (50_000, Cnots(steps=600)) if quick else (200_000, Cnots(steps=1500, batch=2048))
    result: dict[str, Any] = {}

    def done(section: str, **found: Any) -> None:
        result.update(found)
        print(f"[{time.monotonic() - start:.0f} s] {section}: {found}", flush=True)

    if "map" in arguments.sections:
        for name, each in (("", method), ("_flow", Flow())):
            levels, scores = map_error(n, each)
            done("map", **{f"map_error_1d{name}": levels, f"map_error_1d_score{name}": scores})
    if "jets" in arguments.sections:
        done("jets", **of_jets([] if quick else arguments.jets, quick))
    if "toy" in arguments.sections:
        done("toy", jsd_over_ceiling_toy=compared("toy of MoDe", *published_toy(n // 4), method))
    if "two" in arguments.sections:
        for name, each in (("cnots", method), ("flows", Flow())):
            done("two scores at once", **{f"jsd_over_ceiling_two_{name}": together(n, each)})
    if "hunts" in arguments.sections:
        done("bump hunts", **bump_hunts(50 if quick else 100, 5 * n, method))
    for name, value in result.items():
        print(f"{name:28} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
