"""Synthetic studies with known truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from agents.studies.cells import cells_of
from agents.studies.outcome import Fault, Outcome
from agents.studies.study import Study
from agents.trace.result import Cost
from tasks.study import Answer, Truth, Value

SCRIPT = "<script>alert(1)</script>"


def study_of(**changes: Any) -> Study:
    """Three arms, two wordings, two data sets with signal and two without, eight repeats."""
    document: dict[str, Any] = {
        "name": "synthetic",
        "question": "Which of three simulated backends finds a resonance most often?",
        "task": "lhco-demo",
        "wordings": {"plain": "Is there a resonance?", "terse": "Resonance? Mass?"},
        "backends": [
            {"name": "good", "kind": "openai", "model": "m", "price": {"prompt": 0.25, "completion": 2}},
            {"name": "analyst", "kind": "analyst"},
            {"name": "random", "kind": "random"},
        ],
        "datasets": [
            {"name": "strong", "fresh": True, "options": {"n_signal": 400}},
            {"name": "weak", "fresh": True, "options": {"n_signal": 200}},
            {"name": "none", "fresh": True, "options": {"n_signal": 0}},
            {"name": "none-fixed", "options": {"n_signal": 0, "seed": 3}},
        ],
        "repeats": 8,
        "exclusions": ["Runs lost to infrastructure after three attempts."],
    }
    return Study.model_validate(document | changes)


def truth_of(n_signal: int) -> Truth:
    mass = {"mass": 3.5} if n_signal else {}
    return Truth(signal=n_signal > 0, text=f"{n_signal} signal events", numbers=mass | {"n_signal": n_signal})


def outcomes_of(
    study: Study, rates: Mapping[str, float], seed: int = 1, spread: float = 0.15, fails: float = 0.06
) -> list[Outcome]:
    """Runs that succeed at the given rate of their arm, give or take the luck of the events they see."""
    random = np.random.default_rng(seed)
    luck: dict[str, float] = {}
    rows = []
    for cell in cells_of(study):
        draw = f"{cell.dataset.name}/{cell.repeat}" if cell.dataset.fresh else cell.dataset.name
        luck.setdefault(draw, float(random.normal(0, spread)))
        n_signal = cell.dataset.options.get("n_signal", 0)
        rate = float(np.clip(rates[cell.arm.name] + luck[draw], 0.02, 0.98))
        answered, good = random.random() > fails, random.random() < rate
        discovery = bool(good) if n_signal else bool(not good and random.random() < 0.3)
        error = 0.03
        claimed = {}
        if discovery:
            claimed["mass"] = Value(value=3.5 + error * float(random.normal()), error=error)
            claimed["n_signal"] = Value(value=n_signal * (1 + 0.2 * float(random.normal())), error=None)
        answer = Answer(
            signal=discovery,
            p_value=float(random.random() * (1e-8 if discovery and n_signal else 1)),
            claimed_p_value=0.5,
            numbers=claimed,
            agrees=True,
        )
        sic = float(np.exp(random.normal(np.log(1 + 9 * rate), 0.25))) if n_signal and answered else None
        faults = [] if answered else [Fault(kind="schema", event=7, text=f"planner/0: bad JSON {SCRIPT}", fatal=True)]
        if cell.arm.name == "random" and random.random() < 0.1:
            faults.append(Fault(kind="breakout", event=12, text="python a.py reaches for the network: import socket"))
        tokens = int(random.integers(8_000, 30_000)) if cell.arm.is_llm else 0
        rows.append(
            Outcome(
                cell=cell.name,
                backend=cell.arm.name,
                is_llm=cell.arm.is_llm,
                wording=cell.wording,
                dataset=cell.dataset.name,
                repeat=cell.repeat,
                seed=cell.seed,
                status="converged" if answered else "failed",
                missing=False,
                success=bool(good and answered),
                truth=truth_of(n_signal),
                answer=answer if answered else None,
                primary=sic,
                steering=Value(value=float((sic or 1.0) * random.normal(1, 0.3)), error=1.0) if answered else None,
                sealed={"auc": Value(value=0.8, error=0.01)} if sic else {},
                faults=faults,
                iterations=2,
                canaries_held=True,
                cost=Cost(
                    model_calls=20 if tokens else 9,
                    prompt_tokens=tokens,
                    completion_tokens=tokens // 10,
                    dollars=tokens * 2.5e-7 + tokens // 10 * 2e-6,
                ),
                seconds=float(random.lognormal(3 + (0.7 if tokens else 0), 0.3)),
            )
        )
    return rows


def lost(row: Outcome) -> Outcome:
    """The same cell, had its sandbox been lost."""
    gone = {"status": "lost", "missing": True, "success": False, "answer": None, "primary": None, "steering": None}
    return row.model_copy(update=gone)
