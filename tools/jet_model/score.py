"""Probabilities of jet kinds from a trained classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tools.arrays import ArrayRef, save_arrays
from tools.contract import Result, ToolError, tool
from tools.jet_model import ranks
from tools.jet_model.batches import Source, labels_for
from tools.jet_model.inputs import JetsRequest, Separation, separation
from tools.jet_model.jets import Jets
from tools.jet_model.model import JetModel
from tools.jet_model.weights import load

LEAST = 1e-12  # lower bound on probabilities, so that logarithms stay finite


class ScoreRequest(JetsRequest):
    """Classify jets."""

    checkpoint: str = Field(
        description="weights written by jet_model.finetune or jet_model.pretrain, or 'tiny' (shipped)"
    )
    signal: str | None = Field(None, description="kind whose log odds are the score; default: the last")
    against: list[str] = Field([], description="kinds to tell the signal from; default: all others")
    out: str = Field("scores.parquet", description="file to write, relative to the working directory")


class ScoreResult(Result):
    """File with columns score (log odds of the signal) and p_KIND (probability of each kind), in the jets' order."""

    scores: ArrayRef
    kinds: list[str]
    separation: Separation | None = Field(
        description="separation of the kinds, if the jets are labelled with the model's kinds"
    )


@tool("jet_model.score")
def score(request: ScoreRequest) -> ScoreResult:
    """Score jets with a trained jet model: log odds of one kind, against all or some others, and all probabilities."""
    model = load(Path(request.checkpoint))
    kinds = model.architecture.kinds
    signal = request.signal or kinds[-1]
    if signal not in kinds:
        raise ToolError("signal", signal, f"the model knows {', '.join(kinds)}")
    others = [kind for kind in kinds if kind != signal]
    against = request.against or others
    if not set(against) <= set(others):
        raise ToolError("against", against, f"some of {', '.join(others)}")
    jets = request.read()
    p = probabilities(model, jets)
    columns = {"score": log_odds(p, kinds, signal, against)}
    columns |= {f"p_{kind}": p[:, number] for number, kind in enumerate(kinds)}
    labelled = jets.pid is not None and set(jets.kinds) <= set(kinds) and len(jets.kinds) > 0
    return ScoreResult(
        scores=save_arrays(request.out, columns),
        kinds=list(kinds),
        separation=separation(p, labels_for(kinds, jets), kinds) if labelled else None,
    )


def log_odds(p: NDArray[np.float64], kinds: Sequence[str], signal: str, against: Sequence[str]) -> NDArray[np.float64]:
    """Return log p(signal) - log of the sum of p(against) (n,), for probabilities p (n, kinds)."""
    of_signal, of_others = (
        np.maximum(p[:, [kind in chosen for kind in kinds]].sum(axis=1), LEAST) for chosen in ((signal,), against)
    )
    return np.asarray(np.log(of_signal) - np.log(of_others))


def probabilities(model: JetModel, jets: Jets) -> NDArray[np.float64]:
    """Return probabilities (n, kinds); ToolError for a model without a classifier, or jets with too few features."""
    import torch

    if model.net.classifier is None:
        raise ToolError("checkpoint", model.architecture.mode, "a model with a classifier; this one only generates")
    device = ranks.device()
    model.net.to(device).eval()
    source = Source(model, jets, device=device)
    done = np.empty((len(jets), len(model.architecture.kinds)))
    with torch.no_grad():
        for part in source.parts(torch.arange(len(source))):
            done[part.rows.numpy()] = model.logits(part.x).double().softmax(dim=1).cpu().numpy()
    return done
