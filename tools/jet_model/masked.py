"""Masked particle modelling (arXiv:2401.13537): hide some particles of a jet, and ask the others what they were.

Of a hidden particle the body sees a fixed vector that lies outside of jets; the head, and only the head, is told
its rank in pt, and says which of some standard particles it was. These are the centres of k-means over (delta eta,
delta phi, log pt), as good as learned tokens (arXiv:2409.12589) and quicker. No labels are needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tools.jet_model.batches import Batch, mask_of
from tools.jet_model.jets import LOG_E, LOG_PT, Jets
from tools.jet_model.model import KINEMATICS, JetModel

SHARE = 0.3  # of a jet's particles, hidden
STANDARD = 128  # particles to choose from
RANKS = 64  # in pt that are told apart
OUTSIDE = 2.0  # delta eta and delta phi of the hidden ones: they are only each other's neighbours
SAMPLE = 50_000  # particles for k-means
TOKENISED = LOG_E  # the features before log E, which follows from log pt and delta eta


@dataclass
class MaskedParticles:
    """The standard particles, what hidden ones are replaced by, and the head, whose parameters are trained along."""

    vector: Any  # (4,)
    scale: Any  # (3,) standard deviations of the features
    centres: Any  # (STANDARD, 3), in those units
    head: Any

    def tokens(self, x: Any) -> Any:
        """Return the nearest standard particle of each (n, m)."""
        import torch

        distance = torch.cdist(x[:, :, :TOKENISED].reshape(-1, TOKENISED) / self.scale, self.centres)
        return distance.argmin(dim=1).reshape(x.shape[:2])

    def loss(self, model: JetModel, part: Batch) -> Any:
        """Return the mean cross-entropy over a jet's hidden particles, at least one, but never all of several (n,)."""
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
        """(n, m, STANDARD) logits, from which nothing of the hidden particles but their ranks can be read."""
        import torch

        vector = torch.nn.functional.pad(self.vector, (0, x.shape[2] - KINEMATICS))
        body = model.particles(model.body(torch.where(hidden[:, :, None], vector, x)))
        rank = torch.arange(x.shape[1], device=x.device).clamp(max=RANKS - 1)
        return self.head["out"](torch.nn.functional.gelu(self.head["enter"](body) + self.head["rank"](rank)))


def masked_particles(model: JetModel, jets: Jets, seed: int, device: str = "cpu") -> MaskedParticles:
    """Standard particles of these jets, and an untrained head; same seed, same ones."""
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
