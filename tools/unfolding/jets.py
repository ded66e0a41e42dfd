"""Density ratios from the jet foundation model: OmniFold on all particles of the jets (OmniLearn, arXiv:2404.16091).

The last column of the event arrays holds the row of each event's jet in `files`, counted through all of them. This
classifier reads that column only, and no other method reads it. Training minimises the loss of `classifier.py` with the
optimiser of `tools.jet_model`: Lion, a cosine rate, the epoch with the lowest held-out loss. It starts from a ratio of
1, which is kept if no epoch is better.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.arrays import sha256
from tools.contract import Frozen, ToolError
from tools.jet_model.batches import Batch, Source
from tools.jet_model.begin import begin
from tools.jet_model.inputs import read_file
from tools.jet_model.jets import Jets, concatenated
from tools.jet_model.model import JetModel, Size
from tools.jet_model.train import JetTraining, Objective, Outcome, fit
from tools.jet_model.weights import read
from tools.types import Floats
from tools.unfolding.classifier import Model, Rows, Weighted

KINDS = ("reference", "target")
WARM_RATE = 0.3  # fraction of the learning rate for a network that continues from an earlier iteration


class JetNetwork(Frozen):
    """OmniLearned's network, on the particles of a jet."""

    kind: Literal["jets"] = "jets"
    start: str | None = Field("tiny", description="pretrained weights: 'tiny' (shipped) or a file; null: from scratch")
    size: SkipJsonSchema[Size] = Field("tiny", description="size of the network, if trained from scratch")
    epochs: int = Field(8, ge=1, le=1000, description="epochs in the first iteration; later ones continue with half")
    batch: SkipJsonSchema[int] = Field(128, ge=1)
    learning_rate: float = Field(5e-4, gt=0, lt=1)
    patience: SkipJsonSchema[int] = Field(
        3, ge=1, description="epochs without improvement in validation before training stops"
    )
    max_particles: SkipJsonSchema[int] = Field(128, ge=2, description="hardest particles kept per jet")
    files: SkipJsonSchema[dict[str, str]] = Field(
        {}, description="files of jets and their SHA-256; unfolding.unfold uses EVENTS.particles.h5 for each input"
    )
    columns: ClassVar[int] = 1  # at the end of all arrays, not observables

    def on(self, paths: list[str]) -> JetNetwork:
        """Return the same method with the jets in these files; ToolError if one is missing."""
        for path in paths:
            if not Path(path).is_file():
                raise ToolError("classifier", path, "a file of the events' jets; there is no such file")
        return self.model_copy(update={"files": {path: sha256(Path(path)) for path in paths}})

    def fit(
        self, events: Weighted, splits: list[tuple[Rows, Rows]], seed: int, start: Model | None = None
    ) -> JetNetworks:
        """Return one network per split; `start`: networks to continue from. Same seed, same networks on a CPU."""
        jets = self.jets(events.x)
        before = start.models if isinstance(start, JetNetworks) else [None] * len(splits)
        seeds = np.random.SeedSequence(seed).generate_state(len(splits))
        done = [
            self._fit_one(events, jets, split, int(own), model)
            for split, own, model in zip(splits, seeds, before, strict=True)
        ]
        return JetNetworks(self, [model for model, _ in done], [fitted for _, fitted in done])

    def _fit_one(
        self, events: Weighted, jets: Jets, split: tuple[Rows, Rows], seed: int, before: JetModel | None
    ) -> tuple[JetModel, Outcome]:
        training = JetTraining(
            epochs=self.epochs, batch=self.batch, learning_rate=self.learning_rate, patience=self.patience
        )
        if before is not None:
            rate, epochs = WARM_RATE * self.learning_rate, max(1, self.epochs // 2)
            training = training.model_copy(update={"epochs": epochs, "learning_rate": rate})
            model = replace(before, net=copy.deepcopy(before.net))
            groups: list[dict[str, Any]] = [{"params": list(model.net.parameters()), "lr": rate}]
        else:
            checkpoint = read(Path(self.start)) if self.start else None
            begun = begin(KINDS, jets, training, seed, checkpoint, self.size)
            model, groups = begun.model, begun.groups
            _forget(model)
        source = Source(model, jets, device=str(next(model.net.parameters()).device))
        objective = _objective(model, events)
        return model, fit(model.net, groups, objective, source, *split, training, seed, keep_start=True)

    def jets(self, x: Floats) -> Jets:
        """Return the jets in the rows given by the last column of x (n, d)."""
        if not self.files:
            raise ToolError("classifier", "no files", "files of jets, whose rows the last column holds")
        table = _table(tuple(self.files.items()), self.max_particles)
        rows = x[:, -1].astype(np.int64)
        if len(wrong := np.flatnonzero((rows < 0) | (rows >= len(table)) | (rows != x[:, -1]))):
            value = float(x[wrong[0], -1])
            raise ToolError("classifier", value, f"event {wrong[0]}: a row of the files of jets, 0 to {len(table) - 1}")
        return table.take(rows).hardest(self.max_particles)


@dataclass(frozen=True)
class JetNetworks:
    """Trained networks, and the outcome of each training."""

    settings: JetNetwork
    models: list[JetModel]
    fitted: list[Outcome]

    def member(self, x: Floats, k: int) -> Floats:
        """Return the log ratio of member k (n,)."""
        return _log_ratio(self.models[k], self.settings.jets(x))

    def log_ratio(self, x: Floats) -> Floats:
        """Return the mean log ratio of the members (n,)."""
        jets = self.settings.jets(x)
        return np.asarray(np.mean([_log_ratio(model, jets) for model in self.models], axis=0))


def _objective(model: JetModel, events: Weighted) -> Objective:
    import torch

    device = next(model.net.parameters()).device
    weights = torch.as_tensor(np.stack([events.reference, events.target]).astype(np.float32), device=device)

    def losses(part: Batch) -> dict[str, Any]:
        z = _difference(model.logits(part.x))
        reference, target = weights[:, part.rows]
        softplus = torch.nn.functional.softplus(z)
        return {"ratio": reference * softplus + target * (softplus - z)}

    return losses


def _difference(logits: Any) -> Any:
    """Return the log ratios of target over reference (n,)."""
    return logits[:, 1].float() - logits[:, 0].float()


def _log_ratio(model: JetModel, jets: Jets) -> Floats:
    import torch

    model.net.eval()
    source = Source(model, jets, device=str(next(model.net.parameters()).device))
    found = np.empty(len(jets))
    with torch.no_grad():
        for part in source.parts(torch.arange(len(jets))):
            found[part.rows.numpy()] = _difference(model.logits(part.x)).double().cpu().numpy()
    return found


def _forget(model: JetModel) -> None:
    """Set the last layer to zero: a ratio of 1 everywhere."""
    import torch

    with torch.no_grad():
        for parameter in model.net.classifier.out.parameters():
            parameter.zero_()


@lru_cache(maxsize=1)
def _table(files: tuple[tuple[str, str], ...], max_particles: int) -> Jets:
    """Return the jets of all files; ToolError if one has changed since its SHA-256 was taken."""
    table: Jets | None = None
    for path, digest in files:
        if sha256(Path(path)) != digest:
            raise ToolError("classifier", path, f"a file with the SHA-256 {digest}; it has changed")
        jets = read_file(path, "classifier", max_particles)
        table = jets if table is None else concatenated(table, jets)
    assert table is not None
    return table
