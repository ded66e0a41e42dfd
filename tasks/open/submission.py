"""What the crew hands in: the results of its script, repeated."""

from __future__ import annotations

from pydantic import Field

from tasks.submission import File, Submission


class OpenSubmission(Submission):
    """Hand in the file that analysis.repeat wrote."""

    answer: File = Field("answer.json", description="file that analysis.repeat wrote as `out`")
