"""The page of an unfolding in report and viewer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tasks.page import Block, Numbers, Page, Plot, Run, Table, Text
from tasks.score import Score
from tasks.task import Details
from tasks.unfolding import spectra
from tasks.writing import NONE, label, measured
from tools.publication import Data

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLOSURE = (
    "The harness ran the commands that had made the best weights once more, without any agent, with the other "
    "simulation, whose particle level is known, as data."
)
NO_CLOSURE = (
    "There is no other simulation: no closure test was made, and the errors do not contain how the result depends on "
    "the simulation. Errors: "
)
UNFOLDED = "Unfolded {x} with total and, inside, statistical errors, and the simulation before; below, their ratio."
SEALED = (
    "Unfolded distributions with their stated errors, the truth, and the simulation before unfolding; below, their "
    "ratio to the truth."
)
GATES = (
    "Stress tests unfold the simulation with a known slope in its truth; priors are other particle levels to start "
    "from. A gate that failed says how far to trust the errors; one without a verdict was not made."
)
STEPS = "Effective sample size and number of particle-level events after each iteration; 0 is the simulation as it is."
CORRELATIONS = "Correlations of the bins of the published spectra, from all sources of error."
EQUAL = "Two equal samples of these sizes differ by as much on average, from fluctuations alone."


class UnfoldingDetails(Details):
    """The harness's results on the weights; empty if not computed."""

    numbers: dict[str, dict[str, float | None]] = Field(default_factory=dict, description="name -> value and error")
    errors: dict[str, dict[str, float]] = Field(default_factory=dict, description="name -> error by source")
    reco_delta_before: dict[str, float] = Field(default_factory=dict, description="discriminator x 1000 by observable")
    reco_delta: dict[str, float] = Field(default_factory=dict)
    reco_delta_floor: dict[str, float] = Field(default_factory=dict, description="of two equal samples")
    gen_delta_before: dict[str, float] = Field(default_factory=dict, description="the same at particle level")
    gen_delta: dict[str, float] = Field(default_factory=dict)
    gen_delta_floor: dict[str, float] = Field(default_factory=dict)
    last_iteration_change: float | None = Field(None, description="of a bin by the last iteration, in its errors")
    measured_events: int | None = Field(None, description="that were unfolded: the others are held out for the grade")
    unseen_events: int | None = Field(None, description="that were held out")
    units: dict[str, str] = Field(default_factory=dict, description="by observable")
    assumed: list[str] = Field(default_factory=list, description="what was assumed about the files")
    spectra: dict[str, list[float]] = Field(default_factory=dict)
    gates: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="gate -> value, limit, passed (null: not made), and more in words"
    )


def shown(score: Score) -> list[Block]:
    """Return errors by source, gates, discriminators of data and simulation, and the unfolded distributions."""
    details = UnfoldingDetails.of(score)
    blocks: list[Block] = [_sources(details)] if details.errors else []
    if details.gates:
        blocks.append(_gates(details.gates))
    for level, before, after, least in (
        ("detector", details.reco_delta_before, details.reco_delta, details.reco_delta_floor),
        ("particle", details.gen_delta_before, details.gen_delta, details.gen_delta_floor),
    ):
        rows = [[name, *(measured(each.get(name)) for each in (before, after, least))] for name in before]
        if rows:
            title = f"Triangular discriminator x 1000 at {level} level"
            blocks.append(Table(title, ("observable", "before", "after", "two equal samples"), rows, note=EQUAL))
    held = f"{details.unseen_events} held out for the grade"
    of = f"{details.measured_events} of the measured events were unfolded, {held}"
    for x in spectra.names(details.spectra):
        unit = details.units.get(x, "")
        draw = partial(_spectrum, details.spectra, x, unit)
        data = spectra.table(details.spectra, x, unit, of)
        blocks.append(Plot(f"unfolded_{x}", f"{UNFOLDED.format(x=x)} {data.caption}", draw, data))
    if spectra.names(details.spectra):
        blocks.append(Plot("correlations", CORRELATIONS, partial(_correlations, details.spectra)))
    if details.last_iteration_change is not None and details.spectra:
        said = f"The last iteration changed no bin by more than {details.last_iteration_change:.2f} of its error."
        blocks.append(Text(said))
    return blocks + [Text(f"Files: {note}.", soft=True) for note in details.assumed]


def _sources(details: UnfoldingDetails) -> Table:
    """Return the table of errors by source, a row each, with the total."""
    names = list(details.errors)
    sources = list(dict.fromkeys(source for each in details.errors.values() for source in each))
    rows = [[spectra.named(s), *(_short(details.errors[n].get(s)) for n in names)] for s in sources]
    rows.append(["total", *(_short(details.numbers.get(n, {}).get("error")) for n in names)])
    return Table("Errors by source", ("source", *(label(n) for n in names)), rows)


def _gates(gates: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the table of gates, a row each, with their limits."""
    said = {True: "passed", False: "FAILED"}
    rows = [
        [name, measured(each["value"]), each["limit"], said.get(each["passed"], "not made"), each["more"]]
        for name, each in gates.items()
    ]
    return Table("Gates", ("gate", "value", "limit", "verdict", "found"), rows, note=GATES)


def steps(run: Run) -> list[Block]:
    """Return the table of effective sample sizes and totals by iteration, of the tool that wrote the weights."""
    wrote = [
        each.result
        for each in run.results
        if run.chosen and each.iteration == run.best and each.result.get("file_sha256") == run.chosen.score.artefact
    ]
    if not wrote:
        return []
    columns = [wrote[-1].get(name) or [] for name in ("effective_sizes", "totals", "discrepancy")]
    rows = [
        [str(k), f"{size:.0f}", f"{events:.0f}", f"{chi2[0]:.2f}"]
        for k, (size, events, chi2) in enumerate(zip(*columns, strict=False))
    ]
    return [
        Table(
            "Iterations",
            ("iteration", "effective sample", "events", "chi2 per bin at detector level"),
            rows,
            note=STEPS,
        )
    ]


def _short(error: float | None) -> str:
    """Return an error with two digits."""
    return NONE if error is None else f"{error:.0f}" if error >= 10 else f"{error:.2g}"


def page(base: Page, run: Run) -> Page:
    """Add units, the closure test and, once the run has ended, the unfolded distributions with the truth, if known."""
    details = UnfoldingDetails.of(run.chosen.score if run.chosen else None)
    closure = base.confirmation and replace(base.confirmation, title="Closure", lead=CLOSURE)
    answer = [_with_units(block, details.units) for block in base.answer]
    sources = {source for each in details.errors.values() for source in each}
    if sources and "model" not in sources and closure is None:
        answer.append(Text(NO_CLOSURE + ", ".join(sorted(map(spectra.named, sources))) + "."))
    failed = [name for name, gate in details.gates.items() if gate.get("passed") is not True]
    if details.gates and not failed:
        answer.append(Text(f"All {len(details.gates)} gates passed, stress tests among them."))
    drawn = any(name.endswith("_unfolded") for name in run.curves)
    sealed = [Plot("unfolded", SEALED, partial(_unfolded, run.curves, details.units))] if drawn else []
    return replace(base, answer=answer, best=[*base.best, *steps(run)], confirmation=closure, sealed=sealed)


def _with_units(block: Block, units: Mapping[str, str]) -> Block:
    if not isinstance(block, Numbers):
        return block
    each = [n.model_copy(update={"unit": units.get(n.name.removeprefix("mean_"), n.unit)}) for n in block.numbers]
    return replace(block, numbers=each)


def _spectrum(of: Mapping[str, Sequence[float]], x: str, unit: str) -> Figure | None:
    from tasks.unfolding.plots import spectrum  # matplotlib takes half a second to import

    return spectrum(of, x, unit)


def _correlations(of: Mapping[str, Sequence[float]]) -> Figure | None:
    from tasks.unfolding.plots import correlations

    return correlations(of)


def _unfolded(curves: Mapping[str, Sequence[float]], units: Mapping[str, str]) -> Figure | None:
    from tasks.unfolding.plots import unfolded

    return unfolded(curves, units)


def covariances(run: Run) -> list[Data]:
    """Return the covariance of each unfolded distribution of the best iteration."""
    details = UnfoldingDetails.of(run.chosen.score if run.chosen else None)
    found = details.spectra
    return [spectra.covariance(found, x, details.units.get(x, "")) for x in spectra.names(found)]
