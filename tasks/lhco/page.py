"""The page of a search in report and viewer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tasks.claim import Claim
from tasks.lhco.claims import SearchClaim, SearchSubmission
from tasks.page import Block, Confirmation, Graded, Numbers, Page, Plot, Run, Table, Text
from tasks.score import Number, Score
from tasks.task import Details
from tasks.writing import measured, number, probability, significance
from tools.publication import Data, table_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPECTRUM = (
    "with the harness's fit of background and signal; the window is shaded. Below: deviation of the data after the cut "
    "from the fitted background, in standard deviations."
)
SCORES = "Submitted scores in the signal region and in the sidebands, each normalised. Without signal the two agree."
SIC = "Significance improvement characteristic of the submitted scores."
CLOSURE = ("auc", "auc_error", "p_closure", "p_sculpting")


class SearchDetails(Details):
    """The harness's results behind the best cut of a submission; None if not computed."""

    window: tuple[float | None, float | None] | None = Field(None, description="submitted signal region")
    variable: str = Field("mjj", description="the mass that is searched")
    unit: str = Field("TeV", description="of all masses")
    notes: list[str] = Field(default_factory=list, description="what was assumed about the data")
    cuts: list[Any] = Field(default_factory=list, description="the fit after each cut")
    best: int | None = Field(None, description="index into `cuts`")
    warning: str | None = Field(None, description="why the best cut must not be trusted")
    mass: float | None = None
    mass_error: float | None = None
    width: float | None = Field(None, description="relative width of the core")
    width_error: float | None = None
    passing: float | None = Field(None, description="signal events behind the cut")
    passing_error: float | None = None
    delta: float | None = Field(None, description="relative error of the background under a bump")
    efficiency: float | None = Field(None, description="background efficiency of the cut")
    n_signal: float | None = Field(
        None, description="signal events in all rows of the event file, extrapolated from `passing`"
    )
    n_signal_error: float | None = None
    p_local: float | None = Field(None, description="of the best cut at this mass and width alone")
    p_global: float | None = Field(None, description="corrected for everything that was tried")
    trials: int | None = Field(None, description="masses, widths, cuts and submissions that p_global accounts for")
    fraction: float | None = Field(None, description="fraction of the events that played no part in any choice")
    limit_mass: float | None = Field(None, description="mass of the resonance that the limit is on")
    upper_limit: float | None = Field(None, description="signal events behind the chosen cut, 95% CL")
    upper_limit_expected: list[float] = Field(default_factory=list)
    audit: dict[str, Any] = Field(default_factory=dict)
    limit_spectrum: dict[str, list[float]] | None = Field(None, description="counts behind the cut of the limit")
    limit_background: tuple[int, float] | None = Field(None, description="degree and delta of its background")
    limit_width: float | None = None
    spectrum: dict[str, Any] | None = None
    score_histogram: dict[str, Any] | None = None


def masses(details: SearchDetails) -> str:
    """Return what the spectrum is one of."""
    return "Dijet masses" if details.variable == "mjj" else f"Values of {details.variable}"


def mass_of(details: SearchDetails) -> Number:
    return Number(name="mass", unit=details.unit, value=number(details.mass), error=number(details.mass_error))


def signal_of(details: SearchDetails, label: str = "signal events") -> Number:
    return Number(name="n_signal", label=label, value=number(details.n_signal), error=number(details.n_signal_error))


def p_value(name: str, value: Any, label: str) -> Number:
    return Number(name=name, label=label, kind="probability", value=number(value))


def numbers(graded: Graded) -> list[Number]:
    """Return mass, yield and p-value of an iteration, and its window as centre and half width."""
    details = SearchDetails.of(graded.score)
    found = [mass_of(details), signal_of(details), p_value("p_global", details.p_global, "global p")]
    window = graded.submission.window if isinstance(graded.submission, SearchSubmission) else None
    if window is None:
        return found
    low, high = window
    return [*found, Number(name="window", unit=details.unit, value=(low + high) / 2, error=(high - low) / 2)]


def shown(score: Score) -> list[Block]:
    """Return the blocks for spectrum, scores and table of cuts."""
    details = SearchDetails.of(score)
    blocks: list[Block] = []
    if details.spectrum:
        caption = f"{masses(details)} before and after the cut on the score, {SPECTRUM}"
        blocks.append(Plot("spectrum", caption, partial(_spectrum, details), spectrum_data(details)))
    if details.score_histogram:
        blocks.append(Plot("scores", SCORES, partial(_scores, details), _scores_data(details)))
    rows = [_cut(cut) for cut in details.cuts if isinstance(cut, Mapping)]
    if rows:
        head = ("fraction kept", f"mass [{details.unit}]", "signal events", "z", "local p", "deviance / bins", "fit")
        trials = f"The global p-value is corrected for {measured(details.trials)} trials." if details.trials else ""
        blocks.append(Table("Cuts on the score", head, rows, details.best, trials))
    return blocks + [Text(f"Data: {note}", soft=True) for note in details.notes]


def page(run: Run) -> Page:
    """Return the page of a search, from its answer to the significance improvement."""
    chosen = run.chosen.score if run.chosen else None
    return Page(
        answer=_answer(run.claim, SearchDetails.of(run.confirmed), run),
        confirmation=_confirmation(run) if run.confirmed else None,
        best=shown(chosen) if chosen else [],
        sealed=[Plot("sic", SIC, partial(_sic, run.curves), _sic_data(run.curves))] if "sic" in run.curves else [],
    )


def _answer(claim: Claim | None, unseen: SearchDetails, run: Run) -> list[Block]:
    blocks: list[Block] = []
    if isinstance(claim, SearchClaim):
        found = [
            Number(name="mass", label="m", unit=claim.unit, value=claim.mass, error=claim.mass_error),
            Number(name="n_signal", label="signal events", value=claim.n_signal, error=claim.n_signal_error),
            p_value("p_value", claim.p_value, "global p"),
        ]
        said = [one for one in found if one.value is not None]
        blocks += [Numbers(said)] if said else []
        if not claim.discovery and unseen.upper_limit is not None:
            blocks.append(Text(f"At most {unseen.upper_limit:.0f} signal events behind the cut (95% CL)."))
    return [*blocks, *_closures(run)]


def _closures(run: Run) -> list[Text]:
    """Return the classifiers' closure tests of their own scores, in the best iteration."""
    said = []
    for each in run.results:
        closure = each.result.get("closure") if each.iteration == run.best else None
        if isinstance(closure, Mapping) and all(isinstance(closure.get(name), int | float) for name in CLOSURE):
            said.append(
                f"{each.tool} tested its own score outside the window, best iteration: data against template AUC "
                f"{measured(closure['auc'], closure['auc_error'])}, p = {probability(closure['p_closure'])}; passing "
                f"fraction smooth in the mass, p = {probability(closure['p_sculpting'])}."
            )
    return [Text(text, soft=True) for text in dict.fromkeys(said)]


def _confirmation(run: Run) -> Confirmation:
    """Return the section on the claim: the chosen submission, tested on events that played no part in the choice."""
    score, details = run.confirmed, SearchDetails.of(run.confirmed)
    assert score
    share = f"{100 * details.fraction:.0f} %" if details.fraction else "part"
    lead = (
        "The window was chosen on one part of the events. The harness then ran the commands that had made the best "
        f"scores once more, on all events and without any agent. The verdict rests on the {share} of the events that "
        "played no part in any choice; its p-value counts all masses, widths and cuts in the window."
    )
    found = [
        p_value("p_global", details.p_global, "p, everything in the window counted"),
        mass_of(details),
        signal_of(details, "signal events in all data, extrapolated"),
    ]
    return Confirmation("The claim", lead, _verdict(run, score, details) if score.ok else [], found)


def _verdict(run: Run, score: Score, details: SearchDetails) -> list[Block]:
    rows = []
    if run.chosen:
        searched = run.chosen.score
        first = measured(searched.value, searched.error)
        rows.append(_row("searched", first, SearchDetails.of(searched), SearchDetails.of(searched).p_global))
    rows.append(_row("unseen", significance(score.value), details, details.p_global))
    head = ("events", "significance", f"mass [{details.unit}]", "width", "signal behind the cut", "p")
    delta = f"{100 * details.delta:.0f} %" if details.delta else "–"
    note = (
        f"Searched: iteration {run.best}, p-value corrected for all trials. Unseen: significance and p-value by "
        "pseudo-experiments, with all masses, widths and cuts of the window counted; mass, width (relative, of the "
        "core) and signal from a fit that leaves all of them free. The background behind the cut is estimated from "
        f"events that fail it, with a relative error of {delta} for deviations from smoothness."
    )
    events = measured(details.n_signal, details.n_signal_error)
    caption = f"{masses(details)} of the unseen events before and after the cut, {SPECTRUM}"
    draw = partial(_spectrum, details)
    return [
        Table("", head, rows, len(rows) - 1, note),
        *([Text(said)] if isinstance(said := details.audit.get("said"), str) else []),
        Text(
            f"The signal in all data, {events} events, is an interpretation: it extrapolates the signal behind the cut "
            "with the efficiencies of simulated dijet resonances."
        ),
        *_limit(run.claim, details),
        *([Plot("claim", caption, draw, spectrum_data(details))] if details.spectrum else []),
    ]


def _row(events: str, value: str, details: SearchDetails, p: float | None) -> list[str]:
    return [
        events,
        value,
        measured(details.mass, details.mass_error),
        measured(details.width, details.width_error),
        measured(details.passing, details.passing_error),
        probability(p),
    ]


def _limit(claim: Claim | None, details: SearchDetails) -> list[Text]:
    if details.upper_limit is None or (isinstance(claim, SearchClaim) and claim.discovery):
        return []
    where = (
        f", for the resonance chosen on the others, at {details.limit_mass:.4g} {details.unit}"
        if details.limit_mass
        else ""
    )
    text = (
        f"At most {details.upper_limit:.0f} signal events are among the unseen events behind the cut at 95% confidence "
        f"(CLs, by pseudo-experiments){where}."
    )
    if len(expected := details.upper_limit_expected) == 5:
        text += (
            f" Without any signal {expected[2]:.0f} would be expected, {expected[1]:.0f} to {expected[3]:.0f} in 68% "
            "of such data."
        )
    return [Text(text)]


def _cut(cut: Mapping[str, Any]) -> list[str]:
    return [
        measured(cut.get("efficiency")),
        measured(cut.get("mass"), cut.get("mass_error")),
        measured(cut.get("signal"), cut.get("signal_error")),
        measured(cut.get("z")),
        probability(cut.get("p_value")),
        f"{measured(cut.get('deviance'))} / {measured(cut.get('bins'))}",
        "–" if cut.get("valid") is None else "valid" if cut["valid"] else "not valid",
    ]


# matplotlib takes half a second to import: only when something is drawn.
def _spectrum(details: SearchDetails) -> Figure | None:
    from tasks.lhco.plots import spectrum

    window = list(details.window) if details.window else None
    label = "dijet mass $m_{jj}$" if details.variable == "mjj" else details.variable
    return spectrum({"spectrum": details.spectrum, "window": window, "label": f"{label} [{details.unit}]"})


def _scores(details: SearchDetails) -> Figure | None:
    from tasks.lhco.plots import scores

    return scores({"score_histogram": details.score_histogram})


def _sic(curves: Mapping[str, Any]) -> Figure | None:
    from tasks.lhco.plots import sic

    return sic(curves)


def spectrum_data(details: SearchDetails) -> Data | None:
    """Return the numbers of the spectrum's figure."""
    counts = {"all events": "inclusive", "events after the cut": "passed"}
    fitted = {"fitted background": "background", "fitted signal": "signal"}
    caption = f"{masses(details)} before and after the cut on the score, and the fit after the cut."
    return table_of(
        "spectrum", caption, (details.variable, details.unit), details.spectrum or {}, counts | fitted, counts
    )


def _scores_data(details: SearchDetails) -> Data | None:
    columns = {"density in the window": "window", "density in the sidebands": "sidebands"}
    return table_of("scores", SCORES, ("score", ""), details.score_histogram or {}, columns)


def _sic_data(curves: Mapping[str, Any]) -> Data | None:
    columns = {"SIC": "sic", "background efficiency": "background_efficiency"}
    return table_of("sic", SIC, ("signal efficiency", ""), curves, columns, points="signal_efficiency")
