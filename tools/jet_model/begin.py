"""Initialisation of a jet classifier from a pretrained network with another output, or from scratch.

As in OmniLearned (arXiv:2510.24066), all tensors of matching shapes are taken over except output layers, which are
initialised anew; the input layers and the output learn `new_layers` times faster than the rest. Unlike there, if every
kind corresponds to kinds of the pretraining, the output starts from theirs: such a tagger works without any label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tools.contract import ToolError
from tools.jet_model import ranks
from tools.jet_model.jets import Jets
from tools.jet_model.model import KINEMATICS, Architecture, JetModel, Scales, Size, build
from tools.jet_model.train import JetTraining
from tools.jet_model.weights import Checkpoint, Matched, take_over

Like = dict[str, list[str]]
OUTPUT_WEIGHT, OUTPUT_BIAS = "classifier.out.weight", "classifier.out.bias"


@dataclass(frozen=True)
class Begun:
    """An untrained classifier on its device, the optimiser's groups, and what was taken over from a checkpoint."""

    model: JetModel
    groups: list[dict[str, Any]]
    matched: Matched | None


def begin(
    kinds: tuple[str, ...],
    jets: Jets,
    training: JetTraining,
    seed: int,
    start: Checkpoint | None = None,
    size: Size = "tiny",
    new_layers: float = 1.0,
    like: Like | None = None,
) -> Begun:
    """Return a classifier of `kinds` for jets like these, from a checkpoint or from scratch.

    Raises ToolError as `take_over` does, and for a `like` that names other kinds or only some of those needed.
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
    from omnilearned.utils import get_param_groups  # imported here, because `build` says what to install

    groups = get_param_groups(
        model.net, training.weight_decay, training.learning_rate, new_layers, fine_tune=start is not None
    )
    return Begun(model, groups, matched)


def _begins(kinds: tuple[str, ...], start: Checkpoint | None, like: Like) -> Like:
    """Return the pretraining kinds that each kind starts from; empty if some kind has none."""
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
    """Set each kind's output to the mean of those it is like plus log of their number: log sum exp if they agree."""
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
    """Return the same body with a classifier of `kinds` that reads no more features than the jets have.

    The token of the conditions stays, although a classifier gets none: without it the body would be another function.
    """
    changed = {
        "particle_kinds": architecture.particle_kinds if features > KINEMATICS else 0,
        "vertex": architecture.vertex if features >= architecture.features else 0,
    }
    return architecture.model_copy(update={"kinds": kinds, "mode": "classifier", **changed})
