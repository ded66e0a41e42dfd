"""What report and viewer show of a tagger."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from tasks.page import Page
from tasks.task import Details

AUDIT = (
    "The harness ran the commands that had made the best scores once more, without any agent, on other jets, where the "
    "labels beyond a secret number are wrong: what was made with no more labels than it says does not notice."
)


class TaggingDetails(Details):
    """What the harness found of the scores."""

    numbers: dict[str, dict[str, float | None]] = Field(
        default_factory=dict, description="rejection and AUC by number of labels, with errors"
    )
    validation_jets: int | None = None
    audited: list[int] = Field(default_factory=list, description="numbers of labels that were looked into")


def page(base: Page) -> Page:
    """The confirmation is an audit."""
    return replace(base, confirmation=base.confirmation and replace(base.confirmation, title="Audit", lead=AUDIT))
