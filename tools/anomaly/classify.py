"""Classifier of data against a background template: one score per event, from models that never saw that event.

Classification without labels (arXiv:1708.02949) with an ensemble of trees or networks. All events of the file, inside
and outside the window, are dealt into k folds; the ensemble that scores a fold was trained on the other folds. Events
inside and outside the window are thus treated alike, so a cut cannot favour the window by itself. A template event that
is a copy of one of the file's events (a sideband template) lies in the fold of its original. The raw score becomes a
background rank within the fold,

    score = -log10 P(raw score of a sideband event >= this one's),

so that score > 2 keeps 1% of the sideband events in every fold. If the file has too few events outside the window, the
fold's own (held-out) template events take their place. On request, the scores are made independent of the mass at last
(`decorrelated.py`).
"""

from __future__ import annotations

import sys
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field
from pydantic.json_schema import SkipJsonSchema

from tools.anomaly.classifier import Classifier, Events, Mask
from tools.anomaly.data import MIN_EVENTS, Windowed, WindowRequest, load
from tools.anomaly.decorrelated import Choice, decorrelated
from tools.anomaly.dual import Dual
from tools.anomaly.mlp import Mlp
from tools.anomaly.score_closure import ScoreClosure, score_closure
from tools.anomaly.selection import ARGOS_MIN_TEMPLATE
from tools.anomaly.smear import Smeared
from tools.anomaly.trees import Trees
from tools.arrays import ArrayRef, load_arrays, save_arrays
from tools.contract import Result, ToolError, named, tool
from tools.events.copies import is_first
from tools.events.table import derive
from tools.events.weights import countable, of_rows
from tools.metrics import argos, auc, auc_error, bootstrap_error
from tools.types import Floats


class ClassifyRequest(WindowRequest):
    """Train data in the window against a background template; score every event."""

    template: str = Field(description="template file made for the same window and features")
    folds: int = Field(5, ge=2, le=20)
    ensemble: int = Field(4, ge=1, le=100, description="models per fold, averaged; 10 in arXiv:2309.13111")
    classifier: Annotated[
        Annotated[Trees | Mlp | SkipJsonSchema[Dual], Field(discriminator="kind")],
        BeforeValidator(named),
        Field(
            description="'trees' or 'mlp', alone or with settings",
            json_schema_extra={"default": "trees"},
        ),
    ] = Trees()
    smear: int = Field(
        0,
        ge=0,
        le=20,
        description="smeared copies of each template event to train on as well: for a template with fewer events "
        "than the window; about 2",
    )
    control: str | None = Field(
        None, description="control file of the template: tests closure and sculpting of the score itself"
    )
    decorrelate: Choice = Field("none", description="from the mass, as learned beside the window")
    out: str = Field("scores.parquet", description="file to write, relative to the working directory")
    out_template: str = Field("template_scores.parquet", description="file for the held-out scores of the template")


class ClassifyResult(Result):
    """Scores of all events (in the order of the event file) and label-free figures of merit in the window."""

    scores: ArrayRef
    template_scores: ArrayRef
    argos: float = Field(
        description="the higher the better: largest eff_data / sqrt(eff_template) - sqrt(eff_template) over cuts on "
        "held-out scores (arXiv:2511.14832); about 0.01 without signal"
    )
    argos_error: float
    auc: float = Field(description="data against template in the window, held out; slightly above 0.5 is normal")
    auc_error: float
    n_window: int
    n_template: int
    closure: ScoreClosure | None = Field(
        description="closure test of the score outside the window, if `control` is given"
    )
    warning: str | None = Field(description="why the score must not be trusted; null: no reason found")
    copies: int = Field(0, description="events that are copies of others: they stay in one fold")


@tool("anomaly.classify")
def classify(request: ClassifyRequest) -> ClassifyResult:
    """Score every event by its data-to-template density ratio in the window (k-fold tree ensemble). Submit the scores
    file, or cut on it with bumphunt.scan.
    """
    if request.out_template == request.out:
        raise ToolError("out_template", request.out_template, "a file other than `out`")
    chosen = request.classifier
    classifier = chosen.of(request.features) if isinstance(chosen, Dual) else chosen
    data = load(request, need_sidebands=False)
    template, template_mass = _template(request, data.column)
    rows, control, control_mass = (
        _control(request, data) if request.control else (None, data.features[:0], data.mjj[:0])
    )
    own = np.arange(len(data.mjj) + len(control)) < len(data.mjj)
    is_inside = np.concatenate([data.inside, np.zeros(len(control), dtype=bool)])
    scored, raw_template = out_of_fold(
        Smeared(classifier, request.smear) if request.smear else classifier,
        np.concatenate([data.features, control]),
        template,
        is_inside,
        own & ~is_inside,
        folds=request.folds,
        ensemble=request.ensemble,
        seed=request.seed,
        original=data.original,
        weight=data.weight if data.weight is None else np.append(data.weight, np.ones(len(control))),
    )
    if request.decorrelate != "none":
        if template_mass is None:
            raise ToolError("template", request.template, f"a file with the column {data.column}, for `decorrelate`")
        others = (scored[~own], control_mass), (raw_template, template_mass)
        mine, (of_control, raw_template) = decorrelated(request.decorrelate, data, scored[own], others, request.seed)
        scored = np.concatenate([mine, of_control])
    held = None if rows is None else (rows, scored[~own])
    return judged(scored[own], raw_template, data, held, request.out, request.out_template, request.seed)


def judged(
    raw: Floats,
    raw_template: Floats,
    data: Windowed,
    held: tuple[NDArray[np.int64], Floats] | None,
    out: str,
    out_template: str,
    seed: int,
) -> ClassifyResult:
    """Write the scores of events and template and return their figures of merit.

    `held` holds the rows of the held-out sideband events and the scores of the template events made for them.
    """
    inside, beside = np.flatnonzero(data.inside), np.flatnonzero(~data.inside)
    closed, weight = None, data.weight
    if held:
        rows, outside = (countable(each, weight, seed) for each in (held[0], beside))
        closed = score_closure(raw[rows], held[1], raw[outside], data.mjj[outside])
    in_window = raw[countable(inside, weight, seed)]

    def merit(window: Floats, reference: Floats) -> float:
        return argos(window, reference, ARGOS_MIN_TEMPLATE)

    area = auc(in_window, raw_template)
    return ClassifyResult(
        scores=save_arrays(out, {"score": raw}),
        template_scores=save_arrays(out_template, {"score": raw_template}),
        argos=merit(in_window, raw_template),
        argos_error=bootstrap_error(merit, in_window, raw_template, seed),
        auc=area,
        auc_error=auc_error(area, len(in_window), len(raw_template)),
        n_window=len(inside),
        n_template=len(raw_template),
        closure=closed,
        warning=closed.warning if closed else None,
        copies=int((~data.once).sum()),
    )


def out_of_fold(
    classifier: Classifier,
    events: Events,
    template: Events,
    data: Mask,
    background: Mask,
    folds: int,
    ensemble: int,
    seed: int,
    original: NDArray[np.int64] | None = None,
    weight: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Return the rank scores of all events (n, d) and of the template (m, d), each by the models of its fold.

    `original`: for each of the first events the first row with the same event; copies lie in its fold, and no model is
    trained on them. By default there are none.

    `data` marks the events to train on, `background` those that define the rank (the sidebands); events that are
    neither are scored as well. `weight` (n,) of the events counts in training and in the rank. The raw score is the
    mean log-odds of the fold's `ensemble` models, which differ in seed and validation split.
    """
    rng = np.random.default_rng(seed)
    known, others = np.flatnonzero(data | background), np.flatnonzero(~(data | background))
    fold_data = np.empty(len(events), dtype=np.int64)
    fold_data[known] = rng.permutation(len(known)) % folds
    fold_template = rng.permutation(len(template)) % folds
    # Dealt last, so that they do not change the scores of the known events.
    fold_data[others] = rng.permutation(len(others)) % folds
    first = np.arange(len(events))
    if original is not None:
        first[: len(original)] = original
    fold_data = fold_data[first]
    once = is_first(first)
    of_template, copied = copies_of(template, events), copies_of(events[others], events[known])
    fold_data[others[copied >= 0]] = fold_data[known[copied[copied >= 0]]]
    fold_template[of_template >= 0] = fold_data[of_template[of_template >= 0]]
    score, score_template = np.empty(len(events)), np.empty(len(template))
    for fold in range(folds):
        training, against = data & once & (fold_data != fold), fold_template != fold
        x = np.concatenate([events[training], template[against]])
        y = np.arange(len(x)) < training.sum()
        here, here_template = fold_data == fold, fold_template == fold
        to_score = np.concatenate([events[here], template[here_template]])
        each = None
        if weight is not None:
            each = np.append(weight[training] / weight[training].mean(), np.ones(against.sum()))
        seeds = [int(np.random.SeedSequence([seed, fold, m]).generate_state(1)[0]) for m in range(ensemble)]
        scored = np.mean([classifier.log_odds(x, y, to_score, s, each) for s in seeds], axis=0)
        side, of_side = scored[: here.sum()][background[here]], of_rows(weight, here & background)
        if len(side) < MIN_EVENTS:
            side, of_side = scored[here.sum() :], None
        ranked = _background_rank(scored, side, of_side)
        score[here], score_template[here_template] = ranked[: here.sum()], ranked[here.sum() :]
        print(f"fold {fold + 1}/{folds} done", file=sys.stderr)
    return score, score_template


def _control(request: ClassifyRequest, data: Windowed) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return (rows of the held-out events, template events for them (n, d), their masses (n,)), checked and without
    duplicates.
    """
    assert request.control is not None
    columns = load_arrays(request.control, "control", ["row", data.column, *request.features])
    rows = columns["row"].astype(np.int64)
    of_events = (rows >= 0) & (rows < len(data.mjj))
    if not (np.all(of_events) and np.allclose(data.mjj[rows], columns[data.column], rtol=1e-5)):
        raise ToolError("control", request.control, "the control file of a template made from `events`, in that order")
    if np.any(data.inside[rows]):
        allowed = f"the control file of a template for the window {request.window}; this one has events in the window"
        raise ToolError("control", request.control, allowed)
    control = np.column_stack([columns[name] for name in request.features])
    if min(len(np.unique(rows)), len(control)) < ARGOS_MIN_TEMPLATE:
        raise ToolError("control", request.control, f"has {len(control)} events; at least {ARGOS_MIN_TEMPLATE}")
    distinct, first = np.unique(control, axis=0, return_index=True)
    return np.unique(rows), distinct, columns[data.column][first]


def copies_of(template: Events, events: Events) -> NDArray[np.int64]:
    """Return for each template event the row of the event that it copies, or -1; floats are compared as float32, as in
    files.
    """
    if events.dtype.kind == "f":
        events, template = events.astype(np.float32), template.astype(np.float32)
    # Compare whole rows only where the first feature agrees, which it hardly ever does for a sampled template.
    maybe = np.flatnonzero(np.isin(template[:, 0], events[:, 0]))
    among = np.flatnonzero(np.isin(events[:, 0], template[maybe, 0]))
    both = np.concatenate([events[among], template[maybe]])
    _, first, key = np.unique(both, axis=0, return_index=True, return_inverse=True)
    row = np.full(len(template), -1)
    found = first[key[len(among) :]]
    copies = found < len(among)
    row[maybe[copies]] = among[found[copies]]
    return row


def _background_rank(score: Floats, sideband: Floats, weight: Floats | None = None) -> Floats:
    """Return -log10 of the (weighted) fraction of sideband scores above; half an event is added to stay finite.

    Strictly above: a cut at the rank of the k-th highest of n sideband events then keeps k / (n + 1) of other events of
    the same kind. Counting the event itself would keep (k + 1) / (n + 1), a quarter too many of four.
    """
    order = np.argsort(sideband)
    sums = np.append(0.0, np.cumsum(np.ones(len(order)) if weight is None else (weight / weight.mean())[order]))
    above = np.maximum(sums[-1] - sums[np.searchsorted(sideband[order], score, "right")], 0.0)
    return np.asarray(-np.log10((above + 0.5) / (len(sideband) + 0.5)))


def _template(request: ClassifyRequest, mass: str) -> tuple[Floats, Floats | None]:
    """Return the template's features (n, d) and masses (n,), if it has them. Raises ToolError for missing features or
    too few events.
    """
    columns = load_arrays(request.template, "template")
    try:
        features = derive(columns, request.features)  # a reference is an event table; a template has these features
    except ToolError as error:
        raise ToolError("template", request.template, f"{error.value}: {error.allowed}") from None
    table = np.column_stack([features[name] for name in request.features])
    needed = max(2 * request.folds, ARGOS_MIN_TEMPLATE)
    if len(table) < needed:
        raise ToolError("template", request.template, f"has {len(table)} events; at least {needed} are needed")
    return table, columns.get(mass)
