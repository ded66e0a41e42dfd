"""Background template for the signal region, by any of the methods, and its closure test.

All methods share one interface: `fit(sidebands, seed, progress)` returns an object with `sample(mjj, seed)`. The mjj to
sample at are drawn from a kernel density estimate of the window's own spectrum (CATHODE, arXiv:2109.00546).
"""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from tools.anomaly.closure import Place, closure, held_out
from tools.anomaly.data import Sidebands, Windowed, WindowRequest, load, units
from tools.anomaly.diffusion import Diffusion
from tools.anomaly.flow import MaskedFlow, SplineFlow
from tools.anomaly.flow_matching import FlowMatching
from tools.anomaly.morphing import Morphing
from tools.anomaly.selection import ARGOS_MIN_TEMPLATE
from tools.anomaly.sideband import Sideband
from tools.arrays import ArrayRef, save_arrays
from tools.contract import Result, ToolError, named, tool
from tools.events.weights import countable, of_rows
from tools.parallel import cores, pool
from tools.training import Losses, Progress, device
from tools.types import Floats

SURE = 2.0  # errors from 0.5 beyond which closure counts as failed
KDE_WIDTH = 0.01  # of the kernel in logit(mjj scaled to the window), as published


class Template(Protocol):
    """A fitted background that samples one event (a row of features) per mjj, with its training losses."""

    losses: Losses
    device: str

    def sample(self, mjj: Floats, seed: int) -> Floats: ...


class Method(Protocol):
    """Settings that can be fitted."""

    def fit(self, sidebands: Sidebands, seed: int, progress: Progress | None = None) -> Template: ...


Methods = SplineFlow | MaskedFlow | FlowMatching | Diffusion | Morphing | Sideband


class TemplateRequest(WindowRequest):
    """Learn the background in the sidebands and sample it into the signal region."""

    method: Annotated[
        Annotated[Methods, Field(discriminator="kind")],
        BeforeValidator(named),
        # The default in the schema is just the kind: the schema lists its settings anyway.
        Field(
            description="a kind, e.g. 'spline_flow', alone or with settings",
            json_schema_extra={"default": "spline_flow"},
        ),
    ] = SplineFlow()
    fits: int = Field(
        1,
        ge=1,
        le=20,
        description="networks with different seeds, mixed: 1 to survey, 3 for results, because one may miss a tail",
    )
    oversample: float = Field(4.0, gt=0, le=20, description="template events per data event in the window")
    closure: Place = Field(
        "window",
        description="test on a 'window' left out of a second fit, or on held-out 'events'",
    )
    out: str = Field("template.parquet", description="file to write, relative to the working directory")
    out_control: str | None = Field(None, description="control file to write; default: name of `out` plus _control")


class TemplateResult(Result):
    """Background template for the window, and its closure test in the sidebands."""

    template: ArrayRef
    control: ArrayRef = Field(
        description="template events for held-out sideband data: give it to anomaly.classify as `control`"
    )
    closure_auc: float = Field(
        description="AUC of a classifier of template against held-out sideband data; 0.5 is perfect"
    )
    closure_auc_error: float
    advice: str | None = Field(None, description="what to do about a closure that fails; null: it does not")
    closure_window: tuple[float, float] | None = Field(
        description="held-out window; null: events were held out at all masses"
    )
    n_window: int
    n_sidebands: int
    losses: Losses = Field(description="training and validation loss per epoch")
    device: str


@tool("anomaly.template")
def template(request: TemplateRequest) -> TemplateResult:
    """Background template: learn p(features | mass) in the sidebands and sample it in the window. The default,
    a spline flow, is CATHODE; 'sideband' (CWoLa) is instant but biased if features change with the mass.
    Use its file as `template` of anomaly.classify with the same window and features.
    """
    out_control = request.out_control or f"{request.out.removesuffix('.parquet')}_control.parquet"
    if out_control == request.out:
        raise ToolError("out_control", out_control, "a file other than `out`")
    data = load(request)
    method = request.method if request.fits == 1 else Mixed(request.method, request.fits)
    mjj = window_masses(data, request.oversample, request.seed)
    learned = learn(method, data, request.closure, request.seed, request.oversample)
    return sampled(request, data, mjj, learned, out_control)


def sampled(
    request: TemplateRequest, data: Windowed, mjj: Floats, learned: Learned, out_control: str
) -> TemplateResult:
    """Sample a fitted template at `mjj`, and write it and its control events."""
    made = learned.template.sample(mjj, request.seed + 2)
    columns = {data.column: mjj} | {name: made[:, i] for i, name in enumerate(request.features)}
    control = {"row": learned.rows.astype(np.float64), data.column: data.mjj[learned.rows]}
    control |= {name: learned.control[:, i] for i, name in enumerate(request.features)}
    return TemplateResult(
        template=save_arrays(request.out, columns, units(data.column)),
        control=save_arrays(out_control, control, units(data.column)),
        closure_auc=learned.auc,
        closure_auc_error=learned.auc_error,
        advice=advice(learned.auc, learned.auc_error),
        closure_window=learned.window,
        n_window=int(data.inside.sum()),
        n_sidebands=learned.n_sidebands,
        losses=learned.template.losses,
        device=learned.template.device,
    )


def advice(auc: float, error: float) -> str | None:
    """Return what to do about a closure AUC that is more than SURE errors from 0.5; None if it is not."""
    if abs(auc - 0.5) <= SURE * error:
        return None
    return (
        f"Closure fails by {abs(auc - 0.5) / error:.1f} errors: template and sideband data can be told apart. Mix "
        "three fits, try the other method or fewer features, and let the classifier test its own score with `control`: "
        "what counts is whether that score closes."
    )


@dataclass(frozen=True)
class Mixed:
    """Several fits of one method with different seeds, sampled in turn, which dilutes the error of any one of them."""

    method: Method
    fits: int

    def fit(self, sidebands: Sidebands, seed: int, progress: Progress | None = None) -> Mixture:
        """Fit with the seeds seed, seed + 1000, ..., side by side; on a GPU one after the other."""
        seeds = [seed + 1000 * i for i in range(self.fits)]
        if device() == "cuda":
            return Mixture([self.method.fit(sidebands, each, progress) for each in seeds])
        fit = partial(_pickled_fit, self.method, sidebands, progress=progress)
        with pool(min(cores(), self.fits), __name__) as processes:
            return Mixture([pickle.loads(made) for made in processes.map(fit, seeds)])


def _pickled_fit(method: Method, sidebands: Sidebands, seed: int, progress: Progress | None) -> bytes:
    """Return a fit as bytes: between processes, torch would pass tensors as open files."""
    return pickle.dumps(method.fit(sidebands, seed, progress))


class Mixture:
    """Equal mixture of templates; `losses` are those of all fits, one after the other."""

    def __init__(self, parts: list[Template]) -> None:
        self.parts = parts
        self.losses = [loss for part in parts for loss in part.losses]
        self.device = parts[0].device

    def sample(self, mjj: Floats, seed: int) -> Floats:
        """Return one event per entry of `mjj`, from each part in turn."""
        drawn = [part.sample(mjj[i :: len(self.parts)], seed + 1000 * i) for i, part in enumerate(self.parts)]
        out = np.empty((len(mjj), drawn[0].shape[1]))
        for i, values in enumerate(drawn):
            out[i :: len(self.parts)] = values
        return out


@dataclass(frozen=True)
class Learned:
    """A fitted template and its closure test; `control` (n, d) are template events for the held-out events `rows` (n,),
    possibly several for each.
    """

    template: Any
    n_sidebands: int
    auc: float
    auc_error: float
    window: tuple[float, float] | None
    control: Floats
    rows: NDArray[np.int64]


def learn(method: Method, data: Windowed, place: Place, seed: int, oversample: float = 1.0) -> Learned:
    """Fit to the sidebands, and test closure on events held out of the same fit or on a window left out of a second."""
    held, window = held_out(data, place, np.random.default_rng(seed))
    held, outside = held & data.once, ~data.inside & data.once
    fitted = method.fit(data.sidebands(outside if window else outside & ~held), seed, _report)
    # The second fit gets the control window, so that methods that use bands take those beside it.
    control = method.fit(data.sidebands(outside & ~held, window), seed, _report) if window else fitted
    own = np.flatnonzero(held)
    times = max(1, round(oversample))
    rows = np.concatenate([countable(own, data.weight, seed + k) for k in range(times)])
    made = control.sample(data.mjj[rows], seed + 1)
    auc, error = closure(made[: len(rows) // times], data.features[held], seed, of_rows(data.weight, held))
    return Learned(fitted, int((outside if window else outside & ~held).sum()), auc, error, window, made, rows)


def window_masses(data: Windowed, oversample: float, seed: int) -> Floats:
    """Return the mjj to sample at, `oversample` times as many as there are events in the window.

    Raises ToolError for fewer than a classifier needs.
    """
    inside, weight = data.mjj[data.inside], of_rows(data.weight, data.inside)
    n = int(oversample * len(inside))
    if n < ARGOS_MIN_TEMPLATE:
        least = (
            f"at least {ARGOS_MIN_TEMPLATE / len(inside):.2g}, which makes {ARGOS_MIN_TEMPLATE} events in the window"
        )
        raise ToolError("oversample", oversample, f"{least}; this makes {n}")
    return kde_sample(inside, *data.window, n, np.random.default_rng([seed, 1]), weight)


def kde_sample(
    mjj: Floats, low: float, high: float, n: int, rng: np.random.Generator, weight: Floats | None = None
) -> Floats:
    """Draw `n` values from a Gaussian kernel density of weighted mjj, in logit space so that none leaves (low, high)"""
    share = None if weight is None else weight / weight.sum()
    u = np.clip((mjj - low) / (high - low), 1e-6, 1 - 1e-6)
    z = rng.choice(np.log(u) - np.log1p(-u), n, p=share) + KDE_WIDTH * rng.standard_normal(n)
    return np.clip(low + (high - low) / (1 + np.exp(-z)), low, np.nextafter(high, low))


def _report(epoch: int, training: float, validation: float) -> None:
    print(f"epoch {epoch}: loss {training:.4f}, validation {validation:.4f}", file=sys.stderr)
