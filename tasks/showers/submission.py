"""What is handed in."""

from __future__ import annotations

from pydantic import Field

from tasks.submission import File, Submission


class ShowersSubmission(Submission):
    """Hand in the showers that are asked for."""

    showers: File = Field(description=".safetensors file with one generated shower for each incident energy asked for")
