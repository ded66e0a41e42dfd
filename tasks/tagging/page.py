"""The page of a tagger in report and viewer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from tasks.page import Block, Page, Plot, Run, Table, Text
from tasks.tagging.simulation import OtherSimulation
from tasks.task import Details
from tasks.writing import measured
from tools.publication import Column, Data

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AUDIT = (
    "The harness ran the commands that had made the best scores once more, without any agent, on other jets, where the "
    "labels beyond a secret number are wrong: scores made with no more labels than stated are not affected. It does "
    "not see labels exchanged on one side of that number (800 used as 200, if both lie beyond it), nor trained weights "
    "that the commands contain."
)
NOT_ASKED = (
    "Dependence on the simulation: not asked, because no jets of another simulation were given. `--set other=FILE` "
    "asks it, with labelled jets of another generator or parton shower, tops among them, which the crew does not get. "
    "`beamcrew data simulate jets FILE --kinds quark,gluon,top --tune vincia --events 3000` makes such a file."
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
    other: OtherSimulation | None = Field(None, description="how the scores fare on jets of another simulation")
    audited: list[int] = Field(default_factory=list, description="audited numbers of labels")


def page(base: Page, run: Run, asked: bool) -> Page:
    """Return the page with the confirmation presented as an audit, and the best scores compared with no labels.

    `asked`: jets of another simulation were given.
    """
    audited = base.confirmation and replace(base.confirmation, title="Audit", lead=AUDIT)
    questions = [*_on_mass(run), *_on_another_simulation(run, asked)]
    return replace(base, confirmation=audited, best=[*base.best, *_zero_shot(run), *questions])


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
    caption = "1/JSD of the background's mass over that of random selections: 1 where a cut does not shape the mass."

    def draw() -> Figure | None:
        from tasks.tagging.plots import of_mass  # matplotlib takes half a second to import

        return of_mass(found)

    return [
        Table("Dependence on mass", heads, rows, note=note),
        Plot("on_mass", caption, draw, _mass_data(found, caption)),
    ]


def _on_another_simulation(run: Run, asked: bool) -> list[Block]:
    if not run.chosen:
        return []
    if not asked:
        return [Text(NOT_ASKED)]
    if not run.confirmed or not (found := TaggingDetails.of(run.confirmed).other):
        failed = run.confirmed is not None and not run.confirmed.ok
        return [Text("Dependence on the simulation: not asked of scores that failed the audit.")] if failed else []
    if not found.numbers:
        return [Text(f"{found.said}.")]
    names = ("auc", "auc_there", "drop", "rejection", "rejection_there", "kept", "efficiency")
    rows = [[n, *(measured(one[name], one[f"{name}_error"]) for name in names)] for n, one in found.numbers.items()]
    heads = ["labels", "AUC here", "there", "drop", "rejection here", "there", "ratio", "tops kept there"]
    note = (
        f"On {found.jets['here']} jets of the simulation of the labels (here) and {found.jets['there']} of the other "
        "one (there), none of which an agent has seen, all scored in one further run of the commands. Rejection: of "
        "background, where half of the tops are kept on each; tops kept there: by the cut that keeps half of them here."
    )
    caption = "Separation of tops on jets of the simulation of the labels and of the other one."

    def draw() -> Figure | None:
        from tasks.tagging.plots import on_both

        return on_both(found)

    table = Table("Dependence on the simulation", heads, rows, note=note)
    return [table, Text(f"{found.said}."), Plot("on_both", caption, draw, _both_data(found, caption))]


def _mass_data(found: Mapping[str, Mapping[str, Mapping[str, float]]], caption: str) -> Data:
    cuts = [(n, kept, one) for n, of in found.items() for kept, one in of.items()]
    axes = [Column("labels", [int(n) for n, _, _ in cuts]), Column("tops kept", [float(kept) for _, kept, _ in cuts])]
    named = {"1/JSD": "inverse_jsd", "1/JSD of random selections": "ceiling", "p": "p_value"}
    return Data("on_mass", caption, axes, [Column(to, [one[of] for _, _, one in cuts]) for to, of in named.items()])


def _both_data(found: OtherSimulation, caption: str) -> Data:
    rows = found.numbers.values()
    named = {"AUC": "auc", "AUC there": "auc_there", "rejection": "rejection", "rejection there": "rejection_there"}
    columns = [
        Column(to, [one[of] for one in rows], errors={"statistical": [one[f"{of}_error"] for one in rows]})
        for to, of in named.items()
    ]
    return Data("on_both", caption, [Column("labels", [int(n) for n in found.numbers])], columns)
