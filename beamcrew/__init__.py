"""beamcrew for scripts and notebooks.

    import beamcrew

    run = beamcrew.run("Is there a new resonance?", backend="analyst", options={"n_signal": 0})
    run.claims                                       # a DataFrame: claimed, computed by the harness, truth
    run = beamcrew.load("runs/20261121-153012-lhco-demo-1f3a")
    beamcrew.tools["events.describe"](events="events.parquet")

`beamcrew.tools` maps names to tools. A tool is called with the fields of its request, listed by `tool.schema()`, as
keyword arguments, and returns its result, a pydantic model. Tools write files below the working directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from beamcrew.loaded import Figure, Run, load
from beamcrew.running import prepare, run
from tools.catalogue import CATALOGUE
from tools.contract import Tool

tools: Mapping[str, Tool[Any, Any]] = CATALOGUE

__all__ = ["Figure", "Run", "load", "prepare", "run", "tools"]
