"""The submission: a file of scores."""

from __future__ import annotations

from pydantic import Field

from tasks.submission import File, Submission


class TaggerSubmission(Submission):
    """Hand in the requested scores."""

    scores: File = Field(
        description="parquet file with a column `score_<n>` for each number n of labels, one row per jet"
    )
