"""CWoLa's background template: the data next to the window, taken as they are.

Classification without labels (Metodiev, Nachman, Thaler, arXiv:1708.02949; hunting, arXiv:1902.02634).
Right only where the features do not depend on mjj: quick, and a first look at many windows.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tools.anomaly.data import WindowRequest, load
from tools.arrays import ArrayRef, save_arrays
from tools.contract import Result, ToolError, tool


class SidebandRequest(WindowRequest):
    """Take the events beside the window as the background."""

    width: float = Field(0.4, gt=0, description="width of each of the two neighbouring bands, TeV")
    out: str = Field("template.parquet", description="file to write, relative to the working directory")


class SidebandResult(Result):
    """The neighbouring events of the window."""

    template: ArrayRef
    n_below: int
    n_above: int


@tool("anomaly.sideband_template")
def sideband_template(request: SidebandRequest) -> SidebandResult:
    """CWoLa background template: the events in the bands just below and above the window, unchanged.
    Quick; biased where features move with mjj. Use its file as `template` of anomaly.classify.
    """
    data = load(request)
    low, high = request.window
    below = (data.mjj >= low - request.width) & (data.mjj < low)
    above = (data.mjj >= high) & (data.mjj < high + request.width)
    if not below.any() or not above.any():
        raise ToolError("width", request.width, f"wide enough for events on both sides of the window {request.window}")
    chosen = np.flatnonzero(below | above)
    columns = {"mjj": data.mjj[chosen]}
    columns |= {name: data.features[chosen, i] for i, name in enumerate(request.features)}
    return SidebandResult(
        template=save_arrays(request.out, columns, {"mjj": "TeV"}), n_below=int(below.sum()), n_above=int(above.sum())
    )
