"""From the folder of a run to the `Outcome` of its cell."""

from __future__ import annotations

import hashlib
from pathlib import Path

from agents.stability.cells import Cell, options_of
from agents.stability.faults import classify
from agents.stability.outcome import Answer, Outcome, Value
from agents.stability.outcome import Truth as TrueNumbers
from agents.stability.study import Study, Success
from agents.trace.result import Cost, RunResult, result_of
from agents.trace.store import TRACE, TraceError, blobs_of, read_trace
from tasks.catalogue import make_task
from tasks.lhco.truth import TRUTH, Truth
from tasks.score import CheckedNumber
from tasks.writing import number

NOTHING = Cost(model_calls=0, prompt_tokens=0, completion_tokens=0, dollars=0.0)


def outcome_of(run_dir: Path, cell: Cell, study: Study, attempts: int = 1) -> Outcome:
    """The row of a run as its trace has it, however it ended. Without any trace: a missing one."""
    truth = _truth(run_dir, cell, study)
    common = {
        "cell": cell.name,
        "backend": cell.arm.name,
        "is_llm": cell.arm.is_llm,
        "wording": cell.wording,
        "dataset": cell.dataset.name,
        "repeat": cell.repeat,
        "seed": cell.seed,
        "truth": truth,
        "attempts": attempts,
    }
    try:
        events = read_trace(run_dir)
        result = result_of(events, hashlib.sha256((run_dir / TRACE).read_bytes()).hexdigest())
    except TraceError:
        nothing = {"status": "lost", "missing": True, "success": False, "answer": None, "primary": None}
        return Outcome.model_validate(common | nothing | {"steering": None, "cost": NOTHING, "seconds": 0.0})
    sealed = {metric.name: _value(metric.value, metric.error) for metric in result.sealed}
    known = {name: value for name, value in sealed.items() if value is not None}
    primary = known.get(study.primary.metric)
    valid = result.status in ("converged", "exhausted")
    missing = result.status in ("lost", "unfinished", "interrupted")
    answer = None if missing else _answer(result)
    return Outcome.model_validate(
        common
        | {
            "status": result.status,
            "missing": missing,
            "success": valid and succeeded(study.success, alpha_of(study, cell), answer, truth, primary),
            "answer": answer,
            "primary": primary.value if primary and not missing else None,
            "steering": _value(result.steering.value, result.steering.error) if result.steering else None,
            "sealed": known,
            "faults": classify(events, result, blobs_of(run_dir)),
            "iterations": len(result.iterations),
            "canaries_held": result.canaries_held,
            "cost": result.cost,
            "seconds": result.seconds,
        }
    )


def succeeded(rule: Success, alpha: float, answer: Answer | None, truth: TrueNumbers, primary: Value | None) -> bool:
    """Whether the verdict is right and, with signal, confirmed, at the right mass and with a good enough metric."""
    if answer is None:
        return False
    if truth.n_signal == 0:
        return not answer.discovery
    if not answer.discovery or answer.p_value is None or answer.p_value >= alpha:
        return False
    if rule.mass_within is not None and (
        answer.mass is None or truth.mass is None or abs(answer.mass.value - truth.mass) > rule.mass_within
    ):
        return False
    return rule.primary_at_least is None or (primary is not None and primary.value >= rule.primary_at_least)


def alpha_of(study: Study, cell: Cell) -> float:
    """The p-value below which the crew was told to claim a discovery."""
    return float(make_task(study.task, options_of(study, cell)).options()["alpha"])


def _answer(result: RunResult) -> Answer | None:
    claim, checks = result.claim, {check.name: check for check in result.claims}
    if claim is None:
        return None
    compared = [check.agrees for check in checks.values() if check.agrees is not None]
    return Answer(
        discovery=bool(claim.get("discovery")),
        p_value=_harness(checks.get("p_value")),
        claimed_p_value=number(claim.get("p_value")),
        mass=_value(claim.get("mass"), claim.get("mass_error")),
        n_signal=_value(claim.get("n_signal"), claim.get("n_signal_error")),
        agrees=all(compared) if compared else None,
    )


def _harness(check: CheckedNumber | None) -> float | None:
    return number(check.harness) if check else None


def _value(value: float | None, error: float | None) -> Value | None:
    """None for what is no finite number: it could not be written as JSON and read again."""
    finite = number(value)
    return None if finite is None else Value(value=finite, error=number(error))


def _truth(run_dir: Path, cell: Cell, study: Study) -> TrueNumbers:
    """From the sealed folder; of a run that was lost before it had one, as the study has it."""
    try:
        sealed = Truth.model_validate_json((run_dir / "sealed" / TRUTH).read_bytes())
    except (OSError, ValueError):
        options = make_task(study.task, options_of(study, cell)).options()
        return TrueNumbers(mass=None, n_signal=options.get("n_signal", 0))
    return TrueNumbers(mass=sealed.mass, n_signal=sealed.n_signal)
