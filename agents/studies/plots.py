"""The plots of a study as inline SVG: text stays text, and every point of a run links to the run.

The same numbers give the same bytes; a plot without data is None.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter

from agents.studies.outcome import Outcome
from agents.studies.results import ArmRow, Span, StudyResult
from agents.studies.table import answered, measured_sets, metric_of
from tasks.plotting import GREY, STYLE

# Petroff's ten colours, safe for the colour-blind (arXiv:2107.02270).
COLOURS = ("#3f90da", "#ffa90e", "#bd1f01", "#832db6", "#94a4a2", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")
KINDS = ("service", "schema", "code", "resource", "tool_misuse", "statistics", "fabricated", "breakout")
WIDTH = 9.4  # inches
Link = Callable[[Outcome], str]
Rows = Mapping[str, Sequence[Outcome]]  # backend -> its runs, without missing ones
SVG: Any = STYLE | {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "axes.labelsize": 10.5,
    "xtick.minor.visible": False,  # minor ticks take half of the plotting time
    "ytick.minor.visible": False,
}


def strips(result: StudyResult, runs: Rows, link: Link) -> Markup | None:
    """Plot success rates with both intervals and, beside them, the metric of each run and its mean with interval."""
    arms = [arm for arm in result.arms if arm.n]
    if not arms:
        return None
    measured = any(arm.metric.n for arm in arms)
    meant = measured_sets(chain(*runs.values()))
    with style.context(["default", SVG]):
        figure = Figure(figsize=(WIDTH, 1.2 + 0.62 * len(arms)), layout="constrained")
        left, *right = _panels(figure, 1, [2, 3][: 1 + measured], sharey=True)
        titles: dict[str, str] = {}
        for place, arm in enumerate(arms):
            colour = colour_of(result, arm)
            _bar(left, place, arm.success.wide, colour, 1.2)
            _bar(left, place, arm.success.interval, colour, 4.5)
            left.plot([arm.success.value or 0.0], [place], "o", color="white", mec=colour, mew=2, ms=7, zorder=4)
            for axes in right:
                _strip(axes, place, arm, [r for r in runs[arm.name] if r.dataset in meant], result, link, titles)
        left.set_yticks(range(len(arms)), [arm.name for arm in arms])
        left.set_ylim(len(arms) - 0.5, -0.6)
        left.set_xlim(-0.02, 1.02)
        left.xaxis.set_major_formatter(PercentFormatter(1))
        left.set_xlabel("success rate", loc="right")
        for axes in (left, *right):
            axes.tick_params(axis="y", left=False, right=False)
            axes.grid(axis="x", color="#e1e5ec", lw=0.8, zorder=0)
            axes.set_axisbelow(True)
        for axes in right:
            axes.axvline(float(result.study["primary"]["failure"]), color=GREY, lw=0.8, ls=":", zorder=1)
            axes.set_xlabel(str(result.study["primary"]["metric"]), loc="right")
        return _svg(figure, "strips", titles)


def _strip(
    axes: Axes,
    place: int,
    arm: ArmRow,
    runs: Sequence[Outcome],
    result: StudyResult,
    link: Link,
    titles: dict[str, str],
) -> None:
    failure, colour = float(result.study["primary"]["failure"]), colour_of(result, arm)
    for shown, marker, face in (
        ([r for r in runs if answered(r) and r.success], "o", colour),
        ([r for r in runs if answered(r) and not r.success], "o", "white"),
        ([r for r in runs if not answered(r)], "x", GREY),
    ):
        if shown:
            order = np.arange(len(shown))
            y = place + 0.5 * ((order * 0.618034) % 1 - 0.5) - 0.05
            x = [metric_of(run, failure) for run in shown]
            look: dict[str, Any] = {"facecolors": face, "edgecolors": colour} if marker == "o" else {"color": GREY}
            points = axes.scatter(x, y, s=22, marker=marker, linewidths=1, alpha=0.8, zorder=3, **look)
            points.set_urls([link(run) for run in shown])
            titles |= {link(run): f"{run.cell}: {value:.3g}" for run, value in zip(shown, x, strict=True)}
    if arm.metric.mean is not None:
        _bar(axes, place + 0.33, arm.metric.interval, "black", 1.8)
        axes.plot([arm.metric.mean], [place + 0.33], "D", color="black", ms=4.5, zorder=4)


def passes(result: StudyResult) -> Markup | None:
    """Plot pass^k, the probability that all of k runs succeed, and pass@k, that at least one does, against k."""
    arms = [arm for arm in result.arms if len(arm.passes) > 1 and arm.derived is None]
    if not arms:
        return None
    with style.context(["default", SVG]):
        figure, axes = _figure(3.6)
        for place, arm in enumerate(arms):
            colour, k = colour_of(result, arm), np.array([row.k for row in arm.passes], float)
            axes.plot(k, [row.hat or 0.0 for row in arm.passes], "o-", ms=4, color=colour, label=arm.name)
            axes.plot(k, [row.at or 0.0 for row in arm.passes], "--", color=colour, lw=1)
            low, high = zip(*(_ends(row.hat_interval) for row in arm.passes), strict=True)
            axes.vlines(k + 0.06 * (place - (len(arms) - 1) / 2), low, high, color=colour, lw=1, alpha=0.6)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlim(0.7, max(arm.passes[-1].k for arm in arms) + 0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlabel("k runs", loc="right")
        axes.set_ylabel("pass^k (dashed: pass@k)", loc="top")
        _legend(figure)
        return _svg(figure, "passes")


def null_p_values(result: StudyResult, runs: Rows, link: Link) -> Markup | None:
    """Plot the harness's p-values on signal-free data, with the uniform expectation and a mark for each run."""
    found = {
        arm.name: [r for r in runs[arm.name] if not r.truth.signal and r.answer and r.answer.p_value is not None]
        for arm in result.arms
    }
    arms = [arm for arm in result.arms if found[arm.name]]
    if not arms:
        return None
    columns = min(3, len(arms))
    lines = -(-len(arms) // columns)
    with style.context(["default", SVG]):
        figure = Figure(figsize=(WIDTH, 2.6 * lines), layout="constrained")
        grid = _panels(figure, lines, [1] * columns, sharex=True)
        titles: dict[str, str] = {}
        for axes, arm in zip(grid, arms, strict=False):
            rows, colour = found[arm.name], colour_of(result, arm)
            p = np.array([row.answer.p_value for row in rows if row.answer])
            expected = len(p) / 10
            axes.hist(p, 10, range=(0, 1), color=colour, alpha=0.55)
            axes.axhspan(max(0, expected - expected**0.5), expected + expected**0.5, color=GREY, alpha=0.18, lw=0)
            axes.axhline(expected, color=GREY, lw=1)
            points = axes.scatter(p, np.zeros(len(p)), s=22, marker="|", color=colour, zorder=4, clip_on=False)
            points.set_urls([link(row) for row in rows])
            titles |= {link(row): f"{row.cell}: p = {value:.3g}" for row, value in zip(rows, p, strict=True)}
            axes.set_title(arm.name, fontsize=10)
            axes.set_xlim(0, 1)
            axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        for axes in grid[len(arms) :]:
            axes.set_axis_off()
        for axes in grid[max(0, len(arms) - columns) : len(arms)]:
            axes.set_xlabel("p-value", loc="right")
        grid[0].set_ylabel("runs", loc="top")
        return _svg(figure, "null", titles)


def cost(result: StudyResult, runs: Rows, link: Link) -> Markup | None:
    """Plot the success rate against the mean cost of a run, and the metric of each run against its duration."""
    arms = [arm for arm in result.arms if arm.n]
    if not arms:
        return None
    kinds = ["seconds", *(["dollars"] if any(arm.dollars.total for arm in arms) else [])]
    measured = any(arm.metric.n for arm in arms)
    meant = measured_sets(chain(*runs.values()))
    with style.context(["default", SVG]):
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        panels = _panels(figure, 1, [1] * (len(kinds) + measured))
        titles: dict[str, str] = {}
        for arm in arms:
            colour = colour_of(result, arm)
            for axes, kind in zip(panels, kinds, strict=False):
                x, (low, high) = float(getattr(arm, kind).per_run), _ends(arm.success.interval)
                axes.plot([x, x], [low, high], "-", color=colour, lw=1.6)
                axes.plot([x], [arm.success.value or 0.0], "o", color=colour, ms=8, label=arm.name)
            if measured:
                shown = [r for r in runs[arm.name] if r.dataset in meant]
                y = [metric_of(run, float(result.study["primary"]["failure"])) for run in shown]
                points = panels[-1].scatter([r.seconds for r in shown], y, s=16, color=colour, alpha=0.6, lw=0)
                points.set_urls([link(run) for run in shown])
                titles |= {link(run): f"{run.cell}: {run.seconds:.0f} s" for run in shown}
        for axes, kind in zip(panels, kinds, strict=False):
            axes.set_ylim(-0.02, 1.02)
            axes.set_xlim(left=0)
            axes.yaxis.set_major_formatter(PercentFormatter(1))
            axes.set_xlabel(f"{kind} per run", loc="right")
        panels[0].set_ylabel("success rate", loc="top")
        if measured:
            panels[-1].set_ylabel(str(result.study["primary"]["metric"]), loc="top")
            panels[-1].set_xlabel("seconds of a run", loc="right")
            panels[-1].set_xscale("log")
            panels[-1].xaxis.set_major_formatter("{x:g}")
            panels[-1].xaxis.set_minor_formatter(NullFormatter())
        _legend(figure, panels[0])
        return _svg(figure, "cost", titles)


def faults(result: StudyResult) -> Markup | None:
    """Plot the fatal faults of each backend as fractions of its runs."""
    arms = [arm for arm in result.arms if arm.n and arm.derived is None]
    kinds = [kind for kind in KINDS if any(arm.fatal.get(kind) for arm in arms)]  # type: ignore[call-overload]
    if not kinds:
        return None
    with style.context(["default", SVG]):
        figure = Figure(figsize=(WIDTH, 1.1 + 0.36 * len(arms)), layout="constrained")
        axes = figure.subplots()
        begun = np.zeros(len(arms))
        for kind in kinds:
            share = np.array([arm.fatal.get(kind, 0) / arm.n for arm in arms])  # type: ignore[call-overload]
            axes.barh(
                range(len(arms)), share, left=begun, height=0.6, color=COLOURS[KINDS.index(kind)], label=label(kind)
            )
            begun += share
        axes.set_yticks(range(len(arms)), [arm.name for arm in arms])
        axes.set_ylim(len(arms) - 0.5, -0.5)
        axes.set_xlim(0, max(0.05, 1.1 * begun.max()))
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.tick_params(axis="y", left=False, right=False)
        axes.set_xlabel("runs without a valid answer, by cause", loc="right")
        _legend(figure)
        return _svg(figure, "faults")


def colour_of(result: StudyResult, arm: ArmRow) -> str:
    """Return a backend's colour, by its place in the study file; best-of-N arms have that of their source."""
    names = [backend["name"] for backend in result.study["backends"]]
    return COLOURS[names.index(arm.derived or arm.name) % len(COLOURS)]


def label(kind: str) -> str:
    """Return the readable name of a fault kind."""
    return {"tool_misuse": "tool misuse", "fabricated": "fabricated claim", "breakout": "attempt to break out"}.get(
        kind, kind
    )


def _bar(axes: Axes, y: float, span: Span, colour: str, width: float) -> None:
    axes.plot(_ends(span), [y, y], "-", color=colour, lw=width, solid_capstyle="butt", zorder=2)


def _ends(span: Span) -> tuple[float, float]:
    """Return the ends of an interval; NaN, which is not drawn, for missing ones."""
    return np.nan if span.low is None else span.low, np.nan if span.high is None else span.high


def _panels(figure: Figure, lines: int, widths: Sequence[int], **more: Any) -> list[Axes]:
    return list(figure.subplots(lines, len(widths), squeeze=False, width_ratios=widths, **more).ravel())


def _legend(figure: Figure, axes: Axes | None = None) -> None:
    handles = dict(zip(*reversed((axes or figure.axes[0]).get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=min(6, len(handles)), frameon=False)


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH * 0.72, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure, name: str, titles: Mapping[str, str] | None = None) -> Markup:
    """Return the <svg> element. `name` goes into its ids, so that they are unique on the page."""
    out = io.StringIO()
    with style.context({"svg.hashsalt": name}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(id="|url\(#|href="#)', rf"\1{name}-", text)
    for link, title in (titles or {}).items():
        begin = f'<a xlink:href="{escape(link)}">'
        text = text.replace(begin, f"{begin}<title>{escape(title)}</title>")
    return Markup(text)
