"""The unfolding tool: reads data and simulation, unfolds them with uncertainties and writes the result."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from tools.arrays import load_arrays, sha256
from tools.contract import Request, Result, ToolError, named, tool
from tools.files import below
from tools.omnifold.companions import with_jets
from tools.omnifold.discriminator import effective_sample_size, triangular
from tools.omnifold.ibu import Ibu
from tools.omnifold.iterate import OmniFold
from tools.omnifold.jets import JetNetwork
from tools.omnifold.problem import Mask, Problem
from tools.omnifold.publish import SUFFIXES, nominal, publish
from tools.omnifold.read import Histogram, read
from tools.omnifold.sinkhorn import Sinkhorn
from tools.omnifold.uncertainty import Method, Plan, study
from tools.types import Floats

OUTSIDE = 0.005  # fraction of the data, per observable, that may lie beyond the simulation
BINS = 50  # for the triangular discriminators


class UnfoldRequest(Request):
    """Data at detector level, a simulation at both levels, the observables to unfold and the method."""

    data: str = Field("/inputs/data.parquet", description="parquet with a column reco_X per observable X")
    simulation: str = Field("/inputs/simulation.parquet", description="parquet with gen_X and reco_X per observable X")
    observables: list[str] = Field(
        min_length=1, description="names X; omnifold takes any number, the other methods at most two"
    )
    method: Annotated[
        Annotated[OmniFold | Ibu | Sinkhorn, Field(discriminator="kind")],
        BeforeValidator(named),
        Field(
            description="'omnifold', 'ibu' or 'sinkhorn', alone or with settings",
            json_schema_extra={"default": "omnifold"},
        ),
    ] = OmniFold()
    ensemble: int = Field(1, ge=1, le=200, description="runs with different seeds, averaged")
    bootstraps: int = Field(0, ge=0, le=1000, description="bootstrap replicas for the statistical error: 20 or more")
    alternative: str | None = Field(None, description="another simulation file, for the model dependence")
    nuisances: list[str] = Field([], description="columns of the simulation with its event weights under variations")
    workers: int = Field(1, ge=1, le=256, description="parallel processes")
    folder: str = Field("unfolding", description="keeps finished replicas; the same request continues from there")
    out: str = Field("unfolded.parquet", description="file of per-event weights to write: .parquet or .h5")
    report: str | None = Field(None, description="folder for plots and a HEPData submission of the observables")
    seed: int = Field(1, ge=0)


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
    n_unfolded: float = Field(description="number of events at particle level, the sum of the nominal weights")
    effective_sample_size: float = Field(description="effective sample size of the nominal weights")
    outside: dict[str, float] = Field(
        description="fraction of the data beyond the range of the simulation, by observable, if there are any"
    )
    replicas: list[str]
    submission: str | None = Field(description="HEPData archive, if a report was asked for")


@tool("omnifold.unfold")
def unfold(request: UnfoldRequest) -> UnfoldResult:
    """Unfold detector effects: find weights for simulated events that make them follow the data at particle level.
    Columns weight, pass_gen and pass_reco (0 or 1) are used if files have them; a simulation without weights is
    scaled to the data at detector level. Writes per-event weights, nominal and one column per replica, from which any
    observable can be histogrammed with its covariance. The classifier 'jets' sees all particles of the jets: FILE needs
    columns gen_jet and reco_jet, the rows of the jets in FILE.particles.h5.
    """
    if len(set(request.observables)) < len(request.observables):
        raise ToolError("observables", request.observables, "each name once")
    out, folder = _out(request), below("folder", request.folder)
    if request.report:
        below("report", request.report)
    columns = load_arrays(request.simulation, "simulation")
    data = _data(request)
    problem = _problem(request, columns, data, "simulation")
    outside = _outside(request, problem, "data")
    nuisances = {name: _varied(request, columns, problem, name) for name in request.nuisances}
    alternative = None
    if request.alternative:
        alternative = _problem(request, load_arrays(request.alternative, "alternative"), data, "alternative")
        _outside(request, alternative, "alternative")
    method, studied, other = _studied(request, problem, alternative)
    plan = Plan(request.ensemble, request.bootstraps, nuisances, other, request.seed)
    done = study(studied, method, plan, folder, request.workers, progress=_report)
    gen = {x: columns[f"gen_{x}"] for x in request.observables}
    metadata = _metadata(request, problem) | {
        "method": method.model_dump(),
        "iterations": done.nominal.iterations,
    }
    before_last = {}
    if done.nominal.previous is not None:
        before_last[f"iteration_{done.nominal.iterations - 1}"] = done.nominal.previous
    content = publish(out, gen, done.weights | before_last, metadata)
    weights = nominal(done.weights)
    before, after = _reco_deltas(request.observables, problem, weights)
    return UnfoldResult(
        out=request.out,
        rows=len(problem),
        file_sha256=sha256(out),
        content_sha256=content,
        iterations=done.nominal.iterations,
        discrepancy=done.nominal.discrepancy,
        reco_delta_before=before,
        reco_delta=after,
        n_unfolded=float(weights.sum()),
        effective_sample_size=effective_sample_size(weights),
        outside=outside,
        replicas=list(done.weights),
        submission=_make_report(request, problem) if request.report else None,
    )


def _out(request: UnfoldRequest) -> Path:
    """Return the file to write."""
    out = below("out", request.out)
    if out.suffix not in SUFFIXES:
        raise ToolError("out", request.out, f"a file ending in one of {', '.join(SUFFIXES)}")
    if out.resolve() in {Path(p).resolve() for p in (request.data, request.simulation, request.alternative) if p}:
        raise ToolError("out", request.out, "a file other than the inputs")
    return out


def _metadata(request: UnfoldRequest, problem: Problem) -> dict[str, Any]:
    """Return the part of the published metadata that says what was unfolded."""
    return {
        "seed": request.seed,
        "observables": request.observables,
        "simulation_sha256": sha256(Path(request.simulation)),
        "data_sha256": sha256(Path(request.data)),
        "alternative_sha256": sha256(Path(request.alternative)) if request.alternative else None,
        "events": {"data": len(problem.data), "simulation": len(problem)},
    }


def _data(request: UnfoldRequest) -> tuple[Floats, Floats]:
    """Return values (n, d) and weights (n,) of the measured events that pass."""
    columns = load_arrays(request.data, "data")
    values = np.column_stack([_column(columns, f"reco_{x}", "data", request.data) for x in request.observables])
    weight = columns.get("weight", np.ones(len(values)))
    passed = _flag(columns, "pass_reco", "data", request.data)
    return values[passed], weight[passed]


def _problem(request: UnfoldRequest, columns: dict[str, Floats], data: tuple[Floats, Floats], field: str) -> Problem:
    path = request.simulation if field == "simulation" else str(request.alternative)
    gen, reco = (
        np.column_stack([_column(columns, f"{level}_{x}", field, path) for x in request.observables])
        for level in ("gen", "reco")
    )
    pass_gen, pass_reco = (_flag(columns, name, field, path) for name in ("pass_gen", "pass_reco"))
    problem = Problem.of(data[0], gen, reco, data[1], columns.get("weight"), pass_gen, pass_reco)
    if "weight" not in columns:
        problem = problem.scaled()
    problem.check_fakes()
    for sample, values in (("data", data[0]), (field, reco[problem.pass_reco]), (field, gen[problem.pass_gen])):
        for name, spread in zip(request.observables, np.ptp(values, axis=0), strict=True):
            if spread == 0:
                raise ToolError("observables", name, f"is constant in {sample}; remove it")
    return problem


def _varied(request: UnfoldRequest, columns: dict[str, Floats], problem: Problem, name: str) -> Floats:
    """Return the weights of the simulation under a variation, one of its columns."""
    weight = _column(columns, name, "nuisances", request.simulation)
    try:
        varied = problem.reweighted(weight=weight)
    except ToolError as error:
        raise ToolError("nuisances", name, f"{error.field}: {error.allowed}") from None
    return (varied if "weight" in columns else varied.scaled()).weight


def _studied(
    request: UnfoldRequest, problem: Problem, alternative: Problem | None
) -> tuple[Method, Problem, Problem | None]:
    """Return method, simulation and alternative; for the classifier 'jets' with the rows of the events' jets."""
    method = request.method
    if not (isinstance(method, OmniFold) and isinstance(method.classifier, JetNetwork)):
        return method, problem, alternative
    simulations = {"simulation": (request.simulation, problem)}
    if alternative is not None:
        simulations["alternative"] = (str(request.alternative), alternative)
    method, found = with_jets(method, request.data, simulations)
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


def _reco_deltas(names: list[str], p: Problem, weights: Floats) -> tuple[dict[str, float], dict[str, float]]:
    """Return discriminators of data against simulation at detector level, before and after; fakes keep their weight."""
    rows = p.pass_reco
    after = np.where(p.pass_gen, weights, p.weight)
    found: tuple[dict[str, float], dict[str, float]] = ({}, {})
    for i, name in enumerate(names):
        both = np.concatenate([p.data[:, i], p.reco[rows, i]])
        edges = _edges(both, BINS)
        data = np.histogram(p.data[:, i], edges, weights=p.data_weight)[0]
        for deltas, w in zip(found, (p.weight, after), strict=True):
            deltas[name] = triangular(data, np.histogram(p.reco[rows, i], edges, weights=w[rows])[0])
    return found


def _edges(x: Floats, bins: int) -> Floats:
    """Return edges of equal bins over all of x except the outermost 0.1% on either side."""
    low, high = np.quantile(x, (0.001, 0.999))
    return np.linspace(float(low), float(high), bins + 1)


def _make_report(request: UnfoldRequest, problem: Problem) -> str:
    """Make plots and tables from the published file alone, as any reader could; return the path of the archive."""
    try:
        from tools.omnifold.hepdata import export
        from tools.omnifold.plots import ratio_plot

        folder = below("report", str(request.report))
        events = read(Path(request.out))
        histograms: dict[str, Histogram] = {}
        for i, name in enumerate(request.observables):
            x = problem.gen[problem.pass_gen, i]
            edges = _edges(x, 20)
            histograms[name] = events.histogram(np.where(problem.pass_gen, problem.gen[:, i], np.nan), edges)
            simulated = np.histogram(x, edges, weights=problem.weight[problem.pass_gen])[0]
            scaled = simulated * (histograms[name].values.sum() / simulated.sum())
            ratio_plot(histograms[name], {"simulation": scaled}, name, folder / f"{name}.png")
        return str(export(histograms, folder, f"Unfolded with {request.method.kind}."))
    except ImportError as error:
        raise ToolError(
            "report", request.report, f"needs the extra `publish` ({error}); the weights have been written"
        ) from None


def _flag(columns: dict[str, Floats], name: str, field: str, path: str) -> Mask:
    """Return a flag for each event; all pass if the file does not have the column."""
    values = columns.get(name, np.ones(len(next(iter(columns.values())))))
    if not np.isin(values, (0, 1)).all():
        raise ToolError(field, path, f"column {name!r} must hold 0 and 1 only")
    return np.asarray(values > 0)


def _column(columns: dict[str, Floats], name: str, field: str, path: str) -> Floats:
    if name not in columns:
        raise ToolError(field, path, f"a file with the column {name!r}; it has {sorted(columns)}")
    return columns[name]


def _report(line: str) -> None:
    print(line, file=sys.stderr)
