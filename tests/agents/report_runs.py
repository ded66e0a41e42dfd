"""Synthetic runs for the tests of report and live view."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from test_trace_store import STARTED
from tool_events import called

from agents.backends.base import Usage
from agents.trace.events import (
    CanaryChecked,
    Claimed,
    Confirmed,
    Decided,
    Executed,
    Graded,
    ModelCalled,
    Planned,
    RunFinished,
    Sealed,
    StepFinished,
    StepStarted,
    Trouble,
)
from agents.trace.observation import Observation
from agents.trace.store import Store
from tasks.convergence import Decision
from tasks.lhco.claims import SearchClaim, SearchSubmission
from tasks.plan import Plan, Step
from tasks.score import CheckedNumber, Metric, Score

SCRIPT = "<script>alert(1)</script>"
IMAGE = "![x](https://tracker.example/x.png)"
CODE = 'from tools import anomaly\nprint("<b>bold</b>")\n```\nnot the end of the block\n'


def picture() -> bytes:
    out = io.BytesIO()
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([1, 3, 2])
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def graded_details() -> dict[str, Any]:
    """A falling spectrum with a bump at 3.5 TeV that a cut on the score brings out."""
    random, edges = np.random.default_rng(1), np.linspace(2.4, 6.0, 37)
    middle = (edges[1:] + edges[:-1]) / 2
    inclusive = random.poisson(60000 * np.exp(-2.1 * (middle - 2.4)) + 60 * np.exp(-(((middle - 3.5) / 0.12) ** 2) / 2))
    background, signal = (
        600 * np.exp(-2.1 * (middle - 2.4)),
        48 * np.exp(-(((middle - 3.5) / 0.12) ** 2) / 2),
    )
    passed, bins = random.poisson(background + signal), np.linspace(0, 1, 31)
    return {
        "window": [3.3, 3.7],
        "cuts": [
            {
                "efficiency": e,
                "mass": 3.5 + e,
                "mass_error": 0.02,
                "signal": 200 - e,
                "signal_error": 28.1,
                "z": 6.1,
                "p_value": 5e-10,
                "deviance": 31.2,
                "bins": 36,
                "valid": e < 0.1,
            }
            for e in (0.001, 0.01, 0.1)
        ],
        "best": 1,
        "p_local": 5.3e-10,
        "p_global": 4.1e-8,
        "trials": 77,
        "mass": 3.512,
        "mass_error": 0.0213,
        "n_signal": 193.2,
        "n_signal_error": 28.1,
        "spectrum": {
            "edges": edges.tolist(),
            "inclusive": inclusive.tolist(),
            "passed": passed.tolist(),
            "background": background.tolist(),
            "signal": signal.tolist(),
        },
        "score_histogram": {
            "edges": bins.tolist(),
            "window": np.diff(bins**0.5 * 30).tolist(),
            "sidebands": np.diff(bins**0.4 * 30).tolist(),
        },
    }


def converged(run_dir: Path) -> Path:
    """An analyst's run of three iterations, the second one refused."""
    submission = SearchSubmission(scores="i0/train/scores.parquet", window=(3.3, 3.7), method=f"CATHODE {SCRIPT}")
    steps = [
        Step(id="scan", goal="Scan the dijet mass spectrum for an excess."),
        Step(id="train", goal=f"Train CATHODE in the window. {IMAGE}", depends_on=["scan"], submits=True),
    ]
    efficiency = np.linspace(0.01, 1, 50)
    with Store.create(run_dir) as trace:
        trace.append(
            STARTED.model_copy(update={"request": f"Is there a new resonance? {SCRIPT}", "backend": "analyst"})
        )
        trace.append(CanaryChecked(held=True, lines=["label file: not visible", "network: unreachable"]))
        for k in range(3):
            blob = trace.put(b"{}")
            usage = Usage(prompt_tokens=1000, completion_tokens=200, dollars=0.01)
            trace.append(
                ModelCalled(
                    key=str(k),
                    role="planner",
                    where=f"planner/{k}",
                    request=blob,
                    reply=blob,
                    model="rules",
                    usage=usage,
                    seconds=0.5,
                )
            )
            trace.append(
                Planned(iteration=k, plan=Plan(reasoning=f"Look where the data points to. {SCRIPT}", steps=steps))
            )
            for step in steps:
                where = f"worker/{k}/{step.id}"
                trace.append(StepStarted(iteration=k, step=step.id))
                trace.append(
                    called(
                        where=where,
                        tool="bumphunt.scan",
                        arguments={"window": [3.3, 3.7]},
                        result={"z": 4.2, "note": SCRIPT},
                        seconds=2.5,
                    )
                )
                trace.append(
                    Executed(
                        key=where,
                        where=where,
                        argv=["python", "run.py"],
                        cwd=f"/workspace/i{k}/{step.id}",
                        given={"run.py": trace.put(CODE.encode())},
                        exit_code=0,
                        ended="exit",
                        seconds=61.2,
                        stdout=trace.put(f"done {SCRIPT}".encode()),
                        stderr=trace.put(b""),
                        dropped_bytes=0,
                        files={
                            f"i{k}/{step.id}/loss.png": trace.put(picture()),
                            "fake.png": trace.put(SCRIPT.encode()),
                        },
                        unsaved=["'big.bin': larger than 67108864 bytes"],
                    )
                )
                done = Observation(iteration=k, step=step.id, ok=True, summary=f"All well. {SCRIPT}")
                trace.append(StepFinished(observation=done, seconds=70.1))
            score = Score(
                metric="expected_significance",
                value=4.2 + k / 2,
                error=0.4,
                reason="fit of 36 bins",
                artefact=hashlib.sha256(b"s").hexdigest(),
                details=graded_details(),
            )
            if k == 1:
                score = Score(
                    metric="expected_significance", value=None, reason=f"1000 rows expected, 999 found {SCRIPT}"
                )
            trace.append(Graded(key=str(k), iteration=k, submission=submission, score=score))
            action = "converged" if k == 2 else "continue"
            trace.append(
                Decided(
                    iteration=k, decision=Decision(action=action, reason="no significant gain", best=2 if k == 2 else 0)
                )
            )
        unseen = Score(metric="significance", value=5.1, reason="unseen", details=graded_details() | {"fraction": 0.5})
        trace.append(Confirmed(iteration=2, submission=submission, score=unseen))
        trace.append(Trouble(who="model", where="worker/1/train", text=f"malformed {SCRIPT}"))
        claim = SearchClaim(
            discovery=True,
            mass=3.51,
            mass_error=0.02,
            n_signal=190,
            n_signal_error=30,
            p_value=4.1e-8,
            text=f"There is a narrow excess at 3.5 TeV. {SCRIPT} {IMAGE}",
        )
        checks = [
            CheckedNumber(name="discovery", claimed=True, harness=True, agrees=True),
            CheckedNumber(
                name="mass",
                unit="TeV",
                claimed=3.51,
                claimed_error=0.02,
                harness=3.512,
                harness_error=0.0213,
                agrees=True,
            ),
            CheckedNumber(
                name="n_signal",
                label="signal events",
                claimed=190,
                claimed_error=30,
                harness=93.2,
                harness_error=28.1,
                agrees=False,
            ),
            CheckedNumber(
                name="p_value", label="global p-value", kind="probability", claimed=4.1e-8, harness=4.1e-8, agrees=None
            ),
        ]
        trace.append(Claimed(claim=claim, headline=claim.headline, checks=checks))
        trace.append(
            Sealed(
                metrics=[
                    Metric(name="AUC", value=0.912, error=0.004),
                    Metric(name="max SIC", value=float("nan"), note="too few"),
                ],
                checks=[check.model_copy(update={"truth": 3.5 if check.name == "mass" else None}) for check in checks],
                curves={
                    "signal_efficiency": efficiency.tolist(),
                    "sic": [float("inf"), *(6 * efficiency**0.5 * (1.2 - efficiency))[1:]],
                },
            )
        )
        trace.append(
            RunFinished(
                status="converged",
                reason="no significant gain",
                seconds=754.2,
                usage=Usage(prompt_tokens=3000, completion_tokens=600, dollars=0.03),
                model_calls=3,
                peak_memory_mib=2311.5,
            )
        )
    return run_dir


def failed(run_dir: Path) -> Path:
    """A model's run that came to a plan and no further."""
    with Store.create(run_dir) as trace:
        trace.append(STARTED.model_copy(update={"is_llm": True, "backend": "openai:m"}))
        trace.append(Planned(iteration=0, plan=Plan(reasoning="r", steps=[Step(id="a", goal="g", submits=True)])))
        trace.append(StepStarted(iteration=0, step="a"))
        trace.append(Trouble(who="operator", where="worker/0/a", text="engine gone"))
        trace.append(RunFinished(status="lost", reason="engine gone", seconds=3, usage=Usage(), model_calls=0))
    return run_dir
