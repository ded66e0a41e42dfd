"""The submission: a file of weights."""

from __future__ import annotations

from pydantic import Field

from tasks.submission import File, Submission


class WeightsSubmission(Submission):
    """Hand in the requested weights."""

    weights: File = Field(
        description="parquet file with `weights_nominal` of the simulated events, and replicas for the errors"
    )
