"""What is handed in."""

from __future__ import annotations

from pydantic import Field

from tasks.submission import File, Submission


class WeightsSubmission(Submission):
    """Hand in the weights that are asked for."""

    weights: File = Field(
        description="parquet file with `weights_nominal` of the simulated events, and replicas for the errors"
    )
