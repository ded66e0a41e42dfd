"""p-values of signal-free weighted events: `python -m benchmarks.weights [--quick]`.

In each set, events of a falling spectrum get scores that ignore the mass, and weights whose logarithm is normal with a
standard deviation `spread`; its part `along` follows the score, so that events that pass are heavier. The global
p-value of two cuts in one window, of which the most significant resonance counts, should be uniform: the table has the
share of sets below a few levels, beside two samples of uniform numbers of the same size (the floor) and the same events
without weights. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
from scipy.stats import kstest

from tools.bumphunt.lookelsewhere import Hunt, global_p_value
from tools.bumphunt.measure import measure
from tools.bumphunt.spectrum import RANGE, hypotheses
from tools.events.weights import effective
from tools.types import Floats

WINDOW, EVENTS, CUTS, TOYS = (3.3, 3.7), 30_000, (2e-2, 1e-2), 60
SPREADS = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.3))  # spread, along
LEVELS = (0.05, 0.2, 0.5)


def weighted_set(rng: np.random.Generator, spread: float, along: float) -> tuple[Floats, Floats, Floats]:
    """Return masses, scores and weights, (n,) each."""
    n = int(rng.poisson(EVENTS))
    fall = 1 - np.exp((RANGE[0] - RANGE[1]) / 0.6)
    mass = RANGE[0] - 0.6 * np.log(1 - fall * rng.random(n))
    score, other = rng.normal(size=(2, n))
    return mass, score, np.exp(spread * (along * score + np.sqrt(1 - along**2) * other) - spread**2 / 2)


def p_value(seed: int, spread: float, along: float) -> tuple[float, float]:
    """Return the global p-value of one signal-free set, and the effective events behind the tighter cut."""
    mass, score, weight = weighted_set(np.random.default_rng([seed, 5]), spread, along)
    cuts = [measure(mass, score, WINDOW, e, weight=weight if spread else None) for e in CUTS]
    hunt = Hunt([cut.spectrum for cut in cuts], hypotheses(*WINDOW))
    found = global_p_value([hunt], max(cut.fit.z for cut in cuts), 1, TOYS, seed)
    return found.p_global, effective(weight[score >= np.quantile(score, 1 - CUTS[1])])


def shares(p: Floats) -> dict[str, float]:
    """Return the shares of p-values up to LEVELS, and the probability that they are uniform (Kolmogorov-Smirnov)."""
    return {f"p<{level:g}": float((p <= level).mean()) for level in LEVELS} | {"ks": float(kstest(p, "uniform").pvalue)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="40 sets instead of 400; 4 minutes")
    sets = 40 if parser.parse_args().quick else 400
    rng, start = np.random.default_rng(1), time.monotonic()
    rows: dict[str, Any] = {f"floor {k}": shares(rng.random(sets)) for k in (1, 2)}
    for spread, along in SPREADS:
        found = np.array([p_value(seed, spread, along) for seed in range(sets)])
        name = f"spread {spread:g}, along {along:g}" if spread else "no weights"
        rows[name] = shares(found[:, 0]) | {"effective": float(found[:, 1].mean())}
        print(f"{name}: done after {time.monotonic() - start:.0f} s", file=sys.stderr)
    for name, row in rows.items():
        print(f"{name:24}" + "  ".join(f"{key} {value:.3g}" for key, value in row.items()))
    print(json.dumps({"sets": sets, "seconds": time.monotonic() - start} | rows))


if __name__ == "__main__":
    main()
