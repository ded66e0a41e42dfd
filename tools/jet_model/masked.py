"""Masked particle modelling (arXiv:2401.13537): predict hidden particles of a jet from the others.

The body sees a fixed vector, which lies outside of jets, in place of a hidden particle. The head, and only the head, is
given its rank in pt and predicts which of a set of standard particles it was. These are the centres of k-means over
(delta eta, delta phi, log pt), as good as learned tokens (arXiv:2409.12589) and quicker. No labels are needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tools.jet_model.batches import Batch, mask_of
from tools.jet_model.jets import LOG_E, LOG_PT, Jets
from tools.jet_model.model import KINEMATICS, JetModel

SHARE = 0.3  # fraction of a jet's particles that is hidden
STANDARD = 128  # standard particles
RANKS = 64  # distinct ranks in pt
OUTSIDE = 2.0  # delta eta and delta phi of hidden particles, so that they are neighbours of each other only
SAMPLE = 50_000  # particles for k-means
TOKENISED = LOG_E  # the features before log E, which follows from log pt and delta eta


@dataclass
class MaskedParticles:
    """The standard particles, the vector that replaces hidden ones, and the head, which is trained with the network."""

    vector: Any  # (4,)
    scale: Any  # (3,) standard deviations of the features
    centres: Any  # (STANDARD, 3), in those units
    head: Any

    def tokens(self, x: Any) -> Any:
        """Return the index of the nearest standard particle of each particle (n, m)."""
        import torch

        distance = torch.cdist(x[:, :, :TOKENISED].reshape(-1, TOKENISED) / self.scale, self.centres)
        return distance.argmin(dim=1).reshape(x.shape[:2])

    def loss(self, model: JetModel, part: Batch) -> Any:
        """Return the mean cross-entropy over each jet's hidden particles (n,): at least one, but not all of several."""
        import torch

        mask = mask_of(part.x)[:, :, 0]
        n = mask.sum(dim=1)
        hidden_count = (SHARE * n).round().long().clamp(min=1)
        order = torch.rand(mask.shape, device=mask.device).masked_fill(~mask, 2.0).argsort(dim=1).argsort(dim=1)
        hidden = order < hidden_count[:, None]
        found = self.predict(model, part.x, hidden)
        entropy = torch.nn.functional.cross_entropy(
            found.transpose(1, 2).float(), self.tokens(part.x), reduction="none"
        )
        return (entropy * hidden).sum(dim=1) / hidden_count

    def predict(self, model: JetModel, x: Any, hidden: Any) -> Any:
        """Return logits (n, m, STANDARD), which depend on nothing about the hidden particles but their ranks."""
        import torch

        vector = torch.nn.functional.pad(self.vector, (0, x.shape[2] - KINEMATICS))
        body = model.particles(model.body(torch.where(hidden[:, :, None], vector, x)))
        rank = torch.arange(x.shape[1], device=x.device).clamp(max=RANKS - 1)
        return self.head["out"](torch.nn.functional.gelu(self.head["enter"](body) + self.head["rank"](rank)))


def masked_particles(model: JetModel, jets: Jets, seed: int, device: str = "cpu") -> MaskedParticles:
    """Return the standard particles of these jets and an untrained head; the same seed gives the same result."""
    import torch
    from sklearn.cluster import MiniBatchKMeans
    from torch import nn

    particles = jets.particles[jets.mask]
    chosen = np.random.default_rng(seed).permutation(len(particles))[:SAMPLE]
    sample = particles[chosen].astype(np.float64)
    scale = sample[:, :TOKENISED].std(axis=0)
    scale[scale == 0] = 1.0
    found = MiniBatchKMeans(min(STANDARD, len(sample)), n_init=1, random_state=seed).fit(sample[:, :TOKENISED] / scale)
    dim = model.architecture.dim
    hidden = [OUTSIDE, OUTSIDE, sample[:, LOG_PT].mean(), sample[:, LOG_E].mean()]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = {
            "enter": nn.Linear(dim, 2 * dim),
            "rank": nn.Embedding(RANKS, 2 * dim),
            "out": nn.Linear(2 * dim, len(found.cluster_centers_)),
        }
    vector, scale, centres = (
        torch.as_tensor(np.asarray(values), dtype=torch.float32, device=device)
        for values in (hidden, scale, found.cluster_centers_)
    )
    return MaskedParticles(vector, scale, centres, nn.ModuleDict(parts).to(device))
