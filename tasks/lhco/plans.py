"""The analyst's plans: survey the mass range, then refine the search where the survey points.

With sidebands, a survey (iteration 0) runs a quick CATHODE in windows over the whole range, in one call; the next
iteration centres one window on the best mass, with the full recipe and a cut study, or, if the survey singles out no
mass, a window on each of the best few; further iterations change one thing at a time, first the features, then the
ensemble, and the run goes on only as long as that helps. With a background reference, only the classifier is left to
choose. If there are jets, their particles replace the features, the jets in the sidebands replace the template, and
each window of the survey is a step of its own.
"""

from __future__ import annotations

from typing import Any

from tasks.lhco.known import window_around, windows
from tasks.plan import MAX_STEPS, Plan, PlannedCall, Step
from tasks.policy import best
from tools.bumphunt.windows import HALF_WIDTH, overlapping

CLASSIC = ["mj1", "delta_mj", "tau21_j1", "tau21_j2"]
EXTENDED = [*CLASSIC, "tau32_j1", "tau32_j2"]
# One transform, large batches and a high rate learn the density as well as two transforms, in half of the time.
FAST = {"transforms": 1, "batch": 2048, "learning_rate": 1e-2}
QUICK_FLOW = {**FAST, "epochs": 5, "max_events": 60_000}
QUICK = {"ensemble": 1, "folds": 3}
FULL_FLOW = {**FAST, "epochs": 8}
CLEAR = 4.0  # significance from which a survey's best window needs no other beside it
CONTENDERS, NEAR = 3, 1.5  # windows looked at otherwise, and how much less significant these may be
SMEAR = 2  # copies of a reference that has a sixth of the events of the data
Idea = tuple[list[str], int]  # features, models per fold
# What to change, in this order, once a window is found.
IDEAS: list[Idea] = [(CLASSIC, 6), (EXTENDED, 6), (EXTENDED, 9)]


def plan(context: dict[str, Any], seed: int) -> Plan:
    """Return the plan of an iteration. `seed`: that of the request, so that repeats differ, as those of a model do."""
    facts, history = context["facts"], context["history"]
    if not facts["sidebands"]:
        return against_reference(facts, context["iteration"], seed)
    found = best(context)
    if found is None:
        return survey(facts, seed)
    if len(history) == 1 and len(masses := contenders(context, found)) > 1:
        return _compare(facts, context["iteration"], masses, seed)
    return _sharpen(facts, context["iteration"], found["details"]["mass"], len(history), seed)


def survey(facts: dict[str, Any], seed: int) -> Plan:
    """Return the plan of a quick search in overlapping windows over the whole range; by particles, one step each."""
    reasoning = (
        "The mass is unknown: a quick search in overlapping windows over the whole range comes first, so that the "
        "careful one is run where it matters."
    )
    if "jets" in facts:
        steps = []
        for window in survey_windows(facts):
            steps.append(
                Step(
                    id=f"window_{round(500 * sum(window))}",
                    goal=f"Quick search in the window {window} {facts['unit']}: template, scores, bump hunt.",
                    calls=chain(facts, window, CLASSIC, QUICK_FLOW, QUICK, seed, oversample=2.0),
                )
            )
        return Plan(reasoning=reasoning, steps=[*steps, choose(steps)])
    arguments = {"events": facts["events"], "search": facts["search_range"], "seed": seed}
    arguments["features"] = features_of(CLASSIC, facts)
    arguments |= {name: facts[name] for name in ("width", "half_width", "fit_range") if name in facts}
    if "half_width" in facts:
        arguments["step"] = overlapping(facts["half_width"])
    if facts.get("known"):
        arguments["windows"] = survey_windows(facts)
    step = Step(
        id="survey",
        goal="Search all windows quickly, compare them, and hand in the scores of the most significant one.",
        calls=[PlannedCall(tool="anomaly.survey", arguments=arguments)],
        submits=True,
    )
    return Plan(reasoning=reasoning, steps=[step])


def survey_windows(facts: dict[str, Any]) -> list[list[float]]:
    """Return the windows beside known resonances, as many as a plan can have steps for."""
    found = windows(facts["search_range"], facts.get("known", ()), facts.get("half_width", HALF_WIDTH))
    return [list(window) for window in found[: MAX_STEPS - 1]]


def around(centre: float, facts: dict[str, Any]) -> list[float]:
    """Return the window around a mass, inside the search range and beside known resonances."""
    half_width = facts.get("half_width", HALF_WIDTH)
    return list(window_around(centre, facts["search_range"], facts.get("known", ()), half_width))


def features_of(wanted: list[str], facts: dict[str, Any]) -> list[str]:
    """Return the features that the operator has chosen, or else the wanted ones that there are."""
    chosen: list[str] | None = facts.get("chosen_features")
    return chosen or [name for name in wanted if name in facts["features"]]


def choose(steps: list[Step]) -> Step:
    """Return the step that hands in the best result of the other steps."""
    return Step(
        id="choose",
        goal="Compare the windows and hand in the scores of the most significant one.",
        depends_on=[step.id for step in steps],
        submits=True,
    )


def contenders(context: dict[str, Any], found: dict[str, Any]) -> list[float]:
    """Return the masses that the survey leaves open, the best first: a quick search finds a weak signal by luck."""
    apart = context["facts"].get("half_width", HALF_WIDTH)
    masses = [found["details"]["mass"]]
    results = [entry for observation in context.get("observations", []) for entry in observation.get("results", [])]
    windows = [window for e in results if e["tool"] == "anomaly.survey" for window in e["result"]["windows"]]
    for window in sorted(windows, key=lambda window: -float(window["z"])):
        close = found["value"] - NEAR < window["z"] < CLEAR
        if found["value"] < CLEAR and close and all(abs(window["mass"] / mass - 1) > apart for mass in masses):
            masses.append(window["mass"])
    return masses[:CONTENDERS]


def _search(name: str, facts: dict[str, Any], iteration: int, mass: float, idea: Idea, seed: int) -> Step:
    """Return the step that runs the full recipe in the window around a mass, with an idea's features and models."""
    window, (features, ensemble) = around(mass, facts), idea
    classifier = {"ensemble": ensemble, "seed": seed + iteration}
    return Step(
        id=name,
        goal=f"The full recipe in {window} {facts['unit']}, {_seen(features, facts)}, {ensemble} models a fold.",
        calls=chain(facts, window, features_of(features, facts), FULL_FLOW, classifier, seed, oversample=4.0),
    )


def _seen(features: list[str], facts: dict[str, Any]) -> str:
    """Say what the classifier sees of an event."""
    return "the particles of both jets" if "jets" in facts else f"features {', '.join(features_of(features, facts))}"


def _compare(facts: dict[str, Any], iteration: int, masses: list[float], seed: int) -> Plan:
    steps = [_search(f"search_{k}", facts, iteration, mass, IDEAS[0], seed) for k, mass in enumerate(masses, 1)]
    said = ", ".join(f"{mass:.4g}" for mass in masses)
    return Plan(
        reasoning=f"The survey singles out no mass: the full recipe around each of {said} {facts['unit']} decides.",
        steps=[*steps, choose(steps)],
    )


def _sharpen(facts: dict[str, Any], iteration: int, mass: float, tried: int, seed: int) -> Plan:
    idea = IDEAS[min(tried - 1, len(IDEAS) - 1)]
    search = _search("search", facts, iteration, mass, idea, seed).model_copy(update={"submits": True})
    study = Step(
        id="cut_study",
        goal="Significance against the background efficiency of the cut, and the spectrum after it, as a figure.",
        depends_on=["search"],
    )
    return Plan(
        reasoning=f"The best bump so far is at {mass:.4g} {facts['unit']}: a window centred on it, "
        f"{_seen(idea[0], facts)} and {5 * idea[1]} models; a cut study shows whether the excess is stable.",
        steps=[search, study],
    )


def against_reference(facts: dict[str, Any], iteration: int, seed: int) -> Plan:
    """Return a plan of one classification of data against the reference, with more models in each iteration."""
    low, high = facts["window"]
    window = [round(low - 0.01, 3), round(high + 0.01, 3)]
    ensemble = (4, 10, 20)[min(iteration, 2)]
    features = features_of(CLASSIC, facts)
    classify = PlannedCall(
        tool="anomaly.classify",
        arguments={
            "events": facts["events"],
            "window": window,
            "template": facts["reference"],
            "features": features,
            "ensemble": ensemble,
            "smear": SMEAR,
            "seed": seed + iteration,
        },
    )
    scores = {"scores": "scores.parquet", "reference_scores": "template_scores.parquet"}
    measure = PlannedCall(
        tool="bumphunt.measure",
        arguments={"events": facts["events"], "reference": facts["reference"], **scores},
    )
    step = Step(
        id="search",
        goal=f"Classify data against the background reference with {5 * ensemble} boosted models; measure the bump.",
        calls=[classify, measure],
        submits=True,
    )
    return Plan(
        reasoning=f"A reference is given, so only the classifier is open: {ensemble} models a fold.", steps=[step]
    )


def chain(
    facts: dict[str, Any],
    window: list[float],
    features: list[str],
    flow: dict[str, Any],
    classifier: dict[str, Any],
    seed: int,
    oversample: float,
) -> list[PlannedCall]:
    """Return the three calls of one search, by features or by particles: template, classifier, bump hunt."""
    common = {"events": facts["events"], "window": window}
    fitted = {"fit_range": facts["fit_range"]} if "fit_range" in facts else {}
    scan = PlannedCall(tool="bumphunt.scan", arguments={**common, **fitted, "scores": "scores.parquet"})
    if "jets" in facts:
        jets = {"jets": facts["jets"], "window": window, "seed": seed}
        files = {"template": "template.h5", "control": "template_control.h5", "out": "scores.parquet"}
        return [
            PlannedCall(tool="anomaly.jet_template", arguments={**jets, "method": "sideband", "out": "template.h5"}),
            PlannedCall(tool="anomaly.jet_classify", arguments={**jets, **files, **classifier}),
            scan,
        ]
    seeded = {**common, "features": features, "seed": seed}
    # The quick closure test: a held-out window would need a second fit of every flow.
    method = {"method": {"kind": "spline_flow", **flow}, "oversample": oversample, "closure": "events"}
    template = {**seeded, **method, "out": "template.parquet"}
    files = {"template": "template.parquet", "control": "template_control.parquet", "out": "scores.parquet"}
    scores = {**seeded, **files, **classifier}
    return [
        PlannedCall(tool="anomaly.template", arguments=template),
        PlannedCall(tool="anomaly.classify", arguments=scores),
        scan,
    ]
