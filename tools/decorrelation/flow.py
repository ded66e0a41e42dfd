"""Conditional flows as quantile transforms, one score at a time: p(s|m) is learned and mapped to what all events have.

A spline flow (`tools.anomaly.flow`) maps the normal score z of each score alone to a unit Gaussian, given the mass: in
one dimension that is z' = Phi^-1(F(z|m)), the map of Cnots by maximum likelihood (after Klein and Golling,
arXiv:2211.02486). Several scores keep the correlations that they have at each mass, which may change with it: only
`cnots` removes those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.anomaly.data import Sidebands
from tools.anomaly.flow import ConditionalFlow, SplineFlow
from tools.contract import Frozen, ToolError
from tools.decorrelation.coordinates import NormalScores
from tools.training import Progress
from tools.types import Floats


@dataclass
class Quantiles:
    """A learned map of scores (n, d) at protected values (n, 1): one flow for each score, and the range it saw."""

    flows: list[ConditionalFlow]
    scores: NormalScores
    low: Floats
    high: Floats
    masses: tuple[float, float]

    def __call__(self, scores: Floats, protected: Floats) -> Floats:
        """Return the moved scores (n, d). Beyond the range seen, scores are moved as far as its edge is."""
        z, mass = self.scores.forward(scores), np.clip(protected[:, 0], *self.masses)
        inside = np.clip(z, self.low, self.high)
        moved = [flow.latent(inside[:, [i]], mass)[:, 0] for i, flow in enumerate(self.flows)]
        return self.scores.inverse(np.column_stack(moved) + z - inside)


class Flow(Frozen):
    """A conditional flow for each score: the quantile transform at each mass."""

    kind: Literal["flow"] = "flow"
    flow: SkipJsonSchema[SplineFlow] = Field(
        SplineFlow(transforms=1, hidden=32, epochs=8, batch=1024, learning_rate=5e-3), description="settings"
    )

    def fit(self, scores: Floats, protected: Floats, seed: int, progress: Progress | None = None) -> Quantiles:
        """Learn from background-like events, scores (n, d) and protected (n, 1) > 0; same seed, same map. ToolError."""
        if protected.shape[1] != 1:
            raise ToolError("protected", protected.shape[1], "one column for flow; cnots takes several")
        if not protected.min() > 0:
            raise ToolError("protected", float(protected.min()), "values above 0 for flow; cnots takes any")
        normal = NormalScores.of(scores)
        z, mass = normal.forward(scores), protected[:, 0]
        nowhere = (float(mass.max()),) * 2
        flows = [self.flow.fit(Sidebands(column[:, None], mass, nowhere), seed, progress) for column in z.T]
        return Quantiles(flows, normal, z.min(axis=0), z.max(axis=0), (float(mass.min()), float(mass.max())))
