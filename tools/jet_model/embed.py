"""Embedding of jets: vectors from inside the network, for small models on top or for inspection.

The input of the classifier's last layer separates kinds better than the body: trained on 500 labelled tops, quarks and
gluons, a linear probe of the shipped weights reaches an AUC of 0.973 there, and 0.952 on the body (`benchmarks`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from tools.arrays import ArrayRef, save_arrays
from tools.contract import Result, ToolError, tool
from tools.jet_model import ranks
from tools.jet_model.batches import Batch, Source, mask_of
from tools.jet_model.inputs import JetsRequest
from tools.jet_model.jets import Jets
from tools.jet_model.model import JetModel
from tools.jet_model.weights import load
from tools.types import Floats32


class EmbedRequest(JetsRequest):
    """Embed jets as vectors."""

    checkpoint: str = Field(description="weights of a jet model, ours or official, or 'tiny' (shipped)")
    layer: Literal["head", "body"] = Field(
        "head", description="head: input of the classifier's last layer; body: in any weights, shared by all heads"
    )
    out: str = Field("embedding.parquet", description="file to write, relative to the working directory")


class EmbedResult(Result):
    """File with columns e0, e1, ..., in the order of the jets."""

    embedding: ArrayRef


@tool("jet_model.embed")
def embed(request: EmbedRequest) -> EmbedResult:
    """Turn jets into vectors with a jet model; a linear classifier on them needs few labels."""
    model, jets = load(Path(request.checkpoint)), request.read()
    if request.layer == "head" and model.net.classifier is None:
        raise ToolError("layer", request.layer, "body; these weights have no classifier")
    found = (last_hidden if request.layer == "head" else embedding)(model, jets)
    columns = {f"e{number}": found[:, number] for number in range(found.shape[1])}
    return EmbedResult(embedding=save_arrays(request.out, columns))


def embedding(model: JetModel, jets: Jets) -> Floats32:
    """Return the body's tokens and the mean of its particles (n, (tokens + 1) dim)."""
    import torch

    def made(part: Batch) -> Any:
        body = model.body(part.x)
        mask = mask_of(part.x)
        mean = (model.particles(body) * mask).sum(dim=1) / mask.sum(dim=1)
        return torch.cat([body[:, : model.architecture.tokens].flatten(1), mean], dim=1)

    return _of_all(model, jets, made)


def last_hidden(model: JetModel, jets: Jets) -> Floats32:
    """Return the input of the classifier's last layer (n, width)."""
    import torch

    bare = replace(model, net=copy.deepcopy(model.net))
    bare.net.classifier.out = torch.nn.Identity()
    return _of_all(bare, jets, lambda part: bare.logits(part.x))


def _of_all(model: JetModel, jets: Jets, made: Callable[[Batch], Any]) -> Floats32:
    """Apply a function to each part; return the results in the order of the jets."""
    import torch

    device = ranks.device()
    model.net.to(device).eval()
    source = Source(model, jets, device=device)
    with torch.no_grad():
        found = [(part.rows, made(part).float().cpu()) for part in source.parts(torch.arange(len(source)))]
    rows, values = (torch.cat(parts) for parts in zip(*found, strict=True))
    return np.asarray(values[torch.argsort(rows)].numpy())
