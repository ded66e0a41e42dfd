"""Train a jet classifier on few labels, from pretrained weights or, for comparison, from scratch.

As in OmniLearned (arXiv:2510.24066): all tensors of matching shapes are taken over except output layers, which start
anew; the input layers and the output learn `new_layers` times faster than the rest. Unlike there, the output begins
with what is known where each kind is like kinds of the pretraining: such a tagger works before it has seen a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from tools.contract import Result, ToolError, tool
from tools.jet_model import ranks
from tools.jet_model.batches import Source, kinds_of, labels_for
from tools.jet_model.inputs import JetsRequest, Separation, output, separation
from tools.jet_model.jets import Jets
from tools.jet_model.model import KINEMATICS, Architecture, JetModel, Scales, Size, build
from tools.jet_model.objectives import Mix, class_weights, mixed
from tools.jet_model.score import probabilities
from tools.jet_model.train import Epoch, Fitted, Training, fit
from tools.jet_model.weights import Checkpoint, Matched, WeightsRef, read, save, take_over

Rows = NDArray[np.int64]
Like = dict[str, list[str]]
OUTPUT_WEIGHT, OUTPUT_BIAS = "classifier.out.weight", "classifier.out.bias"


class FinetuneRequest(JetsRequest):
    """Train a classifier of two or more kinds of jets."""

    start: str | None = Field(
        None, description="pretrained weights: tiny, which come along, or a file; default: from scratch"
    )
    size: Size = Field("tiny", description="from scratch: the network's size")
    kinds: list[str] = Field([], description="kinds to tell apart, the signal last; default: those of the file")
    like: dict[str, list[str]] = Field(
        {},
        description="what kinds begin as, of those of `start`, e.g. {'qcd': ['quark', 'gluon']}; default: as that of "
        "their name. Where one begins as none, the output starts anew",
    )
    validation: str | None = Field(None, description="file of jets that choose the epoch; default: a share of `jets`")
    validation_fraction: SkipJsonSchema[float] = Field(0.2, gt=0, lt=1)
    training: Training = Field(Training(epochs=20, batch=64), description="epochs, batch and learning rate")
    new_layers: SkipJsonSchema[float] = Field(1.0, gt=0, le=100, description="learning rate of new layers over others")
    out: str = Field("tagger.safetensors", description="file to write, relative to the working directory")

    @model_validator(mode="after")
    def _two(self) -> FinetuneRequest:
        if len(self.kinds) == 1 or len(set(self.kinds)) < len(self.kinds):
            raise ValueError("kinds must be two or more that differ")
        return self


class FinetuneResult(Result):
    """The weights of the epoch with the lowest held-out loss, and how it went."""

    weights: WeightsRef
    matched: Matched | None = Field(description="what was taken over from `start`")
    history: list[Epoch]
    best_epoch: int = Field(description="0: no epoch was better than what it began as")
    separation: Separation = Field(description="on held-out jets, which also chose the epoch: slightly too good")
    labels_used: int = Field(description="jets trained and validated on")


@tool("jet_model.finetune")
def finetune(request: FinetuneRequest) -> FinetuneResult:
    """Train a jet classifier on labelled jets, from pretrained weights (few labels suffice) or from scratch."""
    target = output(request.out, ".safetensors")
    jets = request.read()
    checked = request.read(request.validation, "validation") if request.validation else None
    if request.kinds:
        jets = jets.with_kinds(tuple(request.kinds))
        checked = checked.with_kinds(tuple(request.kinds)) if checked else None
    if jets.pid is None:
        raise ToolError("jets", "no labels", "labelled jets")
    if checked is None:
        used, held = split_kinds(jets.pid, request.validation_fraction, request.seed)
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
        labels_used=len(jets) + len(checked),
    )


def split_kinds(pid: Rows, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """(training, validation) rows of jets with these kinds (n,): this share of each kind, at least one jet."""
    order = np.random.default_rng(seed).permutation(len(pid))
    held = np.zeros(len(pid), dtype=bool)
    for kind in np.unique(pid):
        rows = order[pid[order] == kind]
        held[rows[: max(1, round(fraction * len(rows)))]] = True
    return order[~held[order]], order[held[order]]


@dataclass(frozen=True)
class Tuned:
    """A trained classifier, what it started from, and how well it does on the jets that chose its epoch."""

    model: JetModel
    matched: Matched | None
    fitted: Fitted
    separation: Separation


def tune(
    jets: Jets,
    checked: Jets,
    training: Training,
    seed: int,
    start: Checkpoint | None = None,
    size: Size = "tiny",
    new_layers: float = 1.0,
    weights: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None,
    like: Like | None = None,
) -> Tuned:
    """Train on `jets`, choose the epoch on `checked`; `weights` of both, of mean 1. Same seed, same weights on a CPU.

    Raises ToolError for missing or unknown kinds, a start of another size, and when training diverges.
    """
    import torch

    ranks.start()
    kinds = kinds_of(jets)
    labels, held = labels_for(kinds, jets), labels_for(kinds, checked)
    absent = [kind for number, kind in enumerate(kinds) if not ((labels == number).any() and (held == number).any())]
    if absent or len(kinds) < 2:
        raise ToolError("kinds", absent or kinds, "two or more kinds, each with jets to train and to validate on")
    begun = begin(kinds, jets, training, seed, start, size, new_layers, like)
    model = begun.model
    both = concatenated(jets, checked)
    source = Source(
        model,
        both,
        np.concatenate([labels, held]),
        weights=None if weights is None else np.concatenate(weights),
        device=ranks.device(),
    )
    rows = torch.arange(len(both))
    objective = mixed(model, Mix(classify=1, generate=0), class_weights(labels, len(kinds)))
    used, held_out = rows[: len(jets)], rows[len(jets) :]
    fitted = fit(
        model.net, begun.groups, objective, source, used, held_out, training, seed, keep_start=start is not None
    )
    return Tuned(model, begun.matched, fitted, separation(probabilities(model, checked), held, kinds))


@dataclass(frozen=True)
class Begun:
    """A classifier before its training, on its device; the optimiser's groups, and what came from a checkpoint."""

    model: JetModel
    groups: list[dict[str, Any]]
    matched: Matched | None


def begin(
    kinds: tuple[str, ...],
    jets: Jets,
    training: Training,
    seed: int,
    start: Checkpoint | None = None,
    size: Size = "tiny",
    new_layers: float = 1.0,
    like: Like | None = None,
) -> Begun:
    """A classifier of `kinds` for jets like these, from a checkpoint or from scratch; ToolError as `take_over`, and for
    kinds that the checkpoint does not tell apart.
    """
    begins = _begins(kinds, start, like or {})
    if start is None:
        architecture = Architecture.of(size, kinds, mode="classifier")
        model, matched = build(architecture, Scales.of(jets, None), seed), None
    else:
        architecture = as_classifier(start.architecture, kinds, jets.particles.shape[2])
        model = build(architecture, start.scales, seed)
        matched = take_over(model, start)
        if begins:
            matched = _begin_as(model, start, begins, matched)
    model.net.to(ranks.device())
    from omnilearned.utils import get_param_groups  # here, for `build` says what to install

    groups = get_param_groups(
        model.net, training.weight_decay, training.learning_rate, new_layers, fine_tune=start is not None
    )
    return Begun(model, groups, matched)


def _begins(kinds: tuple[str, ...], start: Checkpoint | None, like: Like) -> Like:
    """The known kinds that each kind begins as; none where they are not known of every kind."""
    known = start.architecture.kinds if start and OUTPUT_WEIGHT in start.tensors else ()
    named = [name for names in like.values() for name in names]
    if set(like) - set(kinds) or set(named) - set(known) or not all(like.values()):
        allowed = f"for some of {', '.join(kinds)}: one or more of the kinds of `start`, {', '.join(known) or 'none'}"
        raise ToolError("like", like, allowed)
    begins = {kind: like.get(kind, [kind]) for kind in kinds}
    if missing := [kind for kind, names in begins.items() if not set(names) <= set(known)]:
        if like:
            raise ToolError("like", like, f"an entry for {', '.join(missing)} as well")
        return {}
    return begins


def _begin_as(model: JetModel, start: Checkpoint, begins: Like, matched: Matched) -> Matched:
    """Each kind's output is the mean of those it is like, plus the log of their number: log sum exp if they agree."""
    import torch

    known, out = start.architecture.kinds, model.net.classifier.out
    with torch.no_grad():
        for number, names in enumerate(begins.values()):
            rows = [known.index(name) for name in names]
            out.weight[number] = start.tensors[OUTPUT_WEIGHT][rows].mean(dim=0)
            out.bias[number] = start.tensors[OUTPUT_BIAS][rows].mean(dim=0) + np.log(len(rows))
    said = "; ".join(f"{kind} from {', '.join(names)}" for kind, names in begins.items())
    outputs = (OUTPUT_WEIGHT, OUTPUT_BIAS)
    return matched.model_copy(
        update={
            "fresh": [name for name in matched.fresh if name not in outputs],
            "skipped": matched.skipped | dict.fromkeys(outputs, f"output by kinds: {said}"),
        }
    )


def as_classifier(architecture: Architecture, kinds: tuple[str, ...], features: int) -> Architecture:
    """The same body with a classifier of `kinds`, reading no more features than the jets have.

    The token of the conditions stays, though a classifier gets none: without it the body would be another function.
    """
    changed = {
        "particle_kinds": architecture.particle_kinds if features > KINEMATICS else 0,
        "vertex": architecture.vertex if features >= architecture.features else 0,
    }
    return architecture.model_copy(update={"kinds": kinds, "mode": "classifier", **changed})


def concatenated(first: Jets, second: Jets) -> Jets:
    """The particles of both, without anything else."""
    width = max(first.particles.shape[1], second.particles.shape[1])
    parts = [np.pad(j.particles, ((0, 0), (0, width - j.particles.shape[1]), (0, 0))) for j in (first, second)]
    return Jets(np.concatenate(parts))
