"""Metrics that need labels: AUC, SIC with a background floor, bias of mass and yield. Computed once, at the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.lhco.truth import Truth
from tasks.score import CheckedNumber, Metric
from tools.metrics import auc, auc_error, bootstrap_error, efficiencies, max_sic, sic_at
from tools.types import Floats

EFFICIENCIES = (1e-2, 1e-3)
CURVE_POINTS = 200


def separation(signal: Floats, background: Floats, seed: int = 1) -> tuple[list[Metric], dict[str, list[float]]]:
    """Return AUC and SIC metrics with errors, and the SIC curve, for the scores inside the true window."""
    if len(signal) < 2 or len(background) < 100:
        note = f"{len(signal)} signal and {len(background)} background events in the window: nothing to separate"
        return [Metric(name="auc", value=None, note=note)], {}
    area = auc(signal, background)
    metrics = [Metric(name="auc", value=area, error=auc_error(area, len(signal), len(background)))]
    for floor in (5, 25):
        metrics.append(
            Metric(
                name=f"max_sic_{floor}",
                value=max_sic(signal, background, floor),
                error=bootstrap_error(lambda s, b, n=floor: max_sic(s, b, n), signal, background, seed),  # type: ignore[misc]
                note=f"cuts that keep at least {floor} background events",
            )
        )
    for efficiency in EFFICIENCIES:
        if round(efficiency * len(background)) < 1:
            note = f"{len(background)} background events: none is kept at efficiency {efficiency:g}"
            metrics.append(Metric(name=f"sic_at_{efficiency:g}", value=None, note=note))
            continue
        metrics.append(
            Metric(
                name=f"sic_at_{efficiency:g}",
                value=sic_at(signal, background, efficiency),
                error=bootstrap_error(lambda s, b, e=efficiency: sic_at(s, b, e), signal, background, seed),  # type: ignore[misc]
                note=f"background efficiency {efficiency:g}",
            )
        )
    eff_s, eff_b, kept = efficiencies(signal, background)
    allowed = np.flatnonzero(kept >= 5)
    chosen = allowed[np.unique(np.geomspace(1, len(allowed), CURVE_POINTS).astype(int) - 1)]
    curves = {
        "signal_efficiency": eff_s[chosen].tolist(),
        "background_efficiency": eff_b[chosen].tolist(),
        "sic": (eff_s[chosen] / np.sqrt(eff_b[chosen])).tolist(),
    }
    return metrics, curves


def with_truth(checks: Sequence[CheckedNumber], truth: Truth) -> list[CheckedNumber]:
    """Return the table of claims with the true numbers filled in."""
    true: dict[str, float | bool | None] = {
        "discovery": truth.n_signal > 0,
        "mass": truth.mass,
        "n_signal": float(truth.n_signal),
    }
    return [check.model_copy(update={"truth": true.get(check.name)}) for check in checks]


def biases(checks: Sequence[CheckedNumber], truth: Truth) -> list[Metric]:
    """Return claimed minus true mass and yield, relative to the truth."""
    true = {"mass": truth.mass, "n_signal": float(truth.n_signal)}
    metrics = []
    for check in checks:
        reference = true.get(check.name)
        if not reference or check.claimed is None:
            continue
        error = None if check.claimed_error is None else check.claimed_error / reference
        value = float(check.claimed) / reference - 1
        metrics.append(Metric(name=f"{check.name}_bias", value=value, error=error, note="claimed / true - 1"))
    return metrics
