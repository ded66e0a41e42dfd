"""Training of a jet classifier on few labels, from pretrained weights or, for comparison, from scratch.

The initialisation is in `begin.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from tools.contract import Result, ToolError, tool
from tools.events.copies import is_first, same_rows
from tools.files import below
from tools.jet_model import ranks
from tools.jet_model.batches import Source, kinds_of, labels_for, reach
from tools.jet_model.begin import Like, begin
from tools.jet_model.inputs import JetsRequest, Separation, separation
from tools.jet_model.jets import Jets, concatenated
from tools.jet_model.model import JetModel, Size
from tools.jet_model.objectives import Mix, class_weights, mixed
from tools.jet_model.score import probabilities
from tools.jet_model.train import Epoch, JetTraining, Outcome, fit
from tools.jet_model.weights import Checkpoint, Matched, WeightsRef, read, save
from tools.robust.steps import ByName

Rows = NDArray[np.int64]


class FewLabels(JetTraining):
    """Epochs, batch and learning rate."""

    epochs: int = Field(20, ge=1, le=1000)
    batch: int = Field(64, ge=1)
    robust: ByName = Field(
        None,
        description="against trust in one simulation: particles ('fgsm', 'pgd') or weights ('sam', 'sparse_sam') move "
        "against the network while it trains",
    )


class FinetuneRequest(JetsRequest):
    """Train a classifier of two or more kinds of jets."""

    start: str | None = Field(None, description="pretrained weights: 'tiny' (shipped) or a file; default: from scratch")
    size: Size = Field("tiny", description="size of the network, if trained from scratch")
    kinds: list[str] = Field([], description="kinds to tell apart, the signal last; default: those of the file")
    like: dict[str, list[str]] = Field(
        {},
        description="kinds of `start` from which the output of each kind starts, e.g. {'qcd': ['quark', 'gluon']}; "
        "default: the kind of the same name. If any kind has none, the output starts anew",
    )
    validation: str | None = Field(
        None, description="file of jets to choose the epoch with; default: a fraction of `jets`"
    )
    validation_fraction: SkipJsonSchema[float] = Field(0.2, gt=0, lt=1)
    training: FewLabels = Field(
        FewLabels(),
        description="epochs, batch, learning rate; use small rates (3e-5) if the output starts from known kinds",
    )
    new_layers: SkipJsonSchema[float] = Field(
        1.0, gt=0, le=100, description="learning rate of new layers over that of the others"
    )
    out: str = Field("tagger.safetensors", description="file to write, relative to the working directory")

    @model_validator(mode="after")
    def _two(self) -> FinetuneRequest:
        if len(self.kinds) == 1 or len(set(self.kinds)) < len(self.kinds):
            raise ValueError("kinds must be two or more different kinds")
        return self


class FinetuneResult(Result):
    """Weights of the epoch with the lowest held-out loss, and the history of the training."""

    weights: WeightsRef
    matched: Matched | None = Field(description="what was taken over from `start`")
    history: list[Epoch]
    best_epoch: int = Field(description="0: no epoch was better than the start")
    separation: Separation = Field(
        description="separation on the held-out jets that also chose the epoch: slightly optimistic"
    )
    labels_used: int = Field(description="labelled jets used for training and validation; copies of a jet count once")


@tool("jet_model.finetune")
def finetune(request: FinetuneRequest) -> FinetuneResult:
    """Train a jet classifier on labelled jets, from pretrained weights (few labels suffice) or from scratch."""
    target = below("out", request.out, ".safetensors")
    jets = request.read()
    checked = request.read(request.validation, "validation") if request.validation else None
    if request.kinds:
        jets = jets.with_kinds(tuple(request.kinds))
        checked = checked.with_kinds(tuple(request.kinds)) if checked else None
    if jets.pid is None:
        raise ToolError("jets", "no labels", "labelled jets")
    if checked is None:
        used, held = split_kinds(jets.pid, request.validation_fraction, request.seed, same_rows(jets.particles))
        jets, checked = jets.take(used), jets.take(held)
    start = read(Path(request.start)) if request.start else None
    tuned = tune(
        jets, checked, request.training, request.seed, start, request.size, request.new_layers, like=request.like
    )
    notes = {"request": request.model_dump(mode="json"), "best_epoch": tuned.fitted.best}
    return FinetuneResult(
        weights=save(target, tuned.model, notes),
        matched=tuned.matched,
        history=tuned.fitted.history,
        best_epoch=tuned.fitted.best,
        separation=tuned.separation,
        labels_used=int(is_first(same_rows(concatenated(jets, checked).particles)).sum()),
    )


def split_kinds(pid: Rows, fraction: float, seed: int, original: Rows | None = None) -> tuple[Rows, Rows]:
    """Return (training, validation) rows of jets with kinds `pid` (n,), holding out this fraction of each kind, at
    least one jet; copies of a jet (`original`: its first row) stay together.
    """
    order = np.random.default_rng(seed).permutation(len(pid))
    held = np.zeros(len(pid), dtype=bool)
    for kind in np.unique(pid):
        rows = order[pid[order] == kind]
        held[rows[: max(1, round(fraction * len(rows)))]] = True
    held = held if original is None else held[original]
    return order[~held[order]], order[held[order]]


@dataclass(frozen=True)
class Tuned:
    """A trained classifier, what it took over, its training, and its separation of the jets that chose the epoch."""

    model: JetModel
    matched: Matched | None
    fitted: Outcome
    separation: Separation


def tune(
    jets: Jets,
    checked: Jets,
    training: JetTraining,
    seed: int,
    start: Checkpoint | None = None,
    size: Size = "tiny",
    new_layers: float = 1.0,
    like: Like | None = None,
) -> Tuned:
    """Train on `jets` and choose the epoch on `checked`. On a CPU the same seed gives the same weights.

    Raises ToolError for missing or unknown kinds, a start of another size, and when training diverges.
    """

    ranks.start()
    kinds = kinds_of(jets)
    labels, held = labels_for(kinds, jets), labels_for(kinds, checked)
    absent = [kind for number, kind in enumerate(kinds) if not ((labels == number).any() and (held == number).any())]
    if absent or len(kinds) < 2:
        raise ToolError("kinds", absent or kinds, "two or more kinds, each with jets to train and to validate on")
    begun = begin(kinds, jets, training, seed, start, size, new_layers, like)
    model = begun.model
    both = concatenated(jets, checked)
    source = Source(model, both, np.concatenate([labels, held]), device=ranks.device())
    rows = np.arange(len(both))
    objective = mixed(model, Mix(classify=1, generate=0), class_weights(labels, len(kinds)))
    used, held_out = rows[: len(jets)], rows[len(jets) :]
    moves, from_start = reach(model.scales), start is not None
    fitted = fit(
        model.net, begun.groups, objective, source, used, held_out, training, seed, keep_start=from_start, reach=moves
    )
    return Tuned(model, begun.matched, fitted, separation(probabilities(model, checked), held, kinds))
