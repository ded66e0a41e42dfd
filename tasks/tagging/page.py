"""The page of a tagger in report and viewer."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from tasks.page import Page
from tasks.task import Details

AUDIT = (
    "The harness ran the commands that had made the best scores once more, without any agent, on other jets, where the "
    "labels beyond a secret number are wrong: scores made with no more labels than stated are not affected."
)


class TaggingDetails(Details):
    """The harness's results on the scores."""

    numbers: dict[str, dict[str, float | None]] = Field(
        default_factory=dict, description="rejection and AUC by number of labels, with errors"
    )
    validation_jets: int | None = None
    audited: list[int] = Field(default_factory=list, description="audited numbers of labels")


def page(base: Page) -> Page:
    """Return the page with the confirmation presented as an audit."""
    return replace(base, confirmation=base.confirmation and replace(base.confirmation, title="Audit", lead=AUDIT))
