"""CATHODE's background template: the features' density given mjj, learned in the sidebands, drawn in the window.

Hallin et al., arXiv:2109.00546: p(x | mjj) is fitted outside the window only, and sampled at
mjj values drawn from a kernel density estimate of the window's own mjj spectrum.
"""

from __future__ import annotations

import sys

import numpy as np
from pydantic import Field

from tools.anomaly.closure import closure
from tools.anomaly.data import Floats, WindowRequest, load
from tools.anomaly.flow import FlowSettings, train_flow
from tools.arrays import ArrayRef, save_arrays
from tools.contract import Result, tool

HELD_OUT = 0.1  # of the sidebands, for the closure test
KDE_WIDTH = 0.01  # in logit(mjj scaled to the window), as published


class CathodeRequest(WindowRequest):
    """Learn the background in the sidebands and sample it into the signal region."""

    flow: FlowSettings = FlowSettings()
    oversample: float = Field(4.0, gt=0, le=20, description="template events per data event in the window")
    out: str = Field("template.parquet", description="file to write, relative to the working directory")


class TemplateResult(Result):
    """A background template for the window, and how well it closes in the sidebands."""

    template: ArrayRef
    closure_auc: float = Field(description="classifier of template against held-out sideband data; 0.5 is perfect")
    closure_auc_error: float
    n_window: int
    n_sidebands: int
    losses: list[tuple[float, float]] = Field(description="training and validation loss per epoch")
    device: str


@tool("anomaly.cathode_template")
def cathode_template(request: CathodeRequest) -> TemplateResult:
    """CATHODE background template: fit p(features | mjj) on the sidebands with a normalizing flow and
    sample it into the window. Use its file as `template` of anomaly.classify with the same window and features.
    """
    data = load(request)
    rng = np.random.default_rng(request.seed)
    outside = np.flatnonzero(~data.inside)
    rng.shuffle(outside)
    n_held = int(HELD_OUT * len(outside))
    held, used = outside[:n_held], outside[n_held:]

    def progress(epoch: int, training: float, validation: float) -> None:
        print(f"epoch {epoch}/{request.flow.epochs}: loss {training:.4f}, validation {validation:.4f}", file=sys.stderr)

    flow = train_flow(data.features[used], data.mjj[used], request.flow, request.seed, progress)
    auc, error = closure(flow.sample(data.mjj[held], request.seed + 1), data.features[held], request.seed)
    inside = data.mjj[data.inside]
    mjj = kde_sample(inside, *request.window, int(request.oversample * len(inside)), rng)
    drawn = flow.sample(mjj, request.seed + 2)
    columns = {"mjj": mjj} | {name: drawn[:, i] for i, name in enumerate(request.features)}
    return TemplateResult(
        template=save_arrays(request.out, columns, {"mjj": "TeV"}),
        closure_auc=auc,
        closure_auc_error=error,
        n_window=len(inside),
        n_sidebands=len(used),
        losses=flow.losses,
        device=flow.device,
    )


def kde_sample(mjj: Floats, low: float, high: float, n: int, rng: np.random.Generator) -> Floats:
    """`n` values from a Gaussian kernel density of `mjj`, taken in logit space so that none leaves (low, high)."""
    u = np.clip((mjj - low) / (high - low), 1e-6, 1 - 1e-6)
    z = rng.choice(np.log(u) - np.log1p(-u), n) + KDE_WIDTH * rng.standard_normal(n)
    return np.clip(low + (high - low) / (1 + np.exp(-z)), low, np.nextafter(high, low))
