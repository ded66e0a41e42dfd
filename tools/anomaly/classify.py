"""Data against background template: one score per event, from trees that never saw that event.

Classification without labels (arXiv:1708.02949) with the tree ensembles of Finke et al.
(arXiv:2309.13111). All events of the file, in and beside the window, are dealt into k folds; an
event is scored by the one ensemble of its fold, which was trained on the other folds. Events in
and beside the window are thus treated alike, so a cut cannot favour the window by itself. That holds for
template events that are copies of the file's own (a sideband template) too: each lies in its original's fold.
The raw score is turned into a background rank within the fold,

    score = -log10 P(raw score of a sideband event >= this one's),

so that score > 2 keeps 1% of the sideband events in every fold. Where the file has no events beside
the window, the fold's own (held-out) template events take their place.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tools.anomaly.data import MIN_EVENTS, Floats, WindowRequest, load
from tools.arrays import ArrayRef, load_arrays, save_arrays
from tools.contract import Result, ToolError, tool
from tools.metrics import argos, auc, auc_error, bootstrap_error

ARGOS_MIN_TEMPLATE = 25  # fewer kept template events make the metric a draw of luck


class ClassifyRequest(WindowRequest):
    """Train data in the window against a background template; score every event."""

    template: str = Field(description="template file made for the same window and features")
    folds: int = Field(5, ge=2, le=20)
    ensemble: int = Field(4, ge=1, le=100, description="models per fold, averaged; each with its own validation split")
    max_iter: int = Field(200, ge=1, le=5000, description="boosting rounds; early stopping decides below that")
    max_leaf_nodes: int = Field(31, ge=2, le=1024)
    learning_rate: float = Field(0.1, gt=0, le=1)
    validation_fraction: float = Field(0.5, gt=0.05, lt=0.95)
    out: str = Field("scores.parquet", description="file to write, relative to the working directory")
    out_template: str = Field("template_scores.parquet", description="file for the held-out scores of the template")


class ClassifyResult(Result):
    """Scores of all events (row order of the event file) and label-free numbers of merit in the window."""

    scores: ArrayRef
    template_scores: ArrayRef
    argos: float = Field(
        description="selection metric on held-out scores (arXiv:2511.14832); about 0.01 without signal"
    )
    argos_error: float
    auc: float = Field(description="data against template in the window, held out; slightly above 0.5 is normal")
    auc_error: float
    n_window: int
    n_template: int


@tool("anomaly.classify")
def classify(request: ClassifyRequest) -> ClassifyResult:
    """Score every event by how much more often its like occurs in the window's data than in the background template
    (k-fold tree ensemble). Submit the scores file, or cut on it with bumphunt.scan.
    """
    if request.out_template == request.out:
        raise ToolError("out_template", request.out_template, "another file than `out`")
    data = load(request, need_sidebands=False)
    template = _template(request)
    rng = np.random.default_rng(request.seed)
    fold_data = rng.permutation(len(data.mjj)) % request.folds
    fold_template = rng.permutation(len(template)) % request.folds
    original = _originals(template, data.features)
    fold_template[original >= 0] = fold_data[original[original >= 0]]
    raw, raw_template = np.empty(len(data.mjj)), np.empty(len(template))
    for fold in range(request.folds):
        training = data.inside & (fold_data != fold)
        x = np.concatenate([data.features[training], template[fold_template != fold]])
        y = np.concatenate([np.ones(training.sum()), np.zeros((fold_template != fold).sum())])
        here, here_template = fold_data == fold, fold_template == fold
        scored = _ensemble(request, x, y, np.concatenate([data.features[here], template[here_template]]), fold)
        side = scored[: here.sum()][~data.inside[here]]
        ranked = _background_rank(scored, np.sort(side if len(side) >= MIN_EVENTS else scored[here.sum() :]))
        raw[here], raw_template[here_template] = ranked[: here.sum()], ranked[here.sum() :]
        print(f"fold {fold + 1}/{request.folds} done", file=sys.stderr)

    inside = raw[data.inside]

    def merit(window: Floats, reference: Floats) -> float:
        return argos(window, reference, ARGOS_MIN_TEMPLATE)

    area = auc(inside, raw_template)
    return ClassifyResult(
        scores=save_arrays(request.out, {"score": raw}),
        template_scores=save_arrays(request.out_template, {"score": raw_template}),
        argos=merit(inside, raw_template),
        argos_error=bootstrap_error(merit, inside, raw_template, request.seed),
        auc=area,
        auc_error=auc_error(area, len(inside), len(raw_template)),
        n_window=len(inside),
        n_template=len(template),
    )


def _originals(template: Floats, events: Floats) -> NDArray[np.int64]:
    """For each template event the row of the event that it is a copy of (to float32, as files hold it), or -1."""
    events, template = events.astype(np.float32), template.astype(np.float32)
    # Whole rows are compared only where the first feature agrees: for a sampled template nearly nowhere.
    maybe = np.flatnonzero(np.isin(template[:, 0], events[:, 0]))
    among = np.flatnonzero(np.isin(events[:, 0], template[maybe, 0]))
    both = np.concatenate([events[among], template[maybe]])
    _, first, key = np.unique(both, axis=0, return_index=True, return_inverse=True)
    row = np.full(len(template), -1)
    found = first[key[len(among) :]]
    copies = found < len(among)
    row[maybe[copies]] = among[found[copies]]
    return row


def _ensemble(request: ClassifyRequest, x: Floats, y: Floats, to_score: Floats, fold: int) -> Floats:
    """Mean log-odds of `ensemble` boosted models that differ in seed and validation split."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    total = np.zeros(len(to_score))
    for member in range(request.ensemble):
        model = HistGradientBoostingClassifier(
            max_iter=request.max_iter,
            max_leaf_nodes=request.max_leaf_nodes,
            learning_rate=request.learning_rate,
            validation_fraction=request.validation_fraction,
            early_stopping=True,
            class_weight="balanced",
            random_state=int(np.random.SeedSequence([request.seed, fold, member]).generate_state(1)[0]),
        )
        total += model.fit(x, y).decision_function(to_score)
    return total / request.ensemble


def _background_rank(score: Floats, sideband: Floats) -> Floats:
    """-log10 of the fraction of (sorted) sideband scores at or above; half an event is added to stay finite."""
    above = len(sideband) - np.searchsorted(sideband, score, "left")
    return np.asarray(-np.log10((above + 0.5) / (len(sideband) + 0.5)))


def _template(request: ClassifyRequest) -> NDArray[np.float64]:
    """The template's features within the window's range of training, checked."""
    columns = load_arrays(request.template, "template", request.features)
    table = np.column_stack([columns[name] for name in request.features])
    needed = max(2 * request.folds, ARGOS_MIN_TEMPLATE)
    if len(table) < needed:
        raise ToolError("template", request.template, f"has {len(table)} events; at least {needed} are needed")
    return table
