"""The analyst's unfolding: first the requested observables, then all of them together, then smoother classifiers.

More observables tell step 1 more about the particle level (arXiv:1911.09107). The run goes on only as long as the
weights remove a growing share of the discrepancy. Gates that fail change the next plan.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from tasks.claim import Measured, Measurement
from tasks.plan import Plan, PlannedCall, Step
from tasks.policy import Answer, Call, Context, Policy, best, finish, graded, printed, run_python
from tasks.writing import measured

OUT = "unfolded.parquet"
FIGURE = "figure"
ENSEMBLE = 2  # trainings averaged
CLASSIFIERS = ("trees", "mlp")
MOST_ITERATIONS = 20
# A generative method, which shares no classifier of data with OmniFold; small, as it runs once beside many replicas.
BESIDE = {"kind": "flow_matching", "hidden": 32, "epochs": 15}
# What to unfold and with which classifiers, in this order.
IDEAS = [("asked_for", "trees"), ("observables", "trees"), ("observables", "mlp")]


class UnfoldingPolicy(Policy):
    """One unfolding with all its uncertainties per iteration, and a figure of it."""

    def plan(self, context: Context, seed: int) -> Plan:
        facts, iteration = context["facts"], context["iteration"]
        ideas = IDEAS if len(facts["observables"]) > len(facts["asked_for"]) else IDEAS[1:]
        which, classifier = ideas[min(iteration, len(ideas) - 1)]
        return _plan(facts, facts[which], classifier, seed + iteration, _mended(context, facts))

    def draw(self, context: Context, rng: random.Random) -> Plan:
        """Return a plan with the requested and some random further observables, and either kind of classifier."""
        facts = context["facts"]
        chosen = {name for name in facts["observables"] if name in facts["asked_for"] or rng.random() < 0.5}
        names = [name for name in facts["observables"] if name in chosen]
        return _plan(facts, names, rng.choice(CLASSIFIERS), rng.randrange(2**31), {})

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
        return _claim(found, context.get("confirmed"), context["facts"])

    def nothing(self, context: Context, text: str) -> Measurement:
        return Measurement(text=text)


def _mended(context: Context, facts: dict[str, Any]) -> dict[str, Any]:
    """Return arguments that answer the gates that the last verdict failed, and `why` in words.

    A slope that was not recovered needs more iterations, a singular covariance more bootstraps.
    """
    last = next(iter(graded(context)[-1:]), None)
    gates = (last or {}).get("details", {}).get("gates", {})
    failed = [name for name, gate in gates.items() if gate["passed"] is False]
    slopes = [name for name in failed if name.startswith("stress")]
    singular = [name for name in failed if name.startswith("covariance")]
    done = (last or {}).get("details", {}).get("iterations")
    changed: dict[str, Any] = {}
    if slopes and done:
        changed["iterations"] = min(MOST_ITERATIONS, 2 * done)
    if singular:
        changed["bootstraps"] = 2 * facts["bootstraps_needed"]
    said = ", ".join(f"{value} {name}" for name, value in changed.items())
    return changed | ({"why": f"As the gates {', '.join(slopes + singular)} failed: {said}. "} if changed else {})


def _plan(facts: dict[str, Any], names: list[str], classifier: str, seed: int, mended: dict[str, Any]) -> Plan:
    given = {name: facts[name] for name in ("data", "simulation", "alternative", "nuisances") if facts.get(name)}
    iterations = {"iterations": mended["iterations"]} if "iterations" in mended else {}
    call = PlannedCall(
        tool="unfolding.unfold",
        arguments={
            **given,
            "observables": names,
            "method": {"kind": "omnifold", "classifier": classifier, **iterations},
            "beside": BESIDE,
            "ensemble": ENSEMBLE,
            "bootstraps": mended.get("bootstraps", facts["bootstraps_needed"]),
            "stress": True,
            "seed": seed,
            "out": OUT,
        },
    )
    unfold = Step(
        id="unfold",
        goal=f"OmniFold with {classifier} on {', '.join(names)}; errors from {_sources(facts)}.",
        calls=[call],
        submits=True,
    )
    figure = Step(
        id=FIGURE,
        goal=f"A figure of the unfolded {', '.join(facts['asked_for'])} with errors, compared with the simulation.",
        depends_on=["unfold"],
    )
    return Plan(
        reasoning=f"{mended.get('why', '')}{len(names)} observables are unfolded together, by {classifier}; "
        f"{'their number of iterations is set' if iterations else 'the data decide when to stop'}.",
        steps=[unfold, figure],
    )


def _sources(facts: dict[str, Any]) -> str:
    """Return what the errors come from."""
    nuisances = [f"nuisances {', '.join(facts['nuisances'])}"] if facts.get("nuisances") else []
    other = ["the other simulation"] if facts.get("alternative") else []
    return ", ".join(["bootstraps", "ensemble", *nuisances, *other, "flow matching as another method"])


def _summary(result: dict[str, Any]) -> str:
    """Summarise the key numbers of an unfolding."""
    least = result["reco_delta_floor"]
    deltas = ", ".join(
        f"{name} {result['reco_delta_before'][name]:.2f} to {after:.2f} (two equal samples {least[name]:.2f})"
        for name, after in result["reco_delta"].items()
    )
    return (
        f"{result['iterations']} iterations, {result['n_unfolded']:.0f} events at particle level, effective sample "
        f"{result['effective_sample_size']:.0f}; discriminator x 1000 at detector level: {deltas}"
    )


def drawn(context: Context) -> dict[str, Any]:
    """Return the input of the figure: constants at the top of its file."""
    return {
        "UNFOLDED": f"{context['done']['unfold']['folder']}/{OUT}",
        "SIMULATIONS": [context["facts"][s] for s in ("simulation", "alternative") if context["facts"].get(s)],
        "OBSERVABLES": context["facts"]["asked_for"],
        "UNITS": {x["name"]: x["unit"] for x in context["facts"].get("about", []) if "unit" in x},
        "BINS": {x["name"]: x["bins"] for x in context["facts"].get("about", []) if "bins" in x},
    }


def _claim(best: dict[str, Any], closure: dict[str, Any] | None, facts: dict[str, Any]) -> Measurement:
    """Return the best submission's numbers and what they rest on. `closure`: verdict of the closure test, if any."""
    details = best["details"]
    found = {name: Measured(**number) for name, number in details["numbers"].items()}
    units = {f"mean_{x['name']}": x["unit"] for x in facts.get("about", []) if "unit" in x}
    means = ", ".join(
        f"{name.removeprefix('mean_')} {measured(m.value, m.error, units.get(name, ''))}" for name, m in found.items()
    )
    share = f"{100 * best['value']:.0f} ± {100 * best['error']:.0f}%"
    text = (
        f"Unfolded to the particle level, number of events and means: {means}. They are those of the "
        f"{facts['measured_events']} measured events that the crew has. The weights remove "
        f"{share} of the discrepancy between data and simulation at detector level, on "
        f"the {details['unseen_events']} events held out (hold_out). "
        f"Errors: {details['bootstraps']} {_sources(facts)}. "
        "What the detector hides stays as in the simulation."
    )
    if (beside := details.get("share_of_the_other_method")) is not None:
        text += f" The other method alone removes {100 * beside:.0f}%; its difference is the error `method`."
    if gates := details.get("gates"):
        text += f" {_judged(gates)}"
    if closure:
        value = closure["value"]
        made = (
            closure["reason"] if value is None else f"{100 * value:.0f}% of the difference removed; {closure['reason']}"
        )
        text += f" Closure test: {made}."
    elif not facts.get("alternative"):
        text += " No closure test: there is no other simulation."
    return Measurement(numbers=found, text=text)


def _judged(gates: dict[str, dict[str, Any]]) -> str:
    """Say which gates passed, and what those that did not say."""
    bad = {name: gate for name, gate in gates.items() if not gate["passed"]}
    if not bad:
        return f"All {len(gates)} gates passed, stress tests among them."
    said = "; ".join(
        f"{name} not made" if gate["passed"] is None else f"{name} {gate['value']:.3g}, but {gate['limit']}"
        for name, gate in bad.items()
    )
    return f"{len(gates) - len(bad)} of {len(gates)} gates passed. The others: {said}."


CODE = """
# Unfolded distributions with total errors, compared with the simulations.
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from tools.events.parquet import read_columns
from tools.unfolding.read import read

unfolded = read(Path(UNFOLDED))
simulations = [read_columns(Path(path)) for path in SIMULATIONS]
passed = simulations[0]["pass_gen"] > 0
figure, rows = plt.subplots(2, len(OBSERVABLES), figsize=(4.2 * len(OBSERVABLES), 5), height_ratios=[3, 1],
                            sharex="col", layout="constrained", squeeze=False)
for name, upper, lower in zip(OBSERVABLES, *rows):
    x = simulations[0][f"gen_{name}"]
    edges = np.array(BINS.get(name, np.unique(np.quantile(x[passed], np.linspace(0.002, 0.998, 21)))))
    found = unfolded.histogram(np.where(passed, x, np.nan), edges, normalised=True).density()
    centres = (edges[1:] + edges[:-1]) / 2
    for table, label in zip(simulations, ("simulation", "other simulation"), strict=False):
        values = table[f"gen_{name}"][table["pass_gen"] > 0]
        density = np.histogram(values, edges, density=True)[0]
        upper.stairs(density, edges, label=label)
        lower.stairs(density / found.values, edges)
    upper.errorbar(centres, found.values, found.errors, np.diff(edges) / 2, fmt="k.", label="unfolded")
    lower.errorbar(centres, np.ones(len(centres)), found.errors / found.values, fmt="k.")
    lower.set(xlabel=f"{name} [{UNITS[name]}]" if name in UNITS else name, ylim=(0.5, 1.5))
    relative = np.median(found.errors / found.values)
    print(f"{name}: median error of a bin {100 * relative:.1f}%, by part "
          + ", ".join(f"{part} {100 * np.median(np.sqrt(np.diag(c)) / found.values):.1f}%"
                      for part, c in found.parts.items()))
rows[0][0].set_ylabel("density")
rows[1][0].set_ylabel("/ unfolded")
rows[0][0].legend()
figure.savefig("unfolded.png", dpi=110)
"""
