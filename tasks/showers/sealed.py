"""Metrics computed once, on the test showers: all measures of quality, and the regions that cannot be trusted."""

from __future__ import annotations

import numpy as np

from tasks.score import Metric
from tasks.showers.grader import classifiers
from tools.calorimeter.fpd import MIN_SHOWERS, fpd, kpd
from tools.calorimeter.memory import memorised
from tools.calorimeter.observables import features
from tools.calorimeter.prdc import prdc
from tools.calorimeter.response import energy_bins, response
from tools.calorimeter.separation import by_class, separations
from tools.calorimeter.showers import Showers
from tools.calorimeter.trust import Region, trust_map

WORST = 5


def judge(
    test: Showers, generated: Showers, other: Showers, train: Showers, seed: int = 1
) -> tuple[list[Metric], dict[str, list[float]]]:
    """Compute metrics of `generated` against `test`, and curves; `other`: reference showers that set the scale."""
    verdicts = classifiers(test, generated, seed)
    memory, memory_error = memorised(train, test, generated)
    metrics = [Metric(name=f"auc_{look}", value=v.auc, error=v.error) for look, v in verdicts.items()]
    metrics.append(Metric(name="auc_memory", value=memory, error=memory_error, note="1: copies of training showers"))
    ours, theirs, second = features(test), features(generated), features(other)
    if min(len(ours), len(second)) >= MIN_SHOWERS:
        (value, error), scale = fpd(ours, theirs), max(fpd(ours, second))
        metrics.append(Metric(name="fpd", value=value, error=error, note=f"two references: {scale:.2g}"))
        metrics.append(Metric(name="fpd_ratio", value=value / scale, note="relative to that of two references"))
    value, error = kpd(ours, theirs)
    metrics.append(Metric(name="kpd", value=value, error=error))
    quality = prdc(ours, theirs, seed)
    for name in ("precision", "recall", "density", "coverage"):
        metrics.append(Metric(name=name, value=getattr(quality, name)))
    apart, scale_of = separations(test, generated), by_class(separations(test, other))
    for kind, value in by_class(apart).items():
        note = f"two references: {scale_of[kind]:.2g}"
        metrics.append(Metric(name=f"separation, {kind}", value=value, note=note))
    regions = trust_map(test, generated, max(verdicts.values(), key=lambda v: v.auc))
    metrics.append(_distrust(regions))
    responses, curves = _response(test, generated)
    return [*metrics, *responses], curves


def _distrust(regions: list[Region]) -> Metric:
    bad = [region.words() for region in regions if not region.trusted]
    share, untested = len(bad) / max(len(regions), 1), sum(region.untested for region in regions)
    note = f"of {len(regions)}, {untested} with too few showers to tell; {'; '.join(bad[:WORST]) or 'none'}"
    return Metric(name="regions_distrusted", value=share, note=note)


def _response(test: Showers, generated: Showers) -> tuple[list[Metric], dict[str, list[float]]]:
    """Return the largest deviations of mean response and resolution, and both as curves over incident energy."""
    edges = energy_bins(test.incident)
    theirs = {r.incident_low: r for r in response(generated, edges)}
    both = [(r, theirs[r.incident_low]) for r in response(test, edges) if r.incident_low in theirs]
    both = [(ours, found) for ours, found in both if ours.resolution > 0]
    curves = {
        "incident_mev": [float(np.sqrt(r.incident_low * r.incident_high)) for r, _ in both],
        "response": [r.mean for r, _ in both],
        "response_generated": [found.mean for _, found in both],
        "resolution": [r.resolution for r, _ in both],
        "resolution_generated": [found.resolution for _, found in both],
    }
    if not both:
        return [], curves
    metrics = []
    for name in ("mean", "resolution"):
        off = [(abs(getattr(g, name) / getattr(r, name) - 1), r.incident_low, r.incident_high) for r, g in both]
        value, low, high = max(off)
        named = "response" if name == "mean" else name
        note = f"relative, at {low:.4g} to {high:.4g} MeV"
        metrics.append(Metric(name=f"{named}_deviation", value=value, note=note))
    return metrics, curves
