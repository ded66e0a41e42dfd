"""The cut-and-count tool: events in the window above a cut, compared with a background template and its closure error.

The search of arXiv:2109.00546 and its successors: sliding windows, one call each, cuts at background efficiencies 1e-2,
1e-3 and 1e-4. It needs a template that closes, whereas `bumphunt.scan` needs a score that does not sculpt mjj.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tools.arrays import load_arrays
from tools.bumphunt.counting import closure_delta, count
from tools.bumphunt.inputs import load_scored
from tools.contract import Request, Result, ToolError, tool
from tools.types import Floats

BANDS = 3  # on either side, each half a window wide, to measure the template's closure in
MIN_BAND = 100


class CountRequest(Request):
    """Scores of events and template as written by anomaly.classify, and the window they were made for."""

    events: str = Field("/inputs/events.parquet", description="parquet file with the event table")
    scores: str = Field(description="parquet file with a column `score`, one row per event")
    template_scores: str = Field("template_scores.parquet", description="parquet file with the template's scores")
    window: tuple[float, float] = Field(description="signal region in the mass")
    efficiencies: list[float] = Field(
        default=[1e-2, 1e-3, 1e-4], min_length=1, max_length=20, description="fractions of the template to keep"
    )
    delta: float | None = Field(
        None, ge=0, description="relative closure error of the template; if not given, measured beside the window"
    )


class CutCount(BaseModel):
    """Result of one cut."""

    model_config = ConfigDict(frozen=True)
    efficiency: float
    n: int = Field(description="events in the window above the cut")
    background: float
    background_error: float = Field(description="from the template's size and its closure")
    n_template: int
    delta: float
    z: float = Field(description="local significance in standard deviations")
    p_value: float = Field(description="local, one-sided")


class CountResult(Result):
    """Results of all cuts, and the most significant of them."""

    cuts: list[CutCount]
    best: int = Field(description="index into `cuts`")


@tool("bumphunt.count")
def cut_and_count(request: CountRequest) -> CountResult:
    """Cut-and-count hunt: count the events in the window above cuts on the score and compare with the background
    template's prediction, with its statistical and closure errors. Gives no mass, and is only as good as the template;
    the local p-value does not account for how many windows, cuts and trainings were tried.
    """
    mjj, score = load_scored(request.events, request.scores)
    template = load_arrays(request.template_scores, "template_scores", ["score"])["score"]
    low, high = request.window
    inside = (mjj >= low) & (mjj < high)
    if not low < high or not inside.any():
        raise ToolError(
            "window", request.window, "two increasing edges in the unit of the mass, with events between them"
        )
    cuts = []
    for efficiency in request.efficiencies:
        try:
            # Without delta first, so that an error names the field at fault: the cut here, delta below.
            found = count(score[inside], template, efficiency, 0.0)
        except ValueError as error:
            raise ToolError("efficiencies", efficiency, str(error)) from None
        try:
            delta = request.delta
            if delta is None:
                delta = sideband_delta(mjj, score, template, request.window, efficiency)
        except ValueError as error:
            raise ToolError("delta", request.delta, str(error)) from None
        found = count(score[inside], template, efficiency, delta)
        cuts.append(
            CutCount(
                efficiency=efficiency,
                n=found.n,
                background=found.background,
                background_error=found.error,
                n_template=found.n_template,
                delta=delta,
                z=found.z,
                p_value=found.p_value,
            )
        )
    return CountResult(cuts=cuts, best=int(np.argmax([cut.z for cut in cuts])))


def sideband_delta(
    mjj: Floats, score: Floats, template: Floats, window: tuple[float, float], efficiency: float
) -> float:
    """Return delta from signal-free bands next to the window, where its template should nearly hold.

    It is an upper estimate, because it includes the features' own change with mjj. Raises ValueError when no band has
    100 events.
    """
    low, high = window
    width = (high - low) / 2
    bands = [(low - (k + 1) * width, low - k * width) for k in range(BANDS)]
    bands += [(high + k * width, high + (k + 1) * width) for k in range(BANDS)]
    held = [score[(mjj >= a) & (mjj < b)] for a, b in bands]
    counts = [count(scores, template, efficiency, 0.0) for scores in held if len(scores) >= MIN_BAND]
    if not counts:
        raise ValueError(
            f"no band of {width:.3g} beside the window {window} holds {MIN_BAND} events to measure delta in; "
            "give a number"
        )
    table = np.array([(found.n, found.background, found.n_template) for found in counts]).T
    return closure_delta(*table)
