"""The pretrained weights as they are: their scores need no label, so what a crew makes with labels must beat them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from tasks.tagging.samples import load
from tools.contract import ToolError
from tools.jet_model.score import log_odds, probabilities
from tools.jet_model.weights import load as load_model
from tools.jet_model.weights import located
from tools.types import Floats

QCD = ("qcd", "quark", "gluon")  # names that pretrained weights may have for the background


def against(known: Sequence[str], signal: str) -> list[str]:
    """Return the kinds of background that weights know; none if they do not know the signal."""
    return [kind for kind in QCD if kind in known] if signal in known else []


@lru_cache(maxsize=1)
def zero_shot(weights: Path, data: Path | None, labels: int, seed: int) -> Floats | None:
    """Return the log odds of a top for the graded jets of a split, by weights that saw none of its labels.

    None if the weights do not know these kinds, or without the jet model's libraries: there is nothing to compare with.
    """
    jets, _ = load(data, labels, seed).graded()
    signal = jets.kinds[-1]
    try:
        model = load_model(located(weights))
        kinds = model.architecture.kinds
        others = against(kinds, signal)
        return log_odds(probabilities(model, jets), kinds, signal, others) if others else None
    except (ToolError, ImportError):
        return None
