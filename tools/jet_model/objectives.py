"""The training objective: a mix of OmniLearned's losses (arXiv:2510.24066) and masked particle modelling.

classify    cross-entropy of the jet's kind, with kinds weighted to equal sums
generate    flow matching: z = (1 - t) x + t e with noise e; the network learns dz/dt = e - x at (z, t). t is uniform,
            or smaller with `time_power`: the core of a jet is ten times narrower than the noise in its angles
perturbed   cross-entropy of the kind given z, weighted by (1 - t)^2
masked      cross-entropy of the standard particle nearest to each hidden particle (`masked.py`)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from tools.contract import Frozen
from tools.jet_model.batches import Batch, mask_of
from tools.jet_model.masked import MaskedParticles
from tools.jet_model.model import KINEMATICS, JetModel, Scales
from tools.jet_model.train import Objective


class Mix(Frozen):
    """Weight of each loss; 0 leaves it out. The package's own pretraining uses 1, 1, 1, 0."""

    classify: float = Field(1.0, ge=0)
    generate: float = Field(1.0, ge=0)
    perturbed: float = Field(0.0, ge=0)
    masked: float = Field(0.0, ge=0)
    time_power: float = Field(
        1.0,
        ge=1,
        le=4,
        description="times are u^power with u uniform: above 1, more times near 0, where fine structure forms",
    )

    @model_validator(mode="after")
    def _something(self) -> Mix:
        if not self.labelled and not self.generate and not self.masked:
            raise ValueError("at least one loss must have a weight")
        return self

    @property
    def labelled(self) -> bool:
        """Return whether jets need labels."""
        return self.classify > 0 or self.perturbed > 0

    @property
    def noisy(self) -> bool:
        """Return whether the network sees perturbed jets."""
        return self.generate > 0 or self.perturbed > 0


def class_weights(labels: NDArray[np.int64], kinds: int) -> NDArray[np.float32]:
    """Return weights (kinds,) inversely proportional to each kind's frequency, with mean 1 over the jets; 0 for absent
    kinds.
    """
    counts = np.bincount(labels, minlength=kinds)
    there = counts > 0
    weights = np.where(there, len(labels) / (there.sum() * np.maximum(counts, 1)), 0.0)
    return weights.astype(np.float32)


def mixed(model: JetModel, mix: Mix, weights: NDArray[np.float32], masked: MaskedParticles | None = None) -> Objective:
    """Return the objective that gives the weighted losses of a part; `weights` of the kinds as from `class_weights`."""

    def losses(part: Batch) -> dict[str, Any]:
        terms: dict[str, Any] = {}
        if mix.classify:
            terms["classify"] = mix.classify * cross_entropy(model.logits(part.x), part.y, weights)
        if mix.noisy:
            z, t, velocity = perturb(part.x, model.scales, mix.time_power)
            body = model.body(z, t, part.c)
            if mix.generate:
                found = model.net.generator(body, part.y)
                terms["generate"] = mix.generate * flow_matching(found, velocity, mask_of(part.x), model.scales)
            if mix.perturbed:
                entropy = cross_entropy(model.net.classifier(body), part.y, weights)
                terms["perturbed"] = mix.perturbed * (1 - t).square() * entropy
        if masked is not None and mix.masked:
            terms["masked"] = mix.masked * masked.loss(model, part)
        return terms

    return losses


def cross_entropy(logits: Any, y: Any, weights: NDArray[np.float32]) -> Any:
    """Return -w_y log softmax(logits)_y (n,)."""
    import torch

    w = torch.as_tensor(weights, device=logits.device)
    return w[y] * torch.nn.functional.cross_entropy(logits.float(), y, reduction="none")


def noise(x: Any, scales: Scales) -> Any:
    """Draw particles (n, m, 4) from the Gaussian that generation starts from, in the filled slots of x (n, m, F)."""
    import torch

    kinematics = x[:, :, :KINEMATICS]
    mean, std = (torch.tensor(s, device=x.device, dtype=x.dtype) for s in (scales.mean, scales.std))
    return (mean + std * torch.randn_like(kinematics)) * mask_of(x)


def perturb(x: Any, scales: Scales, power: float = 1.0) -> tuple[Any, Any, Any]:
    """Return z (n, m, F), its random times t = u^power (n,) and dz/dt (n, m, 4); other features are unchanged."""
    import torch

    t = torch.rand(len(x), device=x.device) ** power
    kinematics, e = x[:, :, :KINEMATICS], noise(x, scales)
    z = (1 - t[:, None, None]) * kinematics + t[:, None, None] * e
    return torch.cat([z, x[:, :, KINEMATICS:]], 2), t, e - kinematics


def flow_matching(found: Any, velocity: Any, mask: Any, scales: Scales) -> Any:
    """Return the squared error in units of the noise's variance, averaged over particles and features (n,).

    The package sums raw features, where the angles, with a fifth of the others' spread, would hardly count.
    """
    import torch

    std = torch.tensor(scales.std, device=found.device, dtype=found.dtype)
    errors = ((found - velocity) / std).square().mean(dim=2) * mask[:, :, 0]
    return errors.sum(dim=1) / mask.sum(dim=(1, 2))
