"""The page of an unfolding in report and viewer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pydantic import Field

from tasks.page import Block, Page, Plot, Run, Table
from tasks.score import Score
from tasks.task import Details
from tasks.writing import measured
from tools.publication import Column, Data, bins

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLOSURE = (
    "The harness ran the commands that had made the best weights once more, without any agent, with the other "
    "simulation, whose particle level is known, as data."
)
UNFOLDED = (
    "Unfolded distributions with their stated errors, the truth, and the simulation before unfolding; below, their "
    "ratio to the truth."
)


class UnfoldingDetails(Details):
    """The harness's results on the weights; empty if not computed."""

    numbers: dict[str, dict[str, float | None]] = Field(default_factory=dict, description="name -> value and error")
    reco_delta_before: dict[str, float] = Field(default_factory=dict, description="discriminator x 1000 by observable")
    reco_delta: dict[str, float] = Field(default_factory=dict)
    gen_delta_before: dict[str, float] = Field(default_factory=dict, description="the same at particle level")
    gen_delta: dict[str, float] = Field(default_factory=dict)


def shown(score: Score) -> list[Block]:
    """Return tables of the discriminators between data and simulation, before and after unfolding."""
    details = UnfoldingDetails.of(score)
    blocks: list[Block] = []
    for level, before, after in (
        ("detector", details.reco_delta_before, details.reco_delta),
        ("particle", details.gen_delta_before, details.gen_delta),
    ):
        rows = [[name, measured(value), measured(after.get(name))] for name, value in before.items()]
        if rows:
            title = f"Triangular discriminator x 1000 at {level} level"
            blocks.append(Table(title, ("observable", "before", "after"), rows))
    return blocks


def page(base: Page, run: Run) -> Page:
    """Add the closure test and, once the run has ended, the unfolded distributions with the truth."""
    closure = base.confirmation and replace(base.confirmation, title="Closure", lead=CLOSURE)
    drawn = any(name.endswith("_unfolded") for name in run.curves)
    sealed = [Plot("unfolded", UNFOLDED, partial(_unfolded, run.curves))] if drawn else []
    return replace(base, confirmation=closure, sealed=sealed)


def _unfolded(curves: Mapping[str, Sequence[float]]) -> Figure | None:
    from tasks.unfolding.plots import unfolded  # matplotlib takes half a second to import

    return unfolded(curves)


def tables(curves: Mapping[str, Sequence[float]]) -> list[Data]:
    """Return the unfolded distributions with their total errors; the whole covariance is in the weights."""
    found = []
    for name in (each.removesuffix("_unfolded") for each in curves if each.endswith("_unfolded")):
        errors = {"total": list(curves[f"{name}_error"])}
        content = Column("events", list(curves[f"{name}_unfolded"]), errors=errors)
        caption = f"Unfolded distribution of {name}, with the total error."
        found.append(Data(f"unfolded {name}", caption, [bins(name, curves[f"{name}_edges"])], [content]))
    return found
