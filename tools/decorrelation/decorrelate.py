"""Scores made independent of protected columns, above all of the mass that is searched: one tool for all methods.

Maps (`cnots`, `flow`) are learned from background-like events with their scores; penalties and weights (`disco`,
`mode`, `planing`) train a classifier of their own on labelled events. Events that are learned from are dealt into
folds, and each gets its score from a fit to the other folds: what the report says is true of events not learned from.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from tools.arrays import ArrayRef, save_arrays
from tools.contract import Frozen, Request, Result, Seed, ToolError, named, tool
from tools.decorrelation.cnots import Cnots
from tools.decorrelation.flow import Flow
from tools.decorrelation.sample import Mask, Sample, folds_of, load_labels, load_sample
from tools.decorrelation.trained import Disco, Mode, Planing, Trained
from tools.dependence import dependence
from tools.events.copies import is_first
from tools.files import below
from tools.types import Floats

MIN_PASSING = 10
Mapped = Callable[[Sample], Floats]


class DecorrelateRequest(Request):
    """Events, their scores, and what the scores shall not depend on."""

    events: str = Field("/inputs/events.parquet", description="parquet file with the protected columns")
    protected: list[str] | None = Field(
        None, min_length=1, max_length=8, description="columns of `events`; default: its mass"
    )
    scores: str | None = Field(None, description="parquet file of scores, one row per event: for cnots and flow")
    columns: list[str] | None = Field(
        None, min_length=1, max_length=16, description="columns of `scores`, mapped together by cnots; default: all"
    )
    labels: str | None = Field(
        None,
        description="parquet file with one column, 1 for signal, one row per event: signal is not learned from, and "
        "its efficiency is reported; needed by disco, mode and planing",
    )
    leave_out: tuple[float, float] | None = Field(
        None, description="window in the first protected column that may hold signal: its events are not learned from"
    )
    simulation: str | None = Field(
        None, description="background with columns as in `events` to learn from instead, with `simulation_scores`"
    )
    simulation_scores: str | None = Field(None, description="parquet file with its scores")
    method: Annotated[
        Annotated[Cnots | Flow | Disco | Mode | Planing, Field(discriminator="kind")],
        BeforeValidator(named),
        Field(description="'cnots' or 'flow', alone or with settings", json_schema_extra={"default": "cnots"}),
    ] = Cnots()
    folds: int = Field(2, ge=2, le=10, description="fits; each event gets the one that has not seen it")
    efficiencies: list[float] = Field(
        default=[0.5, 0.1, 0.05, 0.01], min_length=1, max_length=20, description="background to keep, in the report"
    )
    seed: Seed = Field(1, ge=0)
    out: str = Field("decorrelated.parquet", description="file to write, relative to the working directory")
    out_figure: str = Field("decorrelated.png", description="figure to write: the map, and 1/JSD before and after")

    @model_validator(mode="after")
    def _complete(self) -> DecorrelateRequest:
        if isinstance(self.method, Trained):
            if not self.labels or self.simulation:
                raise ValueError(f"{self.method.kind} needs labels of events, and takes no simulation")
        elif not self.scores:
            raise ValueError(f"{self.method.kind} needs scores")
        if bool(self.simulation) != bool(self.simulation_scores):
            raise ValueError("simulation and simulation_scores go together")
        return self


class CutDependence(Frozen):
    """One cut on one score, on the background-like events, and one protected column."""

    score: str
    protected: str
    efficiency: float = Field(description="fraction of the background-like events that is kept")
    inverse_jsd_before: float | None = Field(
        description="1/JSD of the spectra of passing and of all events; null: there was no score before"
    )
    inverse_jsd: float = Field(description="the same for the new score: the higher, the less the cut shapes it")
    ceiling: float = Field(description="median 1/JSD of random selections of as many events: what statistics allow")
    p_value: float = Field(description="how often a random selection shapes the spectrum as much")
    signal_efficiency_before: float | None = None
    signal_efficiency: float | None = Field(None, description="signal kept, if `labels` are given")


class DecorrelateResult(Result):
    """New scores, in the order of the events, and how far they depend on the protected columns."""

    scores: ArrayRef
    figure: str
    n_background: int = Field(description="background-like events of the report")
    n_learned: int = Field(description="events that the fits learned from")
    cuts: list[CutDependence]


@tool("decorrelation.decorrelate")
def decorrelate(request: DecorrelateRequest) -> DecorrelateResult:
    """Map scores so that cuts on them do not shape the mass: learned on background-like events (sidebands with
    `leave_out`, a simulation, or all), applied to all. Writes the new scores and a figure, and reports 1/JSD.
    """
    below("out_figure", request.out_figure, ".png")
    method = request.method
    wanted = method.features if isinstance(method, Trained) else ()
    sample, protected, names = load_sample(request.events, request.protected, request.scores, request.columns, wanted)
    is_signal = load_labels(request.labels, len(sample.protected)) if request.labels else None
    background = np.ones(len(sample.protected), dtype=bool) if is_signal is None else ~is_signal
    usable = background & is_first(sample.original) & _outside(request, sample)
    kept = _kept(request.efficiencies, int(usable.sum()))
    new, learned, last = _mapped(request, sample, usable, is_signal, names)
    outputs = ["score"] if isinstance(method, Trained) else names
    before = None if isinstance(method, Trained) else sample.scores
    cuts = [
        _cut((score, column), cut, (None if before is None else before[:, i], new[:, i]), values, usable, is_signal)
        for i, score in enumerate(outputs)
        for column, values in zip(protected, sample.protected[usable].T, strict=True)
        for cut in zip(request.efficiencies, kept, strict=True)
    ]
    from tools.decorrelation.plots import Shown, draw  # matplotlib takes half a second to import

    shown = Shown(outputs, protected, before, new, sample.protected, usable)
    draw(Path(request.out_figure), shown, None if before is None else last, cuts)
    return DecorrelateResult(
        scores=save_arrays(request.out, dict(zip(outputs, new.T, strict=True))),
        figure=request.out_figure,
        n_background=int(usable.sum()),
        n_learned=learned,
        cuts=cuts,
    )


def _outside(request: DecorrelateRequest, sample: Sample) -> Mask:
    """Mark the events (n,) outside the window to leave out. Raises ToolError for one that is not increasing."""
    if request.leave_out is None:
        return np.ones(len(sample.protected), dtype=bool)
    low, high = request.leave_out
    if not low < high:
        raise ToolError("leave_out", request.leave_out, "two increasing edges")
    return np.asarray((sample.protected[:, 0] < low) | (sample.protected[:, 0] >= high))


def _kept(efficiencies: list[float], n: int) -> list[int]:
    """Return how many of n events each cut keeps. Raises ToolError if they are too few for a spectrum."""
    kept = [round(efficiency * n) for efficiency in efficiencies]
    for efficiency, k in zip(efficiencies, kept, strict=True):
        if not MIN_PASSING <= k <= n - MIN_PASSING:
            raise ToolError("efficiencies", efficiency, f"keeps {k} of {n} background-like events; at least 10")
    return kept


def _mapped(
    request: DecorrelateRequest, sample: Sample, usable: Mask, is_signal: Mask | None, names: list[str]
) -> tuple[Floats, int, Mapped]:
    """Return the new scores (n, d), the number of events learned from, and the last map."""
    if request.simulation:
        given = list(request.protected) if request.protected else None
        of = ("simulation", "simulation_scores")
        other, _, _ = load_sample(request.simulation, given, request.simulation_scores, names, fields=of)
        rows = is_first(other.original)
        learned = _learn(request, other, rows, None)
        return learned(sample), int(rows.sum()), learned
    fold = folds_of(sample.original, request.folds, request.seed)
    new: Floats | None = None
    rows = usable if is_signal is None or not isinstance(request.method, Trained) else usable | is_signal
    for k in range(request.folds):
        here = fold == k
        learned = _learn(request, sample, rows & ~here, is_signal)
        moved = learned(sample.take(here))
        new = np.empty((len(fold), moved.shape[1])) if new is None else new
        new[here] = moved
        print(f"fold {k + 1}/{request.folds} done", file=sys.stderr)
    assert new is not None
    return new, int(rows.sum()), learned


def _learn(request: DecorrelateRequest, sample: Sample, rows: Mask, is_signal: Mask | None) -> Mapped:
    """Fit to the rows (n,) of a sample; return a function of samples."""
    method = request.method
    if isinstance(method, Trained):
        assert is_signal is not None
        scorer = method.fit(sample.features[rows], sample.protected[rows], is_signal[rows], request.seed)
        return lambda part: scorer(part.features)[:, None]
    moved = method.fit(sample.scores[rows], sample.protected[rows], request.seed)
    return lambda part: moved(part.scores, part.protected)


def _cut(
    names: tuple[str, str],
    cut: tuple[float, int],
    scores: tuple[Floats | None, Floats],
    protected: Floats,
    usable: Mask,
    is_signal: Mask | None,
) -> CutDependence:
    """Return the row of the report for a cut (efficiency, events kept) on scores (n,) before and after."""
    efficiency, kept = cut
    found: list[tuple[float, float, float, float | None] | None] = []
    for score in scores:
        if score is None:
            found.append(None)
            continue
        at = np.sort(score[usable])[-kept]
        passed = score >= at
        try:
            of = dependence(protected, passed[usable])
        except ValueError as error:
            raise ToolError("scores", efficiency, str(error)) from None
        signal = None if is_signal is None else float(passed[is_signal].mean())
        found.append((of.inverse_jsd, of.ceiling, of.p_value, signal))
    before, after = found
    assert after is not None
    return CutDependence(
        score=names[0],
        protected=names[1],
        efficiency=efficiency,
        inverse_jsd_before=before and before[0],
        inverse_jsd=after[0],
        ceiling=after[1],
        p_value=after[2],
        signal_efficiency_before=before and before[3],
        signal_efficiency=after[3],
    )
