"""What the crew hands in: how to fit the spectrum."""

from __future__ import annotations

from pydantic import Field

from tasks.submission import File, Submission


class SpectrumSubmission(Submission):
    """Hand in how the spectrum is to be fitted; the harness fits it so itself."""

    spectrum: File = Field("spectrum.parquet", description="file that spectrum.hunt wrote with these settings")
    fit_range: tuple[float, float] = Field(description="masses that the background is fitted to")
    width: float | None = Field(None, description="relative width, if it was given to spectrum.hunt")
