"""Pretraining of a jet model from scratch, on a mix of losses; jet_model.finetune takes over its weights.

Which mix suits which later task is an open question (masked particle modelling, arXiv:2401.13537; classification and
generation together, arXiv:2510.24066). Runs that differ only in `mix` and `seed` answer it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.contract import Result, ToolError, tool
from tools.events.copies import same_rows
from tools.files import below
from tools.jet_model import ranks
from tools.jet_model.batches import Source, kinds_of, labels_for
from tools.jet_model.inputs import JetsRequest, Separation, separation
from tools.jet_model.jets import PARTICLE_KINDS, Jets
from tools.jet_model.masked import masked_particles
from tools.jet_model.model import KINEMATICS, Architecture, JetModel, Scales, Size, build, conditions_of
from tools.jet_model.objectives import Mix, class_weights, mixed
from tools.jet_model.score import probabilities
from tools.jet_model.train import Epoch, JetTraining, Outcome, fit
from tools.jet_model.weights import WeightsRef, save
from tools.training import split

UNLABELLED = ("jet", "none")  # names of the kinds if jets have no labels


class PretrainRequest(JetsRequest):
    """Train a jet model from scratch."""

    size: Size = Field("tiny", description="tiny is for CPUs: 0.1 million parameters")
    mix: Mix = Field(Mix(), description="weights of the losses; without labels only generate and masked")
    training: JetTraining = Field(JetTraining(average=0.999), description="epochs, batch and learning rate")
    validation_fraction: SkipJsonSchema[float] = Field(0.1, gt=0, lt=1)
    kinematics_only: SkipJsonSchema[bool] = Field(True, description="ignore the particles' kinds and vertices")
    out: str = Field("jet_model.safetensors", description="file to write, relative to the working directory")


class PretrainResult(Result):
    """Weights of the epoch with the lowest held-out loss, and the history of the training."""

    weights: WeightsRef
    history: list[Epoch] = Field(description="losses per jet, weighted by the mix")
    best_epoch: int
    separation: Separation | None = Field(
        description="separation of the kinds on held-out jets, if `classify` was trained"
    )
    jets_per_second: float = Field(description="training speed, averaged over all epochs")


@tool("jet_model.pretrain")
def pretrain(request: PretrainRequest) -> PretrainResult:
    """Pretrain a jet model on labelled or unlabelled jets (classification, flow matching, masked particles).

    Repeating an interrupted call continues after its last epoch.
    """
    target = below("out", request.out, ".safetensors")
    jets = request.read()
    rows, held = split(len(jets), request.validation_fraction, request.seed, original=same_rows(jets.particles))
    model, fitted = _train(request, jets, rows, held, target)
    measured = None
    if request.mix.classify:
        checked = jets.take(held)
        kinds = model.architecture.kinds
        measured = separation(probabilities(model, checked), labels_for(kinds, checked), kinds)
    notes: dict[str, Any] = {"request": request.model_dump(mode="json"), "best_epoch": fitted.best}
    notes |= {"history": [epoch.model_dump() for epoch in fitted.history]}
    notes |= {"separation": measured.model_dump() if measured else None}
    return PretrainResult(
        weights=save(target, model, notes) if ranks.rank() == 0 else WeightsRef(path="", sha256="", parameters=0),
        history=fitted.history,
        best_epoch=fitted.best,
        separation=measured,
        jets_per_second=len(rows) * len(fitted.history) / sum(epoch.seconds for epoch in fitted.history),
    )


def _train(request: PretrainRequest, jets: Jets, rows: Any, held: Any, target: Path) -> tuple[JetModel, Outcome]:
    import torch

    ranks.start()
    mix = request.mix
    kinds, labels = _kinds(mix, jets)
    conditions = conditions_of(jets) if mix.noisy else None
    width = KINEMATICS if request.kinematics_only else jets.particles.shape[2]
    architecture = Architecture.of(
        request.size,
        kinds,
        mode="pretrain",
        conditions=0 if conditions is None else conditions.shape[1],
        particle_kinds=len(PARTICLE_KINDS) if width > KINEMATICS else 0,
        vertex=max(width - KINEMATICS - 1, 0),
    )
    device = ranks.device()
    model = build(architecture, Scales.of(jets, conditions), request.seed)
    model.net.to(device)
    masked = masked_particles(model, jets, request.seed, device) if mix.masked else None
    module = torch.nn.ModuleList([model.net, masked.head] if masked else [model.net])
    source = Source(model, jets, labels, conditions, device=device)
    groups = [{"params": list(module.parameters()), "lr": request.training.learning_rate}]
    objective = mixed(model, mix, class_weights(labels[rows], len(kinds)), masked)
    state = target.with_name(target.name + ".state")
    fitted = fit(module, groups, objective, source, rows, held, request.training, request.seed, state)
    state.unlink(missing_ok=True)
    return model, fitted


def _kinds(mix: Mix, jets: Jets) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the kinds and each jet's label; ToolError if a loss needs labels that are missing."""
    kinds = kinds_of(jets)
    if mix.labelled and not kinds:
        raise ToolError("mix", mix.model_dump(), "classify and perturbed need labelled jets; these have no labels")
    if mix.labelled and len(kinds) < 2:
        raise ToolError("jets", kinds, "at least two kinds, to tell apart")
    if not kinds:
        return UNLABELLED, np.zeros(len(jets), dtype=np.int64)
    labels = labels_for(kinds, jets)
    if mix.labelled and (absent := [kind for number, kind in enumerate(kinds) if not (labels == number).any()]):
        raise ToolError("jets", absent, "jets of every kind; there are none of these")
    return (kinds if len(kinds) > 1 else (*kinds, UNLABELLED[1])), labels
