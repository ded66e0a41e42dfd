"""What a grader returns: a number with its error, why, and of which file."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_BYTES = 512 * 2**20  # of a file that is handed in


class Submission(BaseModel):
    """What a worker hands in: files in the workspace, and for a search the window they were made for."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    scores: str = Field(
        description="parquet file to be graded; in a search with a column `score`, one row per event, higher = more "
        "signal-like, in an unfolding with the weights of the simulated events; showers in a .safetensors file"
    )
    window: tuple[float, float] | None = Field(None, description="of a search: signal region in mjj, TeV")
    reference_scores: str | None = Field(
        None, description="scores of the background reference, for tasks that have one"
    )
    method: str = Field("", description="a line on how the scores were made")


class Score(BaseModel):
    """A steering metric, computed by the harness from data alone. `value` is None when the submission was refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    metric: str
    value: float | None
    error: float | None = None
    reason: str = Field(description="what was measured, or why the submission was refused")
    artefact: str | None = Field(None, description="SHA-256 of the graded file")
    details: dict[str, Any] = Field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.value is not None


class Measured(BaseModel):
    """A number with its error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    value: float
    error: float | None = None


class Claim(BaseModel):
    """The crew's answer to the request: that of a search, or the `numbers` of a measurement."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    discovery: bool | None = Field(None, description="of a search: is there a new resonance?")
    mass: float | None = Field(None, description="TeV")
    mass_error: float | None = Field(None, description="TeV")
    n_signal: float | None = Field(None, description="signal events in the data")
    n_signal_error: float | None = None
    p_value: float | None = Field(None, ge=0, le=1, description="global: corrected for everything that was tried")
    numbers: dict[str, Measured] = Field(
        default_factory=dict, description="of a measurement: what was measured, by the names the task gives"
    )
    text: str = Field("", description="the answer in a few sentences")

    @model_validator(mode="after")
    def _answers(self) -> Claim:
        if self.discovery is None and not self.numbers:
            raise ValueError("discovery: true or false is wanted, or the numbers of a measurement")
        return self


class CheckedNumber(BaseModel):
    """One claimed number beside the harness's own, and beside the truth once the run has ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    claimed: float | bool | None
    claimed_error: float | None = None
    harness: float | bool | None
    harness_error: float | None = None
    agrees: bool | None = Field(description="None: nothing to compare")
    truth: float | bool | None = None
    traced: bool | None = Field(None, description="false: nothing that ran in this run has printed the claimed number")


class Metric(BaseModel):
    """A sealed metric: needs truth, computed once after the end."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    value: float | None
    error: float | None = None
    note: str = ""
