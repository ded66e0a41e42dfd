"""What the crew hands in, the results of its script, repeated; and its answer."""

from __future__ import annotations

from pydantic import Field

from tasks.claim import Measurement
from tasks.submission import File, Submission


class OpenSubmission(Submission):
    """Hand in the file that analysis.repeat wrote."""

    answer: File = Field("answer.json", description="file that analysis.repeat wrote as `out`")


class OpenAnswer(Measurement):
    """The answer in words and numbers; a question may be answered by a figure alone."""

    @property
    def headline(self) -> str:
        return "An answer without numbers is given" if self.text and not self.numbers else super().headline
