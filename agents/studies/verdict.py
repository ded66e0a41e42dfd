"""The result of a study in a few sentences, by fixed rules: which backend is best, and how certain that is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from agents.studies.results import Answer, ArmRow, Number, PairRow, Span, StudyResult
from tasks.writing import NONE, measured

ALPHA = 0.05
NOTHING = Answer(best=[], certainty="open", sentences=[], warnings=[])
Certainty = Literal["clear", "these events", "open"]


def answer(result: StudyResult) -> Answer:
    """Return the answer of a study, from arms with runs of their own; best-of-N arms appear only in the tables."""
    arms = [arm for arm in result.arms if arm.derived is None and arm.n]
    if not arms:
        return Answer(best=[], certainty="open", sentences=["No run has ended yet."], warnings=list(_warnings(result)))
    top = max(arm.success.value or 0.0 for arm in arms)
    best = [arm for arm in arms if (arm.success.value or 0.0) >= top - 1e-12]
    certainty = _certainty(result, best, arms)
    return Answer(
        best=[arm.name for arm in best],
        certainty=certainty,
        sentences=[*_first(best, arms), *_against(result, best, arms), *_more(result, best, arms)],
        warnings=list(_warnings(result)),
    )


def _certainty(result: StudyResult, best: list[ArmRow], arms: list[ArmRow]) -> Certainty:
    if len(best) != 1 or len(arms) < 2:
        return "open"
    pairs = [pair_of(result, best[0].name, arm.name) for arm in arms if arm is not best[0]]
    if all(_below(pair.p_events_holm) for pair in pairs):
        return "clear"
    return "these events" if all(_below(pair.p_runs_holm) for pair in pairs) else "open"


def pair_of(result: StudyResult, a: str, b: str) -> PairRow:
    """Return the comparison of success rates, as a - b."""
    for pair in result.pairs:
        if pair.quantity == "success" and {pair.a, pair.b} == {a, b}:
            return pair if pair.a == a else reverse(pair)
    raise LookupError(f"{a} and {b} are not compared")


def reverse(pair: PairRow) -> PairRow:
    """Return the comparison as b - a."""

    def minus(value: Number) -> Number:
        return None if value is None else -value

    span = Span(low=minus(pair.interval.high), high=minus(pair.interval.low))
    return pair.model_copy(update={"a": pair.b, "b": pair.a, "value": minus(pair.value), "interval": span})


def _first(best: list[ArmRow], arms: list[ArmRow]) -> Iterator[str]:
    least = min(best, key=lambda arm: arm.success.n).success
    share = f"in {least.successes} of {count(least.n, 'run')}, {percent(least.value)}"
    if len(best) > 1:
        who = "All backends" if len(best) == len(arms) else _listed([arm.name for arm in best])
        yield f"{who} succeed equally often: {share}."
    else:
        yield f"{best[0].name} succeeds {'most often: ' if len(arms) > 1 else ''}{share}."
    wide = "" if least.wide.low is None else f", {between(least.wide)} on other events like them"
    yield f"95% interval: {between(least.interval)} for new runs on these events{wide}."


def _against(result: StudyResult, best: list[ArmRow], arms: list[ArmRow]) -> Iterator[str]:
    """Compare the best backend with the closest of the others."""
    others = [arm for arm in arms if arm not in best]
    if len(best) != 1 or not others:
        return
    other = max(others, key=lambda arm: arm.success.value or 0.0)
    pair = pair_of(result, best[0].name, other.name)
    if pair.value is None:
        yield f"It shares no cell with {other.name}, the next."
        return
    ahead = f"It is {points(pair.value)} ahead of {other.name}, the next"
    if pair.interval.low is None:
        yield f"{ahead}: p = {_p(pair.p_runs_holm)} on these events, corrected for all pairs."
        yield "A single draw says nothing about other events."
        return
    yield (
        f"{ahead} (95% interval {points(pair.interval.low, False)} to {points(pair.interval.high)}): "
        f"p = {_p(pair.p_runs_holm)} on these events, {_p(pair.p_events_holm)} on others like them, "
        "corrected for all pairs."
    )
    if best[0].first is not None:
        yield f"It comes first in {percent(best[0].first)} of bootstrap draws of events."


def _more(result: StudyResult, best: list[ArmRow], arms: list[ArmRow]) -> Iterator[str]:
    metric = str(result.study["primary"]["metric"])
    means = [arm for arm in arms if arm.metric.mean is not None]
    if len({arm.metric.mean for arm in means}) > 1:
        top = max(means, key=lambda arm: arm.metric.mean or -math.inf)
        span = top.metric.interval
        spread = "" if span.low is None else f" ({measured(span.low)} to {measured(span.high)})"
        mean = measured(top.metric.mean)
        yield f"By the mean of the primary metric, {metric}, {top.name} comes first: {mean}{spread}."
    if len(best) == 1 and best[0].claims.n:
        claims = best[0].claims
        share = f"{claims.false} of {count(claims.n, 'run')} (95% interval {between(claims.interval)})"
        yield f"Without a signal, {best[0].name} claimed one in {share}."
    table = next((table for table in result.power if table.quantity == "success"), None)
    if table and table.detectable_these is not None and len(arms) > 1:
        other = table.detectable_other
        more = "" if other is None or other >= 1 else f", of {points(other)} on other events like them"
        seen = f"of {points(table.detectable_these)} on these events{more}"
        yield f"A study of this size detects differences between two success rates {seen} (80% power)."


def _warnings(result: StudyResult) -> Iterator[str]:
    to_come = result.planned - result.done - len(result.damaged)
    if to_come:
        yield f"Still to come: {to_come} of {count(result.planned, 'run')}. Every number here can change."
    if result.damaged:
        yield f"Outcomes that cannot be read are left out: {', '.join(result.damaged[:5])}."
    if result.missing:
        yield (
            f"{count(result.missing, 'run')} lost to a service, a sandbox or a defect of ours: left out, since that "
            "says nothing about a crew. The tables have the bounds if all of them had failed, or succeeded."
        )
    derived = {arm.name for arm in result.arms if arm.derived is not None}
    few = [pair for pair in result.pairs if (pair.p_events_least or 0) > ALPHA]
    mine = [pair for pair in few if derived.isdisjoint((pair.a, pair.b))]
    if few:
        least = max(pair.p_events_least or 0 for pair in mine or few)
        between_whom = "" if mine else " between a best-of-N arm and another"
        yield (
            f"With so few draws of events no test can show that a difference{between_whom} holds for other events: the "
            f"smallest possible p-value is {least:.2g}."
        )
    if result.arms and not any(arm.is_llm for arm in result.arms):
        yield "No LLM was involved in this study: all its backends are fixed rules."
    if leaked := sum(arm.canaries_leaked for arm in result.arms if arm.derived is None):
        yield f"In {count(leaked, 'run')} the probes found the sandbox open: do not trust their results."
    if broke := len({fault.cell for fault in result.faults if fault.kind == "breakout"}):
        yield f"{count(broke, 'run')} reached for forbidden resources; see what went wrong."
    if len(result.run_versions) > 1:
        names = {name for one in result.run_versions for name in one}
        moved = sorted(n for n in names if len({one.get(n) for one in result.run_versions}) > 1)
        yield f"Versions changed during the study: {', '.join(moved)}; see results.json."
    fresh = [dataset["name"] for dataset in result.study["datasets"] if dataset["fresh"]]
    if result.study["best_of"] and fresh:
        yield f"Best-of-N arms leave out data sets whose repeats have their own events: {', '.join(fresh)}."


def _below(p: Number) -> bool:
    return p is not None and p < ALPHA


def _p(p: Number) -> str:
    return "–" if p is None else f"{p:.2g}"


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def percent(value: Number) -> str:
    """Format a fraction: `85%`; one digit more near 0 and 1, where it matters."""
    if value is None:
        return NONE
    digits = 1 if 0.0005 <= value < 0.01 or 0.99 < value <= 0.9995 else 0
    return f"{100 * value:.{digits}f}%"


def between(span: Span) -> str:
    """Format an interval of fractions: `71% to 93%`."""
    return f"{percent(span.low)} to {percent(span.high)}"


def count(n: int, what: str) -> str:
    """Format a count: `1 run`, `2 runs`."""
    return f"{n} {what}{'s' if n != 1 else ''}"


def points(value: Number, unit: bool = True) -> str:
    """Format a difference of rates: `12 points`."""
    if value is None:
        return NONE
    whole = round(100 * value)
    return f"{'−' if whole < 0 else ''}{count(abs(whole), 'point') if unit else abs(whole)}"
