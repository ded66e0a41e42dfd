"""The page of a fast simulation in report and viewer."""

from __future__ import annotations

from pydantic import Field

from tasks.page import Block, Table, Text
from tasks.score import Score
from tasks.task import Details


class ShowersDetails(Details):
    """The harness's results on the generated showers; empty if not computed."""

    numbers: dict[str, dict[str, float | None]] = Field(
        default_factory=dict, description="AUC by classifier, and error"
    )
    worst: str = Field("", description="the classifier that tells them apart best")
    distrusted: list[str] = Field(default_factory=list, description="regions not to be trusted, worst first, in words")
    regions: int = 0
    regions_distrusted: int = 0
    regions_untested: int = 0
    showers: int = 0


def shown(score: Score) -> list[Block]:
    """Return the blocks on where the simulation cannot be trusted."""
    details = ShowersDetails.of(score)
    if not details.regions:
        return []
    said = (
        f"{details.regions_distrusted} of {details.regions} regions are not to be trusted, {details.regions_untested} "
        f"have too few of the {details.showers} showers to tell."
    )
    rows = [[region] for region in details.distrusted]
    return [Text(said), *([Table("", ("not to be trusted, worst first",), rows)] if rows else [])]
