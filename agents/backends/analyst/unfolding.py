"""How the analyst unfolds: what was asked for first, then all observables together, then smoother classifiers.

More observables tell step 1 more about the particle level (arXiv:1911.09107); the run goes on only while the share of
the discrepancy that the weights remove grows.
"""

from __future__ import annotations

from typing import Any

from agents.state import Plan, PlannedCall, Step
from tasks.score import Claim, Measured

OUT = "unfolded.parquet"
FIGURE = "figure"
ENSEMBLE = 2  # trainings averaged
# What to unfold and with which classifiers, in this order.
IDEAS = [("asked_for", "trees"), ("observables", "trees"), ("observables", "mlp")]


def plan(context: dict[str, Any], seed: int) -> Plan:
    """One unfolding with all its uncertainties, and a figure of it."""
    facts, iteration = context["facts"], context["iteration"]
    which, classifier = IDEAS[min(iteration, len(IDEAS) - 1)]
    names = facts[which]
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
            "seed": seed + iteration,
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
        goal=f"The unfolded {', '.join(facts['asked_for'])} with their errors beside both simulations, as a figure.",
        depends_on=["unfold"],
    )
    return Plan(
        reasoning=f"{len(names)} observables are unfolded together, by {classifier}; the data decide when to stop.",
        steps=[unfold, figure],
    )


def submission(call: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """What the step hands in."""
    arguments = call["arguments"]
    what = f"{arguments['method']['classifier']}, {', '.join(arguments['observables'])}"
    return {"scores": arguments["out"], "method": f"OmniFold, {result['iterations']} iterations, {what}"}


def summary(result: dict[str, Any]) -> str:
    """The numbers that matter of an unfolding."""
    deltas = ", ".join(
        f"{name} {result['reco_delta_before'][name]:.2f} to {after:.2f}" for name, after in result["reco_delta"].items()
    )
    return (
        f"{result['iterations']} iterations, {result['n_unfolded']:.0f} events at particle level, effective sample "
        f"{result['effective_sample_size']:.0f}; discriminator x 1000 at detector level: {deltas}"
    )


def figure_code(context: dict[str, Any]) -> str:
    """The Python file that draws what the step `unfold` has made."""
    values = {
        "UNFOLDED": f"{context['done']['unfold']['folder']}/{OUT}",
        "SIMULATIONS": [context["facts"]["simulation"], context["facts"]["alternative"]],
        "OBSERVABLES": context["facts"]["asked_for"],
    }
    return "".join(f"{name} = {value!r}\n" for name, value in values.items()) + CODE


def claim(graded: list[dict[str, Any]], closure: dict[str, Any] | None) -> Claim:
    """The numbers of the best submission, and what they rest on. `closure`: the verdict of the closure test, if any."""
    best = max(graded, key=lambda entry: entry["value"])
    details = best["details"]
    found = {name: Measured(**number) for name, number in details["numbers"].items()}
    means = ", ".join(f"{name.removeprefix('mean_')} {m.value:.4g} ± {m.error:.2g}" for name, m in found.items())
    share = f"{100 * best['value']:.0f} ± {100 * best['error']:.0f}%"
    text = (
        f"Unfolded to the particle level, number of events and means: {means} (mass in GeV). The weights remove "
        f"{share} of the discrepancy between data and simulation at detector level, on "
        f"{details['unseen_events']} events that were not used. Errors: {details['bootstraps']} bootstraps, ensemble, "
        "and the other simulation. What the detector hides stays as the simulation has it."
    )
    if closure:
        value = closure["value"]
        made = (
            closure["reason"] if value is None else f"{100 * value:.0f}% of the difference removed; {closure['reason']}"
        )
        text += f" Closure test: {made}."
    return Claim(numbers=found, text=text)


CODE = """
# Unfolded distributions with total errors beside both simulations.
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
