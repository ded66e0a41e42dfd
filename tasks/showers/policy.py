"""The analyst's fast simulation: a flow, trained briefly, then longer, then a larger one, as long as the score grows.

Each step trains, generates the requested showers, generates others like the reference file, and judges the latter.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from tasks.claim import Measured, Measurement
from tasks.plan import Plan, PlannedCall, Step
from tasks.policy import Answer, Context, Policy, best

OUT, GENERATOR, LIKE = "generated.safetensors", "generator.safetensors", "like_reference.h5"
# What to train, in this order.
IDEAS: list[dict[str, Any]] = [
    {"kind": "flow", "epochs": 6, "layer_epochs": 20},
    {"kind": "flow", "epochs": 20, "layer_epochs": 40},
    {"kind": "flow", "epochs": 30, "layer_epochs": 60, "hidden": 128},
]
HIDDEN = (32, 64, 128)  # widths that random search chooses from
NAMED = 3  # number of regions that the claim names


class ShowersPolicy(Policy):
    """Train, generate and judge, with a larger generator in each iteration."""

    def plan(self, context: Context, seed: int) -> Plan:
        iteration = context["iteration"]
        return _plan(context["facts"], IDEAS[min(iteration, len(IDEAS) - 1)], seed + iteration)

    def draw(self, context: Context, rng: random.Random) -> Plan:
        """Return a plan with a flow of a random size and training time, within the analyst's ranges."""
        settings = {
            "kind": "flow",
            "epochs": rng.randint(IDEAS[0]["epochs"], IDEAS[-1]["epochs"]),
            "layer_epochs": rng.randint(IDEAS[0]["layer_epochs"], IDEAS[-1]["layer_epochs"]),
            "hidden": rng.choice(HIDDEN),
        }
        return _plan(context["facts"], settings, rng.randrange(2**31))

    def submission(self, context: Context, results: Sequence[Answer]) -> dict[str, Any]:
        settings = context["step"]["calls"][0]["arguments"]["generator"]
        return {"showers": OUT, "method": ", ".join(f"{name} {value}" for name, value in settings.items())}

    def summary(self, results: Sequence[Answer]) -> str:
        return "; ".join(_summary(a["result"]) for a in results if "auc_observables" in a.get("result", {}))

    def answer(self, context: Context) -> Measurement:
        found = best(context)
        assert found
        return _claim(found)

    def nothing(self, context: Context, text: str) -> Measurement:
        return Measurement(text=text)


def _plan(facts: dict[str, Any], settings: dict[str, Any], seed: int) -> Plan:
    """Return the plan of one step: train, generate, judge."""
    common = {"seed": seed}
    make = {"generator": GENERATOR, **common}
    train = {"showers": facts["train"], "geometry": facts["geometry"], "generator": settings, "out": GENERATOR}
    judge = {
        "reference": facts["reference"],
        "generated": LIKE,
        "geometry": facts["geometry"],
        "training": facts["train"],
        "generator": GENERATOR,
        "classifiers": ["trees"],
        "report": "page",
    }
    calls = [
        PlannedCall(tool="calorimeter.train", arguments=train | common),
        PlannedCall(tool="calorimeter.generate", arguments=make | {"like": facts["energies"], "out": OUT}),
        PlannedCall(tool="calorimeter.generate", arguments=make | {"like": facts["reference"], "out": LIKE}),
        PlannedCall(tool="calorimeter.judge", arguments=judge | common),
    ]
    said = ", ".join(f"{name} {value}" for name, value in settings.items())
    step = Step(
        id="fast_simulation",
        goal=f"Train ({said}), generate the requested showers, judge others against the reference, with plots.",
        calls=calls,
        submits=True,
    )
    return Plan(
        reasoning=f"A {settings['kind']} learns {facts['training_showers']} showers of {facts['voxels']} voxels; the "
        "harness says whether more training pays.",
        steps=[step],
    )


def _summary(result: dict[str, Any]) -> str:
    """Summarise the key numbers of a judgement."""
    times = ", ".join(f"{ms:.2g} ms at batch {batch}" for batch, ms in result["ms_per_shower"].items())
    bad = result["distrusted"]
    regions = f"{len(bad)} of {result['regions']} regions not to be trusted"
    memory = "" if result["auc_memory"] is None else f", memory {result['auc_memory']:.3f}"
    return (
        f"against the reference: AUC of voxels {result['auc_voxels']:.3f}, of observables "
        f"{result['auc_observables']:.3f}{memory}; time per shower: {times or 'not measured'}; {regions}"
        + (f", worst {bad[0]}" if bad else "")
    )


def _claim(best: dict[str, Any]) -> Measurement:
    """Return the harness's numbers for the best submission, and where its showers cannot be trusted."""
    details = best["details"]
    found = {name: Measured(**details["numbers"][name]) for name in ("auc_voxels", "auc_observables")}
    numbers = ", ".join(f"{n.removeprefix('auc_')} {m.value:.3f} ± {m.error:.3f}" for n, m in found.items())
    regions = details["distrusted"][:NAMED]
    where = (
        f"It cannot be trusted in {details['regions_distrusted']} of {details['regions']} regions, the worst being: "
        f"{'; '.join(regions)}."
        if regions
        else f"None of {details['regions']} regions showed a deviation; nothing outside these was tested."
    )
    text = (
        f"Boosted trees tell generated from simulated showers with an AUC of: {numbers} (0.5: not at all), on "
        f"{details['showers']} showers that were not used. {where} {details['regions_untested']} regions had too few "
        "showers to tell. Incident energies beyond those of the training showers were not tested: do not use it there."
    )
    return Measurement(numbers=found, text=text)
