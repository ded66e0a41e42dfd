"""The tool calorimeter.judge: generated compared with reference showers, by all measures common in the field."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from tools.calorimeter.classifier import Kind, Look, TwoSample, strongest, tell_apart
from tools.calorimeter.fpd import MIN_SHOWERS as MIN_FPD
from tools.calorimeter.fpd import fpd, kpd
from tools.calorimeter.geometry import Geometry, find_geometry
from tools.calorimeter.memory import memorised
from tools.calorimeter.observables import features
from tools.calorimeter.prdc import prdc
from tools.calorimeter.response import energy_bins, response
from tools.calorimeter.separation import by_class, separations
from tools.calorimeter.showers import Showers, read_showers
from tools.calorimeter.timing import milliseconds
from tools.calorimeter.trust import Region, trust_map
from tools.contract import Request, Result, Seed, ToolError, tool
from tools.files import below

LOOKS: tuple[Look, ...] = ("voxels", "observables")
SAME_ENERGIES = 1e-4  # p-value of a Kolmogorov-Smirnov test
WORST = 5


class JudgeRequest(Request):
    """Two files of showers with the same geometry and the same distribution of incident energies."""

    reference: str = Field("/inputs/reference.h5", description="reference showers not used in training")
    generated: str = Field(description="showers of the generator, .h5 or .safetensors")
    geometry: str = Field("ds1_photons", description="a built-in geometry, or a CaloChallenge binning XML file")
    second_reference: str | None = Field(
        None,
        description="more reference showers, for the FPD of two samples of the same truth; default: half against half",
    )
    training: str | None = Field(None, description="training showers of the generator, to test whether it repeats them")
    generator: str | None = Field(None, description="file of calorimeter.train, to measure the time per shower")
    classifiers: list[Kind] = Field(["mlp", "trees"], min_length=1, description="the largest AUC is quoted")
    max_showers: int = Field(
        20_000, ge=200, description="maximum number of showers read from each file, from its beginning"
    )
    report: str | None = Field(None, description="folder for a page of plots")
    seed: Seed = Field(1, ge=0)


class JudgeResult(Result):
    """Results; the best AUC is 0.5 and the best value of all distances 0."""

    showers: tuple[int, int] = Field(description="numbers of reference and generated showers")
    auc_voxels: float
    auc_voxels_error: float
    auc_observables: float
    auc_observables_error: float
    auc: dict[str, float] = Field(description="AUC by input (voxels or observables) and classifier")
    auc_memory: float | None = Field(
        description="P(a generated shower is nearer to a training shower than a reference shower is); 1 for copies"
    )
    separation: dict[str, float] = Field(description="mean separation power by kind of observable")
    worst_observables: dict[str, float] = Field(
        description="separation power minus that of equal distributions with samples of this size"
    )
    fpd: float | None = Field(description="null with fewer than 1000 showers")
    fpd_error: float | None
    fpd_reference: float | None = Field(description="FPD of two reference samples, or its error if that is larger")
    fpd_ratio: float | None = Field(description="FPD over fpd_reference, both for samples of the same size")
    kpd: float
    kpd_error: float
    precision: float
    recall: float
    density: float
    coverage: float
    response: list[tuple[float, float, float]] = Field(
        description="incident energy [MeV] (bin centre), and generated over reference: mean response, resolution"
    )
    ms_per_shower: dict[int, float] = Field(description="by batch size; empty without a generator")
    distrusted: list[str] = Field(description="regions where the generator cannot be trusted, worst first")
    regions: int = Field(description="number of regions tested")
    untested: int = Field(description="number of regions with too few showers to tell")
    report: str | None


@tool("calorimeter.judge")
def judge(request: JudgeRequest) -> JudgeResult:
    """Compare generated calorimeter showers with reference showers: classifier AUC on voxels and on observables,
    separation powers, FPD and KPD, precision and recall, energy response, time per shower, and the regions of phase
    space where the generator cannot be trusted. Takes one to a few minutes for 10,000 showers.
    """
    geometry = find_geometry(request.geometry)
    if request.report:
        below("report", request.report, folder=True)
    reference, generated = (
        _read(field, path, geometry, request.max_showers)
        for field, path in (("reference", request.reference), ("generated", request.generated))
    )
    second = None
    if request.second_reference:
        second = _read("second_reference", request.second_reference, geometry, request.max_showers)
    _same_energies(reference, generated)

    _say("classifiers")
    kinds = tuple(dict.fromkeys(request.classifiers))
    verdicts: dict[Look, dict[Kind, TwoSample]] = {
        look: tell_apart(reference, generated, look, kinds, request.seed) for look in LOOKS
    }
    voxels, observables = (strongest(verdicts[look]) for look in LOOKS)
    _say("distances")
    ours, theirs = features(reference), features(generated)
    frechet = _fpd_of(ours, theirs, features(second) if second else None, request.seed)
    kernel = kpd(ours, theirs, request.seed)
    quality = prdc(ours, theirs, request.seed)
    apart = separations(reference, generated)
    excess = {name: s.value - s.noise for name, s in apart.items()}
    memory = None
    if request.training:
        training = _read("training", request.training, geometry, None)
        memory, _ = memorised(training, reference, generated)
    regions = trust_map(reference, generated, max(voxels, observables, key=lambda v: v.auc))
    return JudgeResult(
        showers=(len(reference), len(generated)),
        auc_voxels=voxels.auc,
        auc_voxels_error=voxels.error,
        auc_observables=observables.auc,
        auc_observables_error=observables.error,
        auc={f"{look}, {kind}": v.auc for look, found in verdicts.items() for kind, v in found.items()},
        auc_memory=memory,
        separation=by_class(apart),
        worst_observables=dict(sorted(excess.items(), key=lambda item: -item[1])[:WORST]),
        **frechet,
        kpd=kernel[0],
        kpd_error=kernel[1],
        precision=quality.precision,
        recall=quality.recall,
        density=quality.density,
        coverage=quality.coverage,
        response=_response(reference, generated),
        ms_per_shower=_times(request.generator, reference, request.seed),
        distrusted=[region.words() for region in regions if not region.trusted],
        regions=len(regions),
        untested=sum(region.untested for region in regions),
        report=_page(request, reference, generated, regions) if request.report else None,
    )


def _read(field: str, path: str, geometry: Geometry, most: int | None) -> Showers:
    try:
        return read_showers(path, geometry, 0, most)
    except ToolError as error:
        raise ToolError(field, path, f"{error.field}: {error.allowed}") from None


def _same_energies(reference: Showers, generated: Showers) -> None:
    """Raise ToolError for different incident energies, which a classifier would see at once whatever the generator."""
    from scipy.stats import ks_2samp

    if ks_2samp(reference.incident, generated.incident).pvalue < SAME_ENERGIES:
        means = [float(np.median(s.incident)) for s in (generated, reference)]
        raise ToolError(
            "generated", means[0], f"incident energies as in the reference, whose median is {means[1]:g} MeV"
        )


def _fpd_of(ours: Any, theirs: Any, second: Any, seed: int) -> dict[str, float | None]:
    """Return the FPD of the generator and of two references, and their ratio for samples of the same size."""
    found: dict[str, float | None] = dict.fromkeys(("fpd", "fpd_error", "fpd_reference", "fpd_ratio"))
    if min(len(ours), len(theirs)) < MIN_FPD:
        return found
    found["fpd"], found["fpd_error"] = value, _ = fpd(ours, theirs, seed)
    if second is None:
        if len(ours) < 2 * MIN_FPD:
            return found
        rows = np.random.default_rng([seed, 14]).permutation(len(ours))
        ours, second = ours[rows[: len(ours) // 2]], ours[rows[len(ours) // 2 :]]
        value, _ = fpd(ours, theirs[: len(second)], seed)
    found["fpd_reference"] = least = max(fpd(ours, second, seed))
    found["fpd_ratio"] = value / least
    return found


def _response(reference: Showers, generated: Showers) -> list[tuple[float, float, float]]:
    edges = energy_bins(np.concatenate([reference.incident, generated.incident]))
    theirs = {r.incident_low: r for r in response(generated, edges)}
    both = [(r, theirs[r.incident_low]) for r in response(reference, edges) if r.incident_low in theirs]
    return [
        (
            float(np.sqrt(ours.incident_low * ours.incident_high)),
            found.mean / ours.mean,
            found.resolution / ours.resolution if ours.resolution > 0 else float(found.resolution == 0),
        )
        for ours, found in both
    ]


def _times(generator: str | None, reference: Showers, seed: int) -> dict[int, float]:
    if generator is None:
        return {}
    from tools.calorimeter.generators import load

    _say("times")
    return milliseconds(load(Path(generator)).generate, reference.incident, seed)


def _page(request: JudgeRequest, reference: Showers, generated: Showers, regions: list[Region]) -> str:
    from tools.calorimeter.plots import page

    _say("plots")
    return str(page(below("report", str(request.report), folder=True), reference, generated, regions))


def _say(line: str) -> None:
    print(line, file=sys.stderr)
