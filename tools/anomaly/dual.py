"""Classifier for a broken symmetry: one subnet sees only invariants, one everything else (PRD 111 (2025) 072002).

Where a detector breaks a symmetry, invariants alone leave something out, and a network of all variables needs many
events to learn what is invariant. Two subnets give latent vectors, u from the invariants i and v from the others x,

    log odds = head(a u(i) + b v(x)),    (a, b) = softmax(factor(s)),

with weights that a third network learns as a function of the variables s that break the symmetry, such as a pT on which
the resolution depends. Training is that of `mlp.py`. An expert's choice, which the schema leaves out: somebody has to
know the symmetry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.anomaly.mlp import Network, stack
from tools.contract import ToolError
from tools.types import Floats


class Dual(Network):
    """Two networks, one of which sees only invariants."""

    kind: Literal["dual"] = "dual"
    invariant: list[str] = Field(min_length=1, description="features that a symmetry leaves alone")
    breaking: list[str] = Field([], description="features that it depends on; default: all others")
    latent: SkipJsonSchema[int] = Field(16, ge=1, le=1024)

    def of(self, features: list[str]) -> DualOf:
        """Return the classifier of events with these features; ToolError for names that are not among them."""
        for field, names in (("invariant", self.invariant), ("breaking", self.breaking)):
            if unknown := [name for name in names if name not in features]:
                raise ToolError(f"classifier.dual.{field}", unknown, f"some of the features {', '.join(features)}")
        free = [j for j, name in enumerate(features) if name not in self.invariant]
        if not free:
            raise ToolError("classifier.dual.invariant", self.invariant, "not all of the features")
        invariant = [features.index(name) for name in self.invariant]
        return DualOf(self, invariant, free, [features.index(name) for name in self.breaking] or free)


@dataclass(frozen=True)
class DualOf:
    """Settings with the columns of the invariant features, of the others, and of those that break the symmetry."""

    settings: Dual
    invariant: list[int]
    free: list[int]
    breaking: list[int]

    def log_odds(
        self, x: Floats, y: NDArray[np.bool_], to_score: Floats, seed: int, weight: Floats | None = None
    ) -> Floats:
        """Train on x (n, d), y (data or template) with weights (n,); return the log-odds of `to_score` (m, d)."""
        return self.settings.trained(self.build, x, y, to_score, seed, weight)

    def build(self, dimensions: int) -> Any:
        """Return the untrained network, (n, d) -> (n, 1)."""
        import torch

        columns, hidden = (self.invariant, self.free, self.breaking), [self.settings.hidden] * self.settings.layers
        latent = self.settings.latent

        class Both(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                inputs = [len(part) for part in columns]
                self.invariant = stack([inputs[0], *hidden, latent])
                self.free = stack([inputs[1], *hidden, latent])
                self.factor = stack([inputs[2], latent, 2])
                self.head = stack([latent, latent, 1])

            def forward(self, x: Any) -> Any:
                seen, rest, breaking = (x[:, part] for part in columns)
                share = torch.softmax(self.factor(breaking), dim=1)
                both = share[:, :1] * self.invariant(seen) + share[:, 1:] * self.free(rest)
                return self.head(torch.relu(both))

        return Both()
