"""p(features | mjj) from a diffusion model that starts from noise or noised sideband events: DRAPES (arXiv:2312.10009).

The network is a denoiser D(x; s, m), preconditioned for unit variance (Karras et al., arXiv:2206.00364, table 1):

    D = x / (s^2 + 1) + s / sqrt(s^2 + 1) F(x / sqrt(s^2 + 1); log(s)/4, m),   loss = E |F - target|^2,

and dx/ds = (x - D) / s is integrated from pure noise to s = 0. With `partial`, that much noise is added to neighbouring
sideband events instead, and removed again as if they had the window's mass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from tools.anomaly.conditional import Fitted, fit_conditional
from tools.anomaly.data import Sidebands
from tools.anomaly.sideband import cycle, neighbours
from tools.field import FieldTraining, midpoint
from tools.training import Progress, to_tensor
from tools.types import Floats

LARGEST, SMALLEST = 10.0, 0.01  # noise levels, in standard deviations of the features
CURVATURE = 7  # the steps are evenly spaced in s^(1/7)


class Diffusion(FieldTraining):
    """DRAPES: denoising diffusion from noise or, with `partial`, from neighbouring sideband events."""

    kind: Literal["diffusion"] = "diffusion"
    partial: float | None = Field(
        None,
        gt=SMALLEST,
        le=LARGEST,
        description="noise added to sideband events, in std of features; null: pure noise",
    )
    width: float = Field(1.0, gt=0, description="width of the sidebands that partial diffusion starts from, in windows")

    def fit(self, sidebands: Sidebands, seed: int, progress: Progress | None = None) -> Denoiser:
        """Train the denoiser; on a CPU the same seed gives the same one.

        Raises ToolError when training diverges or the bands are empty.
        """
        import torch

        def loss(model: Any, x: Any, c: Any) -> Any:
            s = torch.exp(1.2 * torch.randn_like(c) - 1.2)  # the published distribution of noise levels
            noisy, root = x + s * torch.randn_like(x), torch.sqrt(s**2 + 1)
            return (model(noisy / root, torch.log(s) / 4, c) - (x - noisy / root**2) * root / s).square().mean(dim=1)

        rows = None if self.partial is None else neighbours(sidebands, self.width)
        fitted = fit_conditional(self.build, loss, sidebands, self, seed, progress)
        source = None if rows is None else fitted.coordinates.forward(sidebands.features[rows], sidebands.mjj[rows])
        return Denoiser(**vars(fitted), start=self.partial or LARGEST, source=source, steps=self.steps)


@dataclass
class Denoiser(Fitted):
    """A trained denoiser, and the standardised sideband events that it starts from, if any."""

    start: float
    source: Floats | None
    steps: int

    def sample(self, mjj: Floats, seed: int) -> Floats:
        """Return one event per entry of `mjj`: (n, d) features within the range seen in training."""
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal((len(mjj), len(self.coordinates.scaler.low)))
        if self.source is None:
            x = np.sqrt(self.start**2 + 1) * noise
        else:
            x = self.source[cycle(len(self.source), len(mjj), rng)] + self.start * noise
        widths = np.linspace(self.start ** (1 / CURVATURE), SMALLEST ** (1 / CURVATURE), self.steps) ** CURVATURE
        c = self.coordinates.context(mjj, self.device)
        x = midpoint(self.slope, to_tensor(x, self.device), c, np.append(widths, 0.0))
        return self.coordinates.inverse(x, mjj)

    def slope(self, x: Any, s: Any, c: Any) -> Any:
        """Return dx/ds = (x - D(x; s, m)) / s."""
        import torch

        root = torch.sqrt(s**2 + 1)
        return x * s / root**2 - self.model(x / root, torch.log(s) / 4, c) / root
