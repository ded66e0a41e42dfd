"""What a score of the task contains besides its value."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tasks.task import Details


class SpectrumDetails(Details):
    """The harness's fit; empty if there is none."""

    resonances: list[dict[str, float]] = Field(default_factory=list)
    unit: str = ""
    fit_p: float | None = None
    background: str = ""
    shape: str = ""
    one_width: bool = False
    left: dict[str, float] | None = None
    left_out: list[tuple[float, float]] = Field(default_factory=list, description="blind masses, and gaps in the data")
    step: float | None = Field(None, description="to which masses were rounded")
    window: dict[str, Any] | None = None
    blind: tuple[float, float] | None = None
    opened: bool = False
    effective_events: float | None = None
    limits: dict[str, list[float]] = Field(default_factory=dict)
    limit_at: dict[str, float] = Field(default_factory=dict)
    limit_width: float | None = None
    limit_level: float | None = None
    limit_spectrum: dict[str, list[float]] = Field(default_factory=dict)
    nuisances: list[dict[str, Any]] = Field(default_factory=list, description="factors at -1 and +1 sigma")
    impacts: dict[str, dict[str, float | None]] = Field(
        default_factory=dict, description="limits without each nuisance"
    )
    notes: list[str] = Field(default_factory=list, description="what was assumed of the simulated signal")
    signal: dict[str, float] = Field(default_factory=dict)
    injected: list[dict[str, Any]] = Field(default_factory=list)
    spectrum: dict[str, list[float]] = Field(default_factory=dict)
    trials: int = 1
