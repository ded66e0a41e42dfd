"""The unfolding tool: reads data and simulation, unfolds them with uncertainties and writes the result."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from tools.arrays import save_arrays, sha256
from tools.contract import Request, Result, Seed, ToolError, named, tool
from tools.events.weights import effective
from tools.files import below
from tools.types import Floats
from tools.unfolding.companions import with_jets
from tools.unfolding.discriminator import floor, triangular
from tools.unfolding.generative import Generative
from tools.unfolding.inputs import Sample, as_problem, read_sample
from tools.unfolding.iterate import OmniFold
from tools.unfolding.jets import JetNetwork
from tools.unfolding.nuisances import read_variations
from tools.unfolding.problem import Mask, Problem
from tools.unfolding.publish import SUFFIXES, nominal, publish
from tools.unfolding.read import Histogram, errors_by_source, read
from tools.unfolding.steps import Drawn
from tools.unfolding.uncertainty import Method, Plan, study

OUTSIDE = 0.005  # fraction of the data, per observable, that may lie beyond the simulation
BINS = 50  # for the triangular discriminators


Chosen = Annotated[Method, Field(discriminator="kind")]


class UnfoldRequest(Request):
    """Data at detector level, a simulation at both levels, the observables to unfold and the method."""

    data: str = Field("/inputs/data.parquet", description="parquet with a column reco_X per observable X")
    simulation: str = Field("/inputs/simulation.parquet", description="parquet with gen_X and reco_X per observable X")
    observables: list[str] = Field(
        min_length=1, description="names X; ibu and transport take at most two, the others any number"
    )
    method: Annotated[
        Chosen,
        BeforeValidator(named),
        Field(
            description="a method by its kind alone, or with settings: omnifold, ibu and transport reweight, "
            "flow_matching, direct_diffusion and schroedinger_bridge draw events",
            json_schema_extra={"default": "omnifold"},
        ),
    ] = OmniFold()
    beside: Annotated[Chosen | None, BeforeValidator(named)] = Field(
        None, description="another method, the difference from which is an error: a generative beside a reweighting one"
    )
    ensemble: int = Field(1, ge=1, le=200, description="runs with different seeds, averaged")
    bootstraps: int = Field(0, ge=0, le=1000, description="bootstrap replicas for the statistical error: 20 or more")
    alternative: str | None = Field(None, description="another simulation file, for the model dependence")
    nuisances: list[str] = Field(
        [],
        description="names N of variations of the simulation: a column N with its event weights, or columns reco_X_N "
        "of moved events (and pass_reco_N, if these pass otherwise); N_up and N_down are one source of error",
    )
    stress: bool = Field(
        False,
        description="stress tests: also unfold the simulation with known slopes of 5, 10, 20 and 50% in its truth, and "
        "the data from a sloped and from a flat prior",
    )
    workers: int = Field(1, ge=1, le=256, description="parallel processes")
    folder: str = Field("unfolding", description="keeps finished replicas; the same request continues from there")
    out: str = Field("unfolded.parquet", description="file of per-event weights to write: .parquet or .h5")
    out_samples: str | None = Field(
        None, description="parquet file for the events of a generative method: event (row of data), weight, gen_X"
    )
    report: str | None = Field(None, description="folder for plots and a HEPData submission of the observables")
    bins: dict[str, list[float]] = Field({}, description="edges of the report's bins by observable; default: 20 equal")
    units: dict[str, str] = Field({}, description="units in the report by observable")
    seed: Seed = Field(1, ge=0)


class UnfoldResult(Result):
    """Per-event weights of the simulation, and their agreement with the data at detector level."""

    out: str
    rows: int
    file_sha256: str
    content_sha256: str
    iterations: int
    discrepancy: list[tuple[float, float]] = Field(
        description="chi2 per bin of data and reweighted simulation at detector level, and its spread if they "
        "agree: before the first iteration and after each"
    )
    reco_delta_before: dict[str, float] = Field(
        description="triangular discriminator x 1000 of data and simulation at detector level, by observable"
    )
    reco_delta: dict[str, float] = Field(description="the same after unfolding, with the nominal weights")
    reco_delta_floor: dict[str, float] = Field(description="the same expected of two equal samples of these sizes")
    totals: list[float] = Field(description="events at particle level, before the first iteration and after each")
    effective_sizes: list[float] = Field(description="effective sample size of the weights, likewise")
    n_unfolded: float = Field(description="number of events at particle level, the sum of the nominal weights")
    effective_sample_size: float = Field(description="effective sample size of the nominal weights")
    mean_errors: dict[str, dict[str, float]] = Field(
        description="standard deviation of the mean of each observable at particle level, by source of error"
    )
    outside: dict[str, float] = Field(
        description="fraction of the data beyond the range of the simulation, by observable, if there are any"
    )
    replicas: list[str]
    samples: str | None = Field(None, description="file of drawn events, if asked for")
    submission: str | None = Field(description="HEPData archive, if a report was asked for")
    notes: list[str] = Field([], description="what was assumed about the input")


@tool("unfolding.unfold")
def unfold(request: UnfoldRequest) -> UnfoldResult:
    """Unfold detector effects: find weights for simulated events that make them follow the data at particle level.
    Columns weight, pass_gen and pass_reco (0 or 1) are used if files have them (without flags, events with -999 at a
    level do not pass it); a simulation without weights is scaled to the data at detector level. Writes per-event
    weights, nominal and one column per replica, from which any observable can be histogrammed with its covariance. The
    classifier 'jets' sees all particles of the jets: FILE needs columns gen_jet and reco_jet, the rows of the jets in
    FILE.particles.h5.
    """
    out, folder = _checked(request)
    data = read_sample(request.data, "data", request.observables, ("reco",))
    simulation = _simulation(request, "simulation")
    columns, notes = simulation.columns, [*data.notes, *simulation.notes]
    problem = _problem(request, data, simulation, "simulation")
    outside = _outside(request, problem, "data")
    nuisances = read_variations(request.nuisances, simulation, problem, request.observables, request.simulation)
    alternative = None
    if request.alternative:
        other_sample = _simulation(request, "alternative")
        notes += other_sample.notes
        alternative = _problem(request, data, other_sample, "alternative")
        _outside(request, alternative, "alternative")
    for note in notes:
        _report(f"note: {note}")
    moved = [name for name, variation in nuisances.items() if variation.reco is not None]
    if moved and _sees_jets(request.method):
        raise ToolError(
            "nuisances", moved, "the classifier 'jets' sees no moved columns: weights only, or mlp or trees"
        )
    method, studied, other = _studied(request, data.passed["reco"], problem, alternative)
    beside = _named(request.beside, request.observables) if request.beside else None
    plan = Plan(request.ensemble, request.bootstraps, nuisances, other, beside, request.stress, request.seed)
    done = study(studied, method, plan, folder, request.workers, progress=_report)
    gen = {x: columns[f"gen_{x}"] for x in request.observables}
    metadata = {
        "method": method.model_dump(),
        "beside": beside.model_dump() if beside else None,
        "iterations": done.nominal.iterations,
        "seed": request.seed,
        "observables": request.observables,
        "simulation_sha256": sha256(Path(request.simulation)),
        "data_sha256": sha256(Path(request.data)),
        "alternative_sha256": sha256(Path(request.alternative)) if request.alternative else None,
        "events": {"data": len(problem.data), "simulation": len(problem)},
    }
    before_last = {}
    if done.nominal.previous is not None:
        before_last[f"iteration_{done.nominal.iterations - 1}"] = done.nominal.previous
    content = publish(out, gen, done.weights | before_last, metadata)
    weights = nominal(done.weights)
    before, after, floors = _reco_deltas(request.observables, problem, weights)
    return UnfoldResult(
        out=request.out,
        rows=len(problem),
        file_sha256=sha256(out),
        content_sha256=content,
        iterations=done.nominal.iterations,
        discrepancy=done.nominal.discrepancy,
        totals=done.nominal.totals,
        effective_sizes=done.nominal.effective,
        reco_delta_before=before,
        reco_delta=after,
        reco_delta_floor=floors,
        n_unfolded=float(weights.sum()),
        effective_sample_size=effective(weights),
        mean_errors=_mean_errors(request.observables, problem, done.weights | {"nominal": weights}),
        outside=outside,
        replicas=list(done.weights),
        samples=_save_drawn(request, data, done.nominal.drawn) if request.out_samples else None,
        submission=_make_report(request, problem) if request.report else None,
        notes=notes,
    )


def _checked(request: UnfoldRequest) -> tuple[Path, Path]:
    """Return the file to write and the folder of the study; ToolError for what cannot be done with any data."""
    out = below("out", request.out)
    if out.suffix not in SUFFIXES:
        raise ToolError("out", request.out, f"a file ending in one of {', '.join(SUFFIXES)}")
    if out.resolve() in {Path(p).resolve() for p in (request.data, request.simulation, request.alternative) if p}:
        raise ToolError("out", request.out, "a file other than the inputs")
    for name in ("observables", "nuisances"):
        if len(set(given := getattr(request, name))) < len(given):
            raise ToolError(name, given, "each name once")
    for name, edges in request.bins.items():
        if name not in request.observables or len(edges) < 2 or np.any(np.diff(edges) <= 0):
            raise ToolError("bins", {name: edges}, f"two or more rising edges of one of {request.observables}")
    if request.stress and _sees_jets(request.method):
        raise ToolError("stress", True, "a method without the classifier 'jets'")
    if request.beside and (_sees_jets(request.method) or _sees_jets(request.beside)):
        raise ToolError("beside", request.beside.kind, "methods without the classifier 'jets', both")
    if request.out_samples and not isinstance(request.method, Generative):
        raise ToolError(
            "out_samples", request.out_samples, f"a generative method; {request.method.kind} draws no events"
        )
    if request.out_samples:
        below("out_samples", request.out_samples, ".parquet")
    if request.report:
        below("report", request.report, folder=True)
    return out, below("folder", request.folder, folder=True)


def _sees_jets(method: Method) -> bool:
    return isinstance(method, OmniFold) and isinstance(method.classifier, JetNetwork)


def _named(method: Method, observables: list[str]) -> Method:
    """Return the method, which is told the observables' names if it uses them."""
    return method.on(observables) if isinstance(method, Generative) else method


def _save_drawn(request: UnfoldRequest, data: Sample, drawn: Drawn | None) -> str:
    assert drawn is not None
    draws = drawn.weight.shape[1]
    events = np.repeat(np.flatnonzero(data.passed["reco"]), draws).astype(float)
    columns = {f"gen_{x}": drawn.gen[:, :, k].ravel() for k, x in enumerate(request.observables)}
    return save_arrays(str(request.out_samples), {"event": events, "weight": drawn.weight.ravel(), **columns}).path


def _simulation(request: UnfoldRequest, field: Literal["simulation", "alternative"]) -> Sample:
    path = request.simulation if field == "simulation" else str(request.alternative)
    return read_sample(path, field, request.observables, ("gen", "reco"), tuple(request.nuisances))


def _problem(request: UnfoldRequest, data: Sample, simulation: Sample, field: str) -> Problem:
    problem = as_problem(data, simulation)
    problem.check_fakes()
    reco, gen = problem.reco[problem.pass_reco], problem.gen[problem.pass_gen]
    for sample, values in (("data", problem.data), (field, reco), (field, gen)):
        for name, spread in zip(request.observables, np.ptp(values, axis=0), strict=True):
            if spread == 0:
                raise ToolError("observables", name, f"is constant in {sample}; remove it")
    return problem


def _studied(
    request: UnfoldRequest, measured: Mask, problem: Problem, alternative: Problem | None
) -> tuple[Method, Problem, Problem | None]:
    """Return method, simulation and alternative; for the classifier 'jets' with the rows of the events' jets."""
    method = _named(request.method, request.observables)
    if not _sees_jets(method):
        return method, problem, alternative
    assert isinstance(method, OmniFold)
    simulations = {"simulation": (request.simulation, problem)}
    if alternative is not None:
        simulations["alternative"] = (str(request.alternative), alternative)
    method, found = with_jets(method, request.data, measured, simulations)
    return method, found["simulation"], found.get("alternative")


def _outside(request: UnfoldRequest, problem: Problem, field: str) -> dict[str, float]:
    """Return the fraction of data beyond the simulation, per observable that has any; ToolError above OUTSIDE."""
    shares = dict(zip(request.observables, problem.outside().tolist(), strict=True))
    out = {name: share for name, share in shares.items() if share > 0}
    for name, share in out.items():
        i = request.observables.index(name)
        seen = problem.reco[problem.pass_reco, i]
        said = (
            f"{share:.2%} of the data lie outside the simulation in reco_{name}, which runs from {seen.min():.6g} to "
            f"{seen.max():.6g} (the data: {problem.data[:, i].min():.6g} to {problem.data[:, i].max():.6g})"
        )
        if share > OUTSIDE:
            raise ToolError(field, name, f"{said}; at most {OUTSIDE:.1%} are allowed: cut them, or simulate there")
        _report(f"note: {said}")
    return out


def _reco_deltas(names: list[str], p: Problem, weights: Floats) -> tuple[dict[str, float], ...]:
    """Return discriminators of data against simulation at detector level: before, after, and of two equal samples.

    Fakes keep their weight.
    """
    rows = p.pass_reco
    after = np.where(p.pass_gen, weights, p.weight)
    found: tuple[dict[str, float], ...] = ({}, {}, {})
    for i, name in enumerate(names):
        edges = _edges(np.concatenate([p.data[:, i], p.reco[rows, i]]), BINS)

        def filled(x: Floats, w: Floats, edges: Floats = edges) -> Floats:
            return np.histogram(x, edges, weights=w)[0]

        data, reco = p.data[:, i], p.reco[rows, i]
        measured, simulated = filled(data, p.data_weight), filled(reco, p.weight[rows])
        found[0][name] = triangular(measured, simulated)
        found[1][name] = triangular(measured, filled(reco, after[rows]))
        squares = filled(data, p.data_weight**2), filled(reco, p.weight[rows] ** 2)
        found[2][name] = floor(measured, simulated, *squares)
    return found


def _mean_errors(names: list[str], p: Problem, weights: dict[str, Floats]) -> dict[str, dict[str, float]]:
    means = {which: np.average(p.gen[p.pass_gen], axis=0, weights=w[p.pass_gen]) for which, w in weights.items()}
    errors = errors_by_source(means)
    return {name: {source: float(each[i]) for source, each in errors.items()} for i, name in enumerate(names)}


def _edges(x: Floats, bins: int) -> Floats:
    """Return edges of equal bins over all of x except the outermost 0.1% on either side."""
    low, high = np.quantile(x, (0.001, 0.999))
    return np.linspace(float(low), float(high), bins + 1)


def _make_report(request: UnfoldRequest, problem: Problem) -> str:
    """Make plots and tables from the published file alone, as any reader could; return the path of the archive."""
    try:
        from tools.unfolding.hepdata import export
        from tools.unfolding.plots import ratio_plot

        folder = below("report", str(request.report), folder=True)
        events = read(Path(request.out))
        histograms: dict[str, Histogram] = {}
        for i, name in enumerate(request.observables):
            x = problem.gen[problem.pass_gen, i]
            edges = np.asarray(request.bins[name]) if name in request.bins else _edges(x, 20)
            histograms[name] = events.histogram(np.where(problem.pass_gen, problem.gen[:, i], np.nan), edges)
            simulated = np.histogram(x, edges, weights=problem.weight[problem.pass_gen])[0]
            scaled = simulated * (histograms[name].values.sum() / simulated.sum())
            unit = request.units.get(name)
            label = f"{name} [{unit}]" if unit else name
            ratio_plot(histograms[name], {"simulation": scaled}, label, folder / f"{name}.png")
        return str(export(histograms, folder, f"Unfolded with {request.method.kind}.", request.units))
    except ImportError as error:
        raise ToolError(
            "report", request.report, f"needs the extra `publish` ({error}); the weights have been written"
        ) from None


def _report(line: str) -> None:
    print(line, file=sys.stderr)
