"""p(features | mjj) from conditional flow matching, after SIGMA (arXiv:2410.20537).

The network learns the velocity of a straight path from noise to data (Lipman et al., arXiv:2210.02747):

    x_t = (1 - t) x_0 + t x_1,   x_0 ~ N(0, 1),   loss = E |v(x_t, t, m) - (x_1 - x_0)|^2,

and an event is drawn by integrating dx/dt = v from t = 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tools.anomaly.conditional import Fitted, fit_conditional
from tools.anomaly.data import Sidebands
from tools.field import FieldTraining, midpoint, straight_losses
from tools.training import Progress, to_tensor
from tools.types import Floats


class FlowMatching(FieldTraining):
    """SIGMA: conditional flow matching."""

    kind: Literal["flow_matching"] = "flow_matching"

    def fit(self, sidebands: Sidebands, seed: int, progress: Progress | None = None) -> VelocityField:
        """Train the velocity field; on a CPU the same seed gives the same one. ToolError when training diverges."""

        def loss(model: Any, x: Any, c: Any) -> Any:
            return straight_losses(model, x, c).mean(dim=1)

        fitted = fit_conditional(self.build, loss, sidebands, self, seed, progress)
        return VelocityField(**vars(fitted), steps=self.steps)


@dataclass
class VelocityField(Fitted):
    """A trained velocity field: events are the end points of its streamlines."""

    steps: int

    def sample(self, mjj: Floats, seed: int) -> Floats:
        """Return one event per entry of `mjj`: (n, d) features within the range seen in training."""
        noise = np.random.default_rng(seed).standard_normal((len(mjj), len(self.coordinates.scaler.low)))
        c = self.coordinates.context(mjj, self.device)
        x = midpoint(self.model, to_tensor(noise, self.device), c, np.linspace(0, 1, self.steps + 1))
        return self.coordinates.inverse(x, mjj)
