"""How sensitive the search is: limits against mass, injected resonances, and cross sections if luminosity is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from tools.spectrum.inject import InjectRequest, inject
from tools.spectrum.limit import LimitRequest, LimitResult, counted, limit

BANDS = ("expected_minus_2", "expected_minus_1", "expected", "expected_plus_1", "expected_plus_2")
AMOUNTS = (*BANDS, "observed")
MASSES = 3  # at which resonances are injected
STRENGTHS = (1.0, 2.0, 4.0)  # of what is injected, over the median expected limit


def limits(request: LimitRequest, per_fb: float | None) -> dict[str, Any]:
    """Return limits against mass, as lists, and what each nuisance does to the tightest one expected.

    `per_fb`: events that one fb gives, for limits on the cross section.
    """
    found: LimitResult = limit.run(request)
    columns: dict[str, list[float]] = {"mass": [each.mass for each in found.limits]}
    observed = [each.observed for each in found.limits]
    columns |= {name: [each.expected[k] for each in found.limits] for k, name in enumerate(BANDS)}
    if None not in observed:
        columns["observed"] = [each for each in observed if each is not None]
        columns["z"] = [each.z or 0.0 for each in found.limits]
    columns["background"] = [each.background for each in found.limits]
    fb = {} if per_fb is None else {f"{n}_fb": [v / per_fb for v in c] for n, c in columns.items() if n in AMOUNTS}
    tightest = int(np.argmin(columns["expected"]))
    at = {name: values[tightest] for name, values in (columns | fb).items()}
    more: dict[str, Any] = {"limit_width": found.width, "limit_level": found.level}
    if request.blind is None:
        (low, high, per), counts = counted(request)
        spectrum = {"low": low, "high": high, "per": per, "count": counts}
        more["limit_spectrum"] = {name: values.tolist() for name, values in spectrum.items()}
    impacts = {each.name: each.model_dump(exclude={"name"}) for each in found.impacts}
    more["nuisances"] = [each.model_dump() for each in request.sources()]
    return {"limits": columns | fb, "limit_at": at, "impacts": impacts} | more


def injections(request: InjectRequest) -> list[dict[str, Any]]:
    """Return what became of resonances that were injected."""
    return [each.model_dump() for each in inject.run(request).injected]


def points(columns: dict[str, list[float]], taken: tuple[float, float]) -> tuple[list[float], list[float]]:
    """Return masses and yields to inject: a few of the masses `taken`, and multiples of the expected limit."""
    masses = [float(mass) for mass in np.linspace(*taken, MASSES + 2)[1:-1]]
    typical = float(np.median(np.interp(masses, columns["mass"], columns["expected"])))
    return masses, [float(f"{strength * typical:.2g}") for strength in STRENGTHS]
