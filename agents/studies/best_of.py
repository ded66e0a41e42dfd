"""Best-of-N arms, made from another arm's runs: of every N repeats, the one with the best steering metric counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from agents.studies.outcome import Outcome
from agents.studies.study import Study
from agents.trace.result import Cost


def derived(outcomes: Sequence[Outcome], study: Study) -> dict[str, list[Outcome]]:
    """Return the best-of-N arms of a study that have a complete group, by name.

    Data sets whose repeats have their own events are left out: the choice would be among events, not answers.
    """
    fresh = {dataset.name for dataset in study.datasets if dataset.fresh}
    same = [outcome for outcome in outcomes if outcome.dataset not in fresh]
    made = [best_of(same, wanted.arm, wanted.n) for wanted in study.best_of]
    return {rows[0].backend: rows for rows in made if rows}


def best_of(outcomes: Sequence[Outcome], arm: str, n: int) -> list[Outcome]:
    """Return one row `<arm>, best of <n>` for each group of repeats 0..n-1, n..2n-1, ... per wording and data set.

    The choice does not use the truth: the highest steering metric, the first of ties, any answer before none. Cost and
    time of all N count. A group with a missing run is missing, and an incomplete one is left out. The row keeps the
    chosen run's `cell`, which leads to its trace; `repeat` counts the groups.
    """
    if n < 2:
        raise ValueError(f"n={n}: must be at least 2")
    groups: dict[tuple[str, str, int], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.backend == arm:
            groups[outcome.wording, outcome.dataset, outcome.repeat // n].append(outcome)
    complete = {key: sorted(group, key=lambda o: o.repeat) for key, group in groups.items() if len(group) == n}
    return [_chosen(group, f"{arm}, best of {n}", key[2]) for key, group in sorted(complete.items())]


def _chosen(group: Sequence[Outcome], name: str, number: int) -> Outcome:
    best = max(group, key=_rank)
    missing = any(outcome.missing for outcome in group)
    return best.model_copy(
        update={
            "backend": name,
            "repeat": number,
            "missing": missing,
            "success": best.success and not missing,
            "cost": Cost(
                model_calls=sum(o.cost.model_calls for o in group),
                prompt_tokens=sum(o.cost.prompt_tokens for o in group),
                completion_tokens=sum(o.cost.completion_tokens for o in group),
                dollars=sum(o.cost.dollars for o in group),
            ),
            "seconds": sum(o.seconds for o in group),
            "attempts": sum(o.attempts for o in group),
        }
    )


def _rank(outcome: Outcome) -> tuple[bool, float]:
    """Return the sort key of the choice: an answer first, then the steering metric."""
    steering = float("-inf") if outcome.steering is None else outcome.steering.value
    return outcome.answer is not None, steering
