"""The analyst's unfolding: first the requested observables, then all of them together, then smoother classifiers.

More observables tell step 1 more about the particle level (arXiv:1911.09107). The run goes on only as long as the
weights remove a growing share of the discrepancy.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from tasks.claim import Measured, Measurement
from tasks.plan import Plan, PlannedCall, Step
from tasks.policy import Answer, Call, Context, Policy, best, finish, printed, run_python

OUT = "unfolded.parquet"
FIGURE = "figure"
ENSEMBLE = 2  # trainings averaged
CLASSIFIERS = ("trees", "mlp")
# What to unfold and with which classifiers, in this order.
IDEAS = [("asked_for", "trees"), ("observables", "trees"), ("observables", "mlp")]


class UnfoldingPolicy(Policy):
    """One unfolding with all its uncertainties per iteration, and a figure of it."""

    def plan(self, context: Context, seed: int) -> Plan:
        facts, iteration = context["facts"], context["iteration"]
        which, classifier = IDEAS[min(iteration, len(IDEAS) - 1)]
        return _plan(facts, facts[which], classifier, seed + iteration)

    def draw(self, context: Context, rng: random.Random) -> Plan:
        """Return a plan with the requested and some random further observables, and either kind of classifier."""
        facts = context["facts"]
        chosen = {name for name in facts["observables"] if name in facts["asked_for"] or rng.random() < 0.5}
        names = [name for name in facts["observables"] if name in chosen]
        return _plan(facts, names, rng.choice(CLASSIFIERS), rng.randrange(2**31))

    def conclude(self, context: Context, results: Sequence[Answer], later: Sequence[Answer]) -> Call:
        if context["step"]["id"] != FIGURE:
            return super().conclude(context, results, later)
        if later:
            return printed(later[-1])
        if not context["done"]["unfold"]["ok"]:
            return finish("nothing was unfolded, so there is nothing to draw", ok=False)
        return run_python("figure.py", CODE, drawn(context))

    def submission(self, context: Context, results: Sequence[Answer]) -> dict[str, Any]:
        arguments = context["step"]["calls"][-1]["arguments"]
        what = f"{arguments['method']['classifier']}, {', '.join(arguments['observables'])}"
        return {
            "weights": arguments["out"],
            "method": f"OmniFold, {results[-1]['result']['iterations']} iterations, {what}",
        }

    def summary(self, results: Sequence[Answer]) -> str:
        return "; ".join(_summary(answer["result"]) for answer in results)

    def answer(self, context: Context) -> Measurement:
        found = best(context)
        assert found
        return _claim(found, context.get("confirmed"))

    def nothing(self, text: str) -> Measurement:
        return Measurement(text=text)


def _plan(facts: dict[str, Any], names: list[str], classifier: str, seed: int) -> Plan:
    call = PlannedCall(
        tool="omnifold.unfold",
        arguments={
            "data": facts["data"],
            "simulation": facts["simulation"],
            "alternative": facts["alternative"],
            "observables": names,
            "method": {"kind": "omnifold", "classifier": classifier},
            "ensemble": ENSEMBLE,
            "bootstraps": facts["bootstraps_needed"],
            "seed": seed,
            "out": OUT,
        },
    )
    unfold = Step(
        id="unfold",
        goal=f"OmniFold with {classifier} on {', '.join(names)}; errors from bootstraps, ensemble, other simulation.",
        calls=[call],
        submits=True,
    )
    figure = Step(
        id=FIGURE,
        goal=f"A figure of the unfolded {', '.join(facts['asked_for'])} with errors, compared with both simulations.",
        depends_on=["unfold"],
    )
    return Plan(
        reasoning=f"{len(names)} observables are unfolded together, by {classifier}; the data decide when to stop.",
        steps=[unfold, figure],
    )


def _summary(result: dict[str, Any]) -> str:
    """Summarise the key numbers of an unfolding."""
    deltas = ", ".join(
        f"{name} {result['reco_delta_before'][name]:.2f} to {after:.2f}" for name, after in result["reco_delta"].items()
    )
    return (
        f"{result['iterations']} iterations, {result['n_unfolded']:.0f} events at particle level, effective sample "
        f"{result['effective_sample_size']:.0f}; discriminator x 1000 at detector level: {deltas}"
    )


def drawn(context: Context) -> dict[str, Any]:
    """Return the input of the figure: constants at the top of its file."""
    return {
        "UNFOLDED": f"{context['done']['unfold']['folder']}/{OUT}",
        "SIMULATIONS": [context["facts"]["simulation"], context["facts"]["alternative"]],
        "OBSERVABLES": context["facts"]["asked_for"],
    }


def _claim(best: dict[str, Any], closure: dict[str, Any] | None) -> Measurement:
    """Return the best submission's numbers and what they rest on. `closure`: verdict of the closure test, if any."""
    details = best["details"]
    found = {name: Measured(**number) for name, number in details["numbers"].items()}
    means = ", ".join(f"{name.removeprefix('mean_')} {m.value:.4g} ± {m.error:.2g}" for name, m in found.items())
    share = f"{100 * best['value']:.0f} ± {100 * best['error']:.0f}%"
    text = (
        f"Unfolded to the particle level, number of events and means: {means} (mass in GeV). The weights remove "
        f"{share} of the discrepancy between data and simulation at detector level, on "
        f"{details['unseen_events']} events that were not used. Errors: {details['bootstraps']} bootstraps, ensemble, "
        "and the other simulation. What the detector hides stays as in the simulation."
    )
    if closure:
        value = closure["value"]
        made = (
            closure["reason"] if value is None else f"{100 * value:.0f}% of the difference removed; {closure['reason']}"
        )
        text += f" Closure test: {made}."
    return Measurement(numbers=found, text=text)


CODE = """
# Unfolded distributions with total errors, compared with both simulations.
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from tools.events.parquet import read_columns
from tools.omnifold.read import read

unfolded = read(Path(UNFOLDED))
simulations = [read_columns(Path(path)) for path in SIMULATIONS]
passed = simulations[0]["pass_gen"] > 0
figure, rows = plt.subplots(2, len(OBSERVABLES), figsize=(4.2 * len(OBSERVABLES), 5), height_ratios=[3, 1],
                            sharex="col", layout="constrained", squeeze=False)
for name, upper, lower in zip(OBSERVABLES, *rows):
    x = simulations[0][f"gen_{name}"]
    edges = np.unique(np.quantile(x[passed], np.linspace(0.002, 0.998, 21)))
    found = unfolded.histogram(np.where(passed, x, np.nan), edges, normalised=True).density()
    centres = (edges[1:] + edges[:-1]) / 2
    for table, label in zip(simulations, ("simulation", "other simulation")):
        values = table[f"gen_{name}"][table["pass_gen"] > 0]
        density = np.histogram(values, edges, density=True)[0]
        upper.stairs(density, edges, label=label)
        lower.stairs(density / found.values, edges)
    upper.errorbar(centres, found.values, found.errors, np.diff(edges) / 2, fmt="k.", label="unfolded")
    lower.errorbar(centres, np.ones(len(centres)), found.errors / found.values, fmt="k.")
    lower.set(xlabel=name, ylim=(0.5, 1.5))
    relative = np.median(found.errors / found.values)
    print(f"{name}: median error of a bin {100 * relative:.1f}%, by part "
          + ", ".join(f"{part} {100 * np.median(np.sqrt(np.diag(c)) / found.values):.1f}%"
                      for part, c in found.parts.items()))
rows[0][0].set_ylabel("density")
rows[1][0].set_ylabel("/ unfolded")
rows[0][0].legend()
figure.savefig("unfolded.png", dpi=110)
"""
