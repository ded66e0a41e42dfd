"""How the analyst makes a fast simulation: the flow, quickly; then longer; then a larger one, while the score grows.

Each step trains, makes the showers that are asked for, makes others like the reference file, and judges these: what the
claim says of the simulation, and of where not to trust it, comes from there.
"""

from __future__ import annotations

from typing import Any

from agents.state import Plan, PlannedCall, Step
from tasks.score import Claim, Measured

OUT, GENERATOR, LIKE = "generated.safetensors", "generator.safetensors", "like_reference.h5"
# What to train, in this order.
IDEAS: list[dict[str, Any]] = [
    {"kind": "flow", "epochs": 6, "layer_epochs": 20},
    {"kind": "flow", "epochs": 20, "layer_epochs": 40},
    {"kind": "flow", "epochs": 30, "layer_epochs": 60, "hidden": 128},
]
NAMED = 3  # regions that the claim names


def plan(context: dict[str, Any], seed: int) -> Plan:
    """Train, generate, judge."""
    facts, iteration = context["facts"], context["iteration"]
    settings = IDEAS[min(iteration, len(IDEAS) - 1)]
    common = {"seed": seed + iteration}
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
        goal=f"Train ({said}), make the showers asked for, judge others beside the reference with a page of plots.",
        calls=calls,
        submits=True,
    )
    return Plan(
        reasoning=f"A {settings['kind']} learns {facts['training_showers']} showers of {facts['voxels']} voxels; the "
        "harness says whether more training pays.",
        steps=[step],
    )


def submission(calls: list[dict[str, Any]]) -> dict[str, Any]:
    """What the step hands in."""
    settings = calls[0]["arguments"]["generator"]
    return {"scores": OUT, "method": ", ".join(f"{name} {value}" for name, value in settings.items())}


def summary(result: dict[str, Any]) -> str:
    """The numbers that matter of a judgement."""
    times = ", ".join(f"{ms:.2g} ms at batch {batch}" for batch, ms in result["ms_per_shower"].items())
    bad = result["distrusted"]
    regions = f"{len(bad)} of {result['regions']} regions not to be trusted"
    memory = "" if result["auc_memory"] is None else f", memory {result['auc_memory']:.3f}"
    return (
        f"beside the reference: AUC of voxels {result['auc_voxels']:.3f}, of observables "
        f"{result['auc_observables']:.3f}{memory}; a shower takes {times or 'a time not measured'}; {regions}"
        + (f", worst {bad[0]}" if bad else "")
    )


def claim(graded: list[dict[str, Any]]) -> Claim:
    """The numbers of the best submission as the harness measured them, and where its showers cannot be trusted."""
    best = max(graded, key=lambda entry: entry["value"])
    details = best["details"]
    found = {name: Measured(**details["numbers"][name]) for name in ("auc_voxels", "auc_observables")}
    numbers = ", ".join(f"{n.removeprefix('auc_')} {m.value:.3f} ± {m.error:.3f}" for n, m in found.items())
    regions = details["distrusted"][:NAMED]
    where = (
        f"It cannot be trusted in {details['regions_distrusted']} of {details['regions']} regions, first of all: "
        f"{'; '.join(regions)}."
        if regions
        else f"In none of {details['regions']} regions was it caught; what none of them shows was not looked at."
    )
    text = (
        f"Boosted trees tell generated from simulated showers with an AUC of: {numbers} (0.5: not at all), on "
        f"{details['showers']} showers that were not used. {where} {details['regions_untested']} regions had too few "
        "showers to tell. Incident energies beyond those of the training showers were not tested: do not use it there."
    )
    return Claim(numbers=found, text=text)
