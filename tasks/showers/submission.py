"""The submission: a file of showers."""

from __future__ import annotations

from pydantic import Field

from tasks.submission import File, Submission


class ShowersSubmission(Submission):
    """Hand in the requested showers."""

    showers: File = Field(description=".safetensors file with one generated shower for each requested incident energy")
