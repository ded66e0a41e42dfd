"""Classifier of data against background jets that sees only their particles: CATHODE on constituents.

The networks are in `jets_networks`; folds, ranks and closure are those of `anomaly.classify`.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from tools.anomaly.classify import ClassifyResult, judged, out_of_fold
from tools.anomaly.closure import control_window
from tools.anomaly.data import Windowed, within
from tools.anomaly.dijets import Dijets, DijetsRequest, load_dijets, read_dijet_file
from tools.anomaly.jets_networks import FrozenWeights, Tuned
from tools.anomaly.selection import ARGOS_MIN_TEMPLATE
from tools.contract import ToolError, named, tool


class JetClassifyRequest(DijetsRequest):
    """Train data in the window against background jets; score every event."""

    template: str = Field(description="file made by anomaly.jet_template for the same events and window")
    folds: int = Field(5, ge=2, le=20)
    ensemble: int = Field(4, ge=1, le=100, description="models per fold, averaged; 'tuned' is slow: use 1")
    classifier: Annotated[
        Annotated[FrozenWeights | Tuned, Field(discriminator="kind")],
        BeforeValidator(named),
        Field(
            description="'frozen' or 'tuned', alone or with settings",
            json_schema_extra={"default": "frozen"},
        ),
    ] = FrozenWeights()
    control: str | None = Field(
        None, description="control file of the template: tests closure and sculpting of the score itself"
    )
    closure_window: SkipJsonSchema[tuple[float, float] | None] = Field(
        None,
        description="`closure_window` of the template's result, with `control`; default: that of anomaly.jet_template",
    )
    out: str = Field("scores.parquet", description="file to write, relative to the working directory")
    out_template: str = Field("template_scores.parquet", description="file for the held-out scores of the template")

    @model_validator(mode="after")
    def _together(self) -> JetClassifyRequest:
        if self.control is None and self.closure_window is not None:
            raise ValueError("closure_window goes with control, which is missing")
        if self.out == self.out_template:
            raise ValueError("out_template must be a file other than out")
        return self


@tool("anomaly.jet_classify")
def jet_classify(request: JetClassifyRequest) -> ClassifyResult:
    """Score every dijet event by its data-to-template density ratio in the window, from the particles of both jets
    (a jet model, k-fold). The scores file is used like that of anomaly.classify.
    """
    dijets, data = load_dijets(request, need_sidebands=False)
    template = read_dijet_file(request.template, "template", request.max_particles)
    if len(template) < (needed := max(2 * request.folds, ARGOS_MIN_TEMPLATE)):
        raise ToolError("template", request.template, f"has {len(template)} events; at least {needed} are needed")
    control, rows = _control(request, dijets, data)
    store = request.classifier.on([dijets, template, *([control] if control else [])])
    n = len(dijets)
    of_dijets, of_template, *of_control = store.rows
    events = np.concatenate([of_dijets, *of_control])
    own = np.arange(len(events)) < n
    inside = np.zeros(len(events), dtype=bool)
    inside[:n] = data.inside
    scored, raw_template = out_of_fold(
        store,
        events,
        of_template,
        inside,
        own & ~inside,
        folds=request.folds,
        ensemble=request.ensemble,
        seed=request.seed,
        original=data.original,
    )
    held = None if rows is None else (rows, scored[n:])
    return judged(scored[:n], raw_template, data, held, request.out, request.out_template, request.seed)


def _control(
    request: JetClassifyRequest, dijets: Dijets, data: Windowed
) -> tuple[Dijets | None, NDArray[np.int64] | None]:
    """Return template events for the closure window, without duplicates, and the rows of the data there."""
    if request.control is None:
        return None, None
    if (edges := request.closure_window or control_window(data)) is None:
        raise ToolError(
            "control", request.control, f"null: there are too few events beside {request.window} for a closure test"
        )
    low, high = edges
    if not low < high or (low < request.window[1] and high > request.window[0]):
        raise ToolError("closure_window", (low, high), f"two increasing edges in TeV beside {request.window}")
    control = read_dijet_file(request.control, "control", request.max_particles)
    control = control.take(np.unique(control.axes.reshape(len(control), -1), axis=0, return_index=True)[1])
    rows = np.flatnonzero(within(dijets.mjj, (low, high)))
    if min(len(rows), len(control)) < ARGOS_MIN_TEMPLATE:
        allowed = f"holds {len(rows)} events, `control` {len(control)}: at least {ARGOS_MIN_TEMPLATE} each"
        raise ToolError("closure_window", (low, high), allowed)
    return control, rows
