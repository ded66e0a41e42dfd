"""Reading of a run's folder into the `Outcome` of its cell."""

from __future__ import annotations

from pathlib import Path

from agents.studies.cells import Cell, options_of
from agents.studies.faults import classify
from agents.studies.outcome import Outcome
from agents.studies.study import Study
from agents.trace.result import ANSWERED, Cost, result_of
from agents.trace.store import TraceError, blobs_of, read_trace, trace_sha256
from tasks.catalogue import make_task
from tasks.study import value_of

NOTHING = Cost(model_calls=0, prompt_tokens=0, completion_tokens=0, dollars=0.0)


def outcome_of(run_dir: Path, cell: Cell, study: Study, attempts: int = 1) -> Outcome:
    """Return the outcome of a run from its trace, however it ended. Without a readable trace the run is missing."""
    task = make_task(study.task, options_of(study, cell))
    judge = study.judge
    truth = judge.truth(run_dir / "sealed", task.options())
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
        result = result_of(events, trace_sha256(run_dir))
    except TraceError:
        nothing = {"status": "lost", "missing": True, "success": False, "answer": None, "primary": None}
        return Outcome.model_validate(common | nothing | {"steering": None, "cost": NOTHING, "seconds": 0.0})
    sealed = {metric.name: value_of(metric.value, metric.error) for metric in result.sealed}
    known = {name: value for name, value in sealed.items() if value is not None}
    primary = known.get(study.primary.metric)
    valid = result.status in ANSWERED
    missing = result.status in ("lost", "unfinished", "interrupted")
    answer = None if missing or result.claim is None else judge.answer(result.claim, result.claims)
    return Outcome.model_validate(
        common
        | {
            "status": result.status,
            "missing": missing,
            "success": valid and judge.succeeded(study.success, task.options(), answer, truth, primary),
            "answer": answer,
            "primary": primary.value if primary and not missing else None,
            "steering": value_of(result.steering.value, result.steering.error) if result.steering else None,
            "sealed": known,
            "faults": classify(events, result, blobs_of(run_dir)),
            "iterations": len(result.iterations),
            "canaries_held": result.canaries_held,
            "cost": result.cost,
            "seconds": result.seconds,
        }
    )
