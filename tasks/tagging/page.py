"""The page of a tagger in report and viewer."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from tasks.page import Block, Page, Run, Table, Text
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
    on_mass: dict[str, dict[str, dict[str, float]]] = Field(
        default_factory=dict,
        description="by number of labels and fraction of tops kept: 1/JSD of the background's mass with its ceiling, "
        "p-value and the background jets kept",
    )
    audited: list[int] = Field(default_factory=list, description="audited numbers of labels")


def page(base: Page, run: Run) -> Page:
    """Return the page with the confirmation presented as an audit, and the best scores compared with no labels."""
    audited = base.confirmation and replace(base.confirmation, title="Audit", lead=AUDIT)
    return replace(base, confirmation=audited, best=[*base.best, *_zero_shot(run), *_on_mass(run)])


def _zero_shot(run: Run) -> list[Block]:
    found = TaggingDetails.of(run.chosen.score if run.chosen else None).zero_shot
    if not found:
        return []
    text = (
        f"The pretrained weights as they are reach {measured(found['value'], found['error'])} without any label; the "
        f"best scores gain {measured(found['gain'], found['gain_error'])} over that, on the same validation jets."
    )
    return [Text(text)]


def _on_mass(run: Run) -> list[Block]:
    found = TaggingDetails.of(run.chosen.score if run.chosen else None).on_mass
    rows = [
        [n, kept, f"{one['background']:.0f}", *(f"{one[name]:.3g}" for name in ("inverse_jsd", "ceiling", "p_value"))]
        for n, cuts in found.items()
        for kept, one in cuts.items()
    ]
    if not rows:
        return []
    heads = ["labels", "tops kept", "background jets", "1/JSD", "random selection", "p"]
    note = (
        "1/JSD of the background's mass, after the cut against before, beside the median of random selections of as "
        "many jets; p: how often these differ as much."
    )
    return [Table("Dependence on mass", heads, rows, note=note)]
