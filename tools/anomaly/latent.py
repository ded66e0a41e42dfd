"""LaCATHODE: data against background in the latent space of a flow (Hallin et al., arXiv:2210.14924).

Every event is mapped to z = f(x; mjj), where f is the flow learned in the sidebands. If the flow closes, background is
a unit Gaussian at every mjj: a classifier of z cannot learn mjj, and cuts on its score do not sculpt mjj.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tools.anomaly.closure import Place
from tools.anomaly.data import WindowRequest, load, units
from tools.anomaly.flow import SplineFlow
from tools.anomaly.template import learn, window_masses
from tools.arrays import ArrayRef, save_arrays
from tools.contract import Result, ToolError, tool


class LatentRequest(WindowRequest):
    """Learn a flow in the sidebands and map all events to its latent space."""

    flow: SplineFlow = Field(SplineFlow(), json_schema_extra={"default": {}})
    oversample: float = Field(4.0, gt=0, le=20, description="template events per data event in the window")
    closure: Place = Field(
        "window",
        description="test on a 'window' left out of a second fit, or on held-out 'events'",
    )
    out: str = Field("template.parquet", description="file for the template, relative to the working directory")
    out_events: str = Field("latent.parquet", description="file for the mapped events, in the order of `events`")


class LatentResult(Result):
    """Events and template in latent space. Give both files and `features` to anomaly.classify."""

    template: ArrayRef
    events: ArrayRef
    features: list[str]
    closure_auc: float = Field(
        description="AUC of a classifier of the flow's events against held-out sideband data; 0.5 is perfect"
    )
    closure_auc_error: float
    correlation: float = Field(description="largest |correlation| of a latent feature with the mass in the sidebands")


@tool("anomaly.latent")
def latent(request: LatentRequest) -> LatentResult:
    """LaCATHODE: map all events to the latent space of a flow, where background is a unit Gaussian at every mass.
    Then call anomaly.classify with `events`, `template` and `features` of the result: its scores do not sculpt the
    mass.
    """
    if request.out_events == request.out:
        raise ToolError("out_events", request.out_events, "a file other than `out`")
    data = load(request)
    mjj = window_masses(data, request.oversample, request.seed)
    learned = learn(request.flow, data, request.closure, request.seed)
    z = learned.template.latent(data.features, data.mjj)
    gauss = np.random.default_rng(request.seed + 2).standard_normal((len(mjj), z.shape[1]))
    names = [f"z{i + 1}" for i in range(z.shape[1])]
    outside, of = ~data.inside, units(data.column)
    correlations = [np.corrcoef(column, data.mjj[outside])[0, 1] for column in z[outside].T]
    return LatentResult(
        template=save_arrays(request.out, {data.column: mjj} | dict(zip(names, gauss.T, strict=True)), of),
        events=save_arrays(request.out_events, {data.column: data.mjj} | dict(zip(names, z.T, strict=True)), of),
        features=names,
        closure_auc=learned.auc,
        closure_auc_error=learned.auc_error,
        correlation=float(np.max(np.abs(correlations))),
    )
