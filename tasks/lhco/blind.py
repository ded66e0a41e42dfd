"""Random search, the control: random windows, features and ensembles; the most significant is handed in."""

from __future__ import annotations

import random
from typing import Any

from tasks.lhco.plans import QUICK_FLOW, against_reference, around, chain, choose, survey_windows
from tasks.plan import Plan, PlannedCall, Step

ENSEMBLES = range(1, 7)  # models per fold to draw from, up to the number in the analyst's first idea
FEATURES = 2  # minimum number


def draw(facts: dict[str, Any], iteration: int, rng: random.Random) -> Plan:
    """Return a plan of as many windows as the survey has, at random places; with a reference, one classification."""
    if not facts["sidebands"]:
        return _against_reference(facts, iteration, rng)
    low, high = facts["search_range"]
    steps = []
    for number in range(len(survey_windows(facts))):
        window = around(rng.uniform(low, high), facts)
        classifier = {"ensemble": rng.choice(ENSEMBLES), "folds": 3}
        features, drawn = _features(facts, rng), rng.randrange(2**31)
        steps.append(
            Step(
                id=f"try_{number}",
                goal=f"CATHODE at random: window {window} {facts['unit']}, features {', '.join(features)}.",
                calls=chain(facts, window, features, QUICK_FLOW, classifier, drawn, oversample=2.0),
            )
        )
    return Plan(reasoning=f"{len(steps)} searches at random.", steps=[*steps, choose(steps)])


def _against_reference(facts: dict[str, Any], iteration: int, rng: random.Random) -> Plan:
    made = against_reference(facts, iteration, rng.randrange(2**31))
    step = made.steps[0]
    drawn = {"features": _features(facts, rng), "ensemble": rng.choice(ENSEMBLES)}
    call = PlannedCall(tool=step.calls[0].tool, arguments=step.calls[0].arguments | drawn)
    step = step.model_copy(
        update={"calls": [call, *step.calls[1:]], "goal": f"Classify against the reference at random: {drawn}."}
    )
    return Plan(reasoning="One classification at random.", steps=[step])


def _features(facts: dict[str, Any], rng: random.Random) -> list[str]:
    chosen = rng.sample(facts["features"], rng.randint(FEATURES, len(facts["features"])))
    return [name for name in facts["features"] if name in chosen]
