"""The analyst's tagging: hand-made observables first, then the pretrained jet model as it is, if it already knows tops,
then the model trained on the labels.

Each is made once for every number of labels; the run goes on only as long as the mean rejection grows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from tasks.claim import Measured, Measurement
from tasks.plan import Plan, PlannedCall, Step
from tasks.policy import Answer, Call, Context, Policy, best, finish, printed, run_python, submit
from tasks.tagging.zero_shot import against

STEPS = OBSERVABLES, ODDS, TAG = "observables", "odds", "tag"
OUT = "scores.parquet"
# Trainings of the model, one per iteration: epochs, learning rate; small steps if the weights already know tops.
IDEAS = [(20, 5e-4), (40, 2e-4)]
FROM_KNOWN = [(10, 3e-5), (20, 1e-5)]
BATCH = 32  # few jets should still give enough steps
# Random search: probability of observables alone, range of epochs, range of powers of ten of the learning rate.
BLIND_OBSERVABLES, BLIND_EPOCHS, BLIND_POWERS = 0.25, (5, 40), (-5.0, -3.0)


class TaggingPolicy(Policy):
    """Observables, then the pretrained model as it is if it knows tops, then the model trained on the labels."""

    def plan(self, context: Context, seed: int) -> Plan:
        facts, iteration = context["facts"], context["iteration"]
        if iteration == 0:
            return _first(facts)
        odds = _without_labels(facts)
        if odds and iteration == 1:
            goal = (
                "The pretrained jet model as it is: its odds of a top against quark and gluon jets, without any label."
            )
            return Plan(reasoning="Scores that need no labels are free.", steps=[_step(ODDS, goal, [odds])])
        ideas = FROM_KNOWN if odds else IDEAS
        epochs, rate = ideas[min(iteration - 1 - bool(odds), len(ideas) - 1)]
        return _train(facts, epochs, rate, seed + iteration)

    def draw(self, context: Context, rng: random.Random) -> Plan:
        """Return a plan with the observables, or with the model at random epochs and learning rate."""
        if rng.random() < BLIND_OBSERVABLES:
            return _first(context["facts"])
        epochs, power = rng.randint(*BLIND_EPOCHS), rng.uniform(*BLIND_POWERS)
        return _train(context["facts"], epochs, float(f"{10**power:.2g}"), rng.randrange(2**31))

    def conclude(self, context: Context, results: Sequence[Answer], later: Sequence[Answer]) -> Call:
        """Make the scores for all numbers of labels in Python, hand them in, and report the findings."""
        if context["step"]["id"] not in STEPS:
            return super().conclude(context, results, later)
        if not later:
            return run_python("scores.py", *code(context))
        if later[0]["exit_code"] != 0:
            return printed(later[0])
        if len(later) == 1:
            return submit(**self.submission(context, results))
        said = later[0]["stdout"][-1000:]
        return finish(f"{self.summary(results) or 'done'}; {said}" if results else said)

    def submission(self, context: Context, results: Sequence[Answer]) -> dict[str, Any]:
        return {"scores": OUT, "method": context["step"]["goal"]}

    def summary(self, results: Sequence[Answer]) -> str:
        return "; ".join(_summary(a["result"]) for a in results if "labels_used" in a.get("result", {}))

    def answer(self, context: Context) -> Measurement:
        found = best(context)
        assert found
        return _claim(found, context.get("confirmed"))

    def nothing(self, context: Context, text: str) -> Measurement:
        return Measurement(text=text)


def _first(facts: dict[str, Any]) -> Plan:
    """Return the plan of the first iteration, without a network: the baseline for all that follows."""
    goal = "Logistic regression on mass, multiplicity and energy correlations, once for each number of labels."
    reasoning = "A few observables that are known to work set the baseline for networks."
    return Plan(reasoning=reasoning, steps=[_step(OBSERVABLES, goal, [])])


def _train(facts: dict[str, Any], epochs: int, rate: float, seed: int) -> Plan:
    """Return a plan that trains the jet model once per number of labels, from pretrained weights if there are any."""
    odds = _without_labels(facts)
    start = facts.get("pretrained")
    calls = []
    for n in facts["labels"]:
        tagger = f"tagger_{n}.safetensors"
        training = {"epochs": epochs, "batch": BATCH, "learning_rate": rate}
        finetune = {
            "jets": facts["labelled"][str(n)],
            "kinds": facts["kinds"],
            "training": training,
            "seed": seed,
            "out": tagger,
        }
        if start:
            finetune["start"] = start
        if odds:
            finetune["like"] = {facts["kinds"][0]: odds.arguments["against"]}
        score = {
            "jets": facts["jets"],
            "checkpoint": tagger,
            "signal": facts["kinds"][-1],
            "out": f"scores_{n}.parquet",
        }
        calls += [
            PlannedCall(tool="jet_model.finetune", arguments=finetune),
            PlannedCall(tool="jet_model.score", arguments=score),
        ]
    origin = "pretrained weights" if start else "scratch: no pretrained weights are given"
    goal = f"The jet model from {origin}, {epochs} epochs, once for each number of labels; all scores in one file."
    reasoning = f"The whole jet instead of a few observables: the jet model from {origin}."
    return Plan(reasoning=reasoning, steps=[_step(TAG, goal, calls)])


def _step(step: str, goal: str, calls: list[PlannedCall]) -> Step:
    return Step(id=step, goal=goal, calls=calls, submits=True)


def _without_labels(facts: dict[str, Any]) -> PlannedCall | None:
    """Return the call that scores with pretrained weights; None if these do not know tops and background."""
    signal = facts["kinds"][-1]
    others = against(facts.get("pretrained_kinds", []), signal)
    if not others:
        return None
    score = {
        "jets": facts["jets"],
        "checkpoint": facts["pretrained"],
        "signal": signal,
        "against": others,
        "out": "scores_0.parquet",
    }
    return PlannedCall(tool="jet_model.score", arguments=score)


def code(context: Context) -> tuple[str, dict[str, Any]]:
    """Return the Python code that makes the step's scores after its calls, and the constants at its top."""
    facts, step = context["facts"], context["step"]["id"]
    if step == OBSERVABLES:
        labelled = {n: facts["labelled"][str(n)] for n in facts["labels"]}
        return FROM_OBSERVABLES, {"OUT": OUT, "JETS": facts["jets"], "LABELLED": labelled}
    scores = {n: f"scores_{0 if step == ODDS else n}.parquet" for n in facts["labels"]}
    return IN_ONE_FILE, {"OUT": OUT, "SCORES": scores}


def _summary(result: dict[str, Any]) -> str:
    """Summarise the key numbers of a training."""
    measured = ", ".join(f"{kind} {value:.3f}" for kind, value in result["separation"]["auc"].items())
    return f"{result['labels_used']} labels, best epoch {result['best_epoch']}, held-out AUC {measured}"


def _claim(best: dict[str, Any], audit: dict[str, Any] | None) -> Measurement:
    """Return the rejections of the best submission, with the verdict of the audit, if any."""
    numbers = best["details"]["numbers"]
    labels = sorted(int(name.removeprefix("rejection_")) for name in numbers if name.startswith("rejection_"))
    found = {f"rejection_{n}": Measured(**numbers[f"rejection_{n}"]) for n in labels}
    each = ", ".join(
        f"{found[f'rejection_{n}'].value:.1f} ± {found[f'rejection_{n}'].error:.1f} with {n}" for n in labels
    )
    jets = best["details"]["validation_jets"]
    text = f"Background rejection at 50% of the tops: {each} labels, on {jets} validation jets."
    if audit:
        value = audit["value"]
        made = audit["reason"] if value is None else f"{value:.1f} {audit['reason']}"
        text += f" Audit: {made}."
    return Measurement(numbers=found, text=text)


IN_ONE_FILE = """
# The scores for each number of labels as columns of one file.
from pathlib import Path

from tools.events.parquet import read_columns, write_events

write_events(Path(OUT), {f"score_{n}": read_columns(Path(path), ["score"])["score"] for n, path in SCORES.items()})
print("labels: " + ", ".join(map(str, SCORES)))
"""

FROM_OBSERVABLES = """
# Logistic regression on observables and their products; the penalty strength is set by cross-validation.
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from tools.events.parquet import write_events
from tools.jet_model.jets_file import read_jets
from tools.jet_model.observables import observables


def features(jets):
    found = observables(jets)
    logs = [np.log(np.maximum(found[name], 1e-9)) for name in ("mass", "e2", "e3", "width")]
    return np.column_stack([found["mass"], found["multiplicity"], found["dispersion"], *logs])


jets = features(read_jets(Path(JETS)))
scores = {}
for n, path in LABELLED.items():
    labelled = read_jets(Path(path))
    model = make_pipeline(StandardScaler(), PolynomialFeatures(2), StandardScaler(), LogisticRegression(max_iter=2000))
    search = GridSearchCV(model, {"logisticregression__C": [0.01, 0.1, 1.0]}, scoring="roc_auc")
    search.fit(features(labelled), labelled.pid)
    scores[f"score_{n}"] = search.decision_function(jets)
    print(f"{n} labels: cross-validated AUC {search.best_score_:.3f}, {search.best_params_}")
write_events(Path(OUT), scores)
"""
