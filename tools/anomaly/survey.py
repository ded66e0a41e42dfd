"""A quick search in many windows: template, classifier and bump hunt in each, all in one call.

Windows that lie well apart share one fit of the background, which leaves out the events of all of them. A window that
shares its fit with none gets what anomaly.template, anomaly.classify and bumphunt.scan with the same seed would give
it. Fits, and then windows, are done side by side, one in each process.
"""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, as_completed
from contextlib import redirect_stderr
from dataclasses import replace
from io import StringIO
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from tools.anomaly.classify import ClassifyRequest, classify
from tools.anomaly.data import FEATURES, WindowRequest, in_window, load, load_table, note, within
from tools.anomaly.flow import SplineFlow
from tools.anomaly.template import TemplateRequest, learn, sampled, window_masses
from tools.bumphunt.lookelsewhere import Hunt, global_p_value
from tools.bumphunt.scan import TOYS, ScanRequest, bumps, distrust
from tools.bumphunt.spectrum import WIDTH_RANGE, Spectrum, hypotheses
from tools.bumphunt.windows import HALF_WIDTH, SEARCH, STEP, Window, centres, window_at
from tools.contract import Frozen, Request, Result, Seed, ToolError, tool
from tools.events.copies import originals
from tools.events.table import mass_column
from tools.parallel import cores, pool
from tools.types import Floats

MOST = 48
QUICK = SplineFlow(transforms=1, epochs=5, batch=2048, learning_rate=1e-2, max_events=60_000)
OVERSAMPLE = 2.0  # template events per data event in a window
FOLDS, ENSEMBLE = 3, 1  # of the trees
LEFT_OUT = 0.4  # of the events at most, by a fit that windows share


class SurveyRequest(Request):
    """Events, and the windows to search."""

    events: str = Field("/inputs/events.parquet", description="parquet file with the event table")
    windows: list[Window] | None = Field(
        None, min_length=1, max_length=MOST, description="signal regions in the mass; default: overlapping ones"
    )
    search: Window = Field(SEARCH, description="range of masses that overlapping windows cover; default: of mjj, TeV")
    fit_range: Window | None = Field(None, description="as in bumphunt.scan")
    half_width: float = Field(HALF_WIDTH, ge=0.01, le=0.3, description="of a window, over its centre")
    step: float = Field(STEP, ge=0.01, le=0.6, description="from a window's centre to the next, over the centre")
    features: list[str] = Field(default=FEATURES, min_length=1, description="as in anomaly.template")
    width: float | None = Field(
        None, ge=WIDTH_RANGE[0], le=WIDTH_RANGE[1], description="relative width of the resonance, if known"
    )
    seed: Seed = Field(1, ge=0)
    out: str = Field("survey", description="folder to write to, relative to the working directory")


class Searched(Frozen):
    """Outcome of one window: its most significant cut, and what speaks for and against it."""

    window: Window
    scores: str = Field(description="file of scores of all events, to submit or to give to bumphunt.scan")
    template_scores: str = Field(description="file for bumphunt.count")
    z: float = Field(description="local significance of the best cut, in standard deviations")
    efficiency: float = Field(description="background efficiency of this cut")
    mass: float = Field(description="in the unit of the events")
    mass_error: float
    signal: float = Field(description="events behind this cut")
    signal_error: float
    argos: float
    argos_error: float
    closure_auc: float = Field(description="of the template; 0.5 is perfect")
    closure_auc_error: float
    warning: str | None = Field(description="why bump or score must not be trusted; null: no reason found")


class SurveyResult(Result):
    """Outcomes of all windows, in order of mass."""

    windows: list[Searched]
    best: int = Field(description="index into `windows` of the most significant one")
    p_global: float = Field(description="p-value of the best one, over the masses, widths, cuts and windows tested")
    failed: list[str] = Field(description="windows that could not be searched, and why")
    seconds: float


class _Done(NamedTuple):
    row: Searched
    spectra: list[Spectrum]


@tool("anomaly.survey")
def survey(request: SurveyRequest) -> SurveyResult:
    """Survey the mass range in one call: a quick template, classifier and bump hunt in every window, side by side.
    Writes a file of scores per window, any of which can be submitted.
    """
    start = time.monotonic()
    columns = load_table(request.events)
    note(originals(columns))
    mjj, chosen = columns[mass_column(columns)], sorted(set(request.windows or covering(request)))
    done: dict[Window, _Done] = {}
    errors: dict[Window, ToolError] = {}
    for window in chosen:
        try:
            in_window(mjj, window)
        except ToolError as error:
            errors[window] = error
    groups = apart([window for window in chosen if window not in errors], mjj)
    with pool(min(cores(), len(chosen)), __name__) as processes:
        fits = {processes.submit(_fit, request, group): group for group in groups}
        futures: dict[Future[_Done], Window] = {}
        for fit in as_completed(fits):
            try:
                learned = fit.result()
            except ToolError as error:
                errors |= dict.fromkeys(fits[fit], error)
                continue
            futures |= {processes.submit(_search, request, window, learned): window for window in fits[fit]}
        for n, future in enumerate(as_completed(futures), 1):
            window = futures[future]
            try:
                done[window] = future.result()
                said = f"z = {done[window].row.z:.2f} at {done[window].row.mass:.4g}"
            except ToolError as error:
                errors[window], said = error, str(error)
            spent = time.monotonic() - start
            expected = spent * len(futures) / n
            print(f"{window}: {said} ({n}/{len(futures)}, {spent:.0f} of {expected:.0f} s)", file=sys.stderr)
    if not done:
        raise errors[chosen[0]]
    found = [done[window] for window in chosen if window in done]
    best = int(np.argmax([each.row.z for each in found]))
    return SurveyResult(
        windows=[each.row for each in found],
        best=best,
        p_global=_p_global(found[best], len(found), request.width),
        failed=[str(errors[window]) for window in chosen if window in errors],
        seconds=time.monotonic() - start,
    )


def covering(request: SurveyRequest) -> list[Window]:
    """Return overlapping windows over the range of the request; ToolError if none or too many fit into it."""
    low, high = request.search
    if not 0 < low < high or high * (1 - request.half_width) < low * (1 + request.half_width):
        raise ToolError(
            "search", request.search, "two edges in the unit of the mass, 0 < lower < upper, at least a window apart"
        )
    middles = centres(request.search, request.half_width, request.step)
    if len(middles) > MOST:
        raise ToolError("step", request.step, f"large enough for at most {MOST} windows, not {len(middles)}")
    return [window_at(centre, request.search, request.half_width) for centre in middles]


def apart(windows: Sequence[Window], mjj: Floats) -> list[list[Window]]:
    """Deal windows into groups that can share a fit: more than a window's width of sidebands lies between any two, and
    a group holds LEFT_OUT of the events mjj (n,) at most, unless it is a single window.

    >>> apart([(1.0, 1.1), (1.1, 1.2), (1.3, 1.4)], np.linspace(0, 2, 100))
    [[(1.0, 1.1), (1.3, 1.4)], [(1.1, 1.2)]]
    """
    groups: list[list[Window]] = []
    for low, high in sorted(windows):
        for group in groups:
            left_out = sum(within(mjj, window).sum() for window in (*group, (low, high)))
            if low - group[-1][1] > high - low and left_out <= LEFT_OUT * len(mjj):
                group.append((low, high))
                break
        else:
            groups.append([(low, high)])
    return groups


def _fit(request: SurveyRequest, group: Sequence[Window]) -> bytes:
    """Learn the background outside all windows of the group; return it as bytes, which processes can pass on."""
    with redirect_stderr(StringIO()):
        data = load(_at(request, group[0]))
        data = replace(data, inside=np.any([within(data.mjj, window) for window in group], axis=0))
        return pickle.dumps(learn(QUICK, data, "events", request.seed, OVERSAMPLE))


def _at(request: SurveyRequest, window: Window) -> WindowRequest:
    return WindowRequest(events=request.events, window=window, features=request.features, seed=request.seed)


def _search(request: SurveyRequest, window: Window, fit: bytes) -> _Done:
    """Search one window with the three tools; `fit` is the background learned for it."""
    with redirect_stderr(StringIO()):
        at = f"{request.out}/{window[0]:g}_{window[1]:g}"
        data = load(_at(request, window))
        mjj = window_masses(data, OVERSAMPLE, request.seed)
        common: dict[str, Any] = {"events": request.events, "window": window}
        learned = common | {"features": request.features, "seed": request.seed}
        wanted = TemplateRequest(**learned, method=QUICK, oversample=OVERSAMPLE, out=f"{at}_template.parquet")
        made = sampled(wanted, data, mjj, pickle.loads(fit), f"{at}_template_control.parquet")
        scored = classify.run(
            ClassifyRequest(
                **learned,
                template=made.template.path,
                control=made.control.path,
                folds=FOLDS,
                ensemble=ENSEMBLE,
                out=f"{at}_scores.parquet",
                out_template=f"{at}_template_scores.parquet",
            )
        )
        cuts, spectra = bumps(
            ScanRequest(**common, scores=scored.scores.path, width=request.width, fit_range=request.fit_range)
        )
    cut = max(cuts, key=lambda each: each.z)
    row = Searched(
        window=window,
        scores=scored.scores.path,
        template_scores=scored.template_scores.path,
        z=cut.z,
        efficiency=cut.efficiency,
        mass=cut.mass,
        mass_error=cut.mass_error,
        signal=cut.signal,
        signal_error=cut.signal_error,
        argos=scored.argos,
        argos_error=scored.argos_error,
        closure_auc=made.closure_auc,
        closure_auc_error=made.closure_auc_error,
        warning=" ".join(text for text in (scored.warning, distrust(cuts, cuts.index(cut), window)) if text) or None,
    )
    return _Done(row, spectra)


def _p_global(best: _Done, windows: int, width: float | None) -> float:
    """Return how often background gives so large a bump in any of so many windows, each with cuts of its own."""
    hunt = Hunt(best.spectra, hypotheses(*best.row.window, width))
    return global_p_value([hunt], best.row.z, windows, TOYS).p_global
