"""The page of a tagger in report and viewer."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from tasks.page import Block, Page, Run, Text
from tasks.task import Details
from tasks.writing import measured

AUDIT = (
    "The harness ran the commands that had made the best scores once more, without any agent, on other jets, where the "
    "labels beyond a secret number are wrong: scores made with no more labels than stated are not affected. It does "
    "not see labels exchanged on one side of that number (800 used as 200, if both lie beyond it), nor trained weights "
    "that the commands contain."
)


class TaggingDetails(Details):
    """The harness's results on the scores."""

    numbers: dict[str, dict[str, float | None]] = Field(
        default_factory=dict, description="rejection and AUC by number of labels, with errors"
    )
    validation_jets: int | None = None
    zero_shot: dict[str, float | None] = Field(
        default_factory=dict,
        description="the pretrained weights as they are: mean rejection, and what the submission gains over it, with "
        "the error of the difference on the same jets",
    )
    audited: list[int] = Field(default_factory=list, description="audited numbers of labels")


def page(base: Page, run: Run) -> Page:
    """Return the page with the confirmation presented as an audit, and the best scores compared with no labels."""
    audited = base.confirmation and replace(base.confirmation, title="Audit", lead=AUDIT)
    return replace(base, confirmation=audited, best=[*base.best, *_zero_shot(run)])


def _zero_shot(run: Run) -> list[Block]:
    found = TaggingDetails.of(run.chosen.score if run.chosen else None).zero_shot
    if not found:
        return []
    text = (
        f"The pretrained weights as they are reach {measured(found['value'], found['error'])} without any label; the "
        f"best scores gain {measured(found['gain'], found['gain_error'])} over that, on the same validation jets."
    )
    return [Text(text)]
