"""Jets as vectors: what the body of the network makes of them, for small models on top, or for a look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tools.arrays import ArrayRef, save_arrays
from tools.contract import Result, tool
from tools.jet_model import ranks
from tools.jet_model.batches import Source, mask_of
from tools.jet_model.inputs import JetsRequest
from tools.jet_model.jets import Jets
from tools.jet_model.model import JetModel
from tools.jet_model.weights import load


class EmbedRequest(JetsRequest):
    """Embed jets."""

    checkpoint: str = Field(description="weights of a jet model, ours or official; tiny: those that come along")
    out: str = Field("embedding.parquet", description="file to write, relative to the working directory")


class EmbedResult(Result):
    """Columns e0, e1, ...; row order of the jets."""

    embedding: ArrayRef


@tool("jet_model.embed")
def embed(request: EmbedRequest) -> EmbedResult:
    """Turn jets into vectors with the body of a jet model; a linear classifier on them needs few labels."""
    found = embedding(load(Path(request.checkpoint)), request.read())
    columns = {f"e{number}": found[:, number] for number in range(found.shape[1])}
    return EmbedResult(embedding=save_arrays(request.out, columns))


def embedding(model: JetModel, jets: Jets) -> NDArray[np.float32]:
    """(n, (tokens + 1) dim): the body's tokens, and the mean of its particles."""
    import torch

    device = ranks.device()
    model.net.to(device).eval()
    source = Source(model, jets, device=device)
    a = model.architecture
    done = np.empty((len(jets), (a.tokens + 1) * a.dim), dtype=np.float32)
    with torch.no_grad():
        for part in source.parts(torch.arange(len(source))):
            body = model.body(part.x)
            mask = mask_of(part.x)
            mean = (model.particles(body) * mask).sum(dim=1) / mask.sum(dim=1)
            done[part.rows.numpy()] = torch.cat([body[:, : a.tokens].flatten(1), mean], dim=1).cpu().numpy()
    return done
