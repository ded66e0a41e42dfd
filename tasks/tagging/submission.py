"""What is handed in."""

from __future__ import annotations

from pydantic import Field

from tasks.submission import File, Submission


class TaggerSubmission(Submission):
    """Hand in the scores that are asked for."""

    scores: File = Field(
        description="parquet file with a column `score_<n>` for each number n of labels, one row per jet"
    )
