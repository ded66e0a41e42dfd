"""How sensitive the search is: limits against mass, injected resonances, and cross sections if luminosity is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tasks.spectrum.samples import load
from tasks.task import TaskError
from tools.spectrum.inject import InjectRequest, inject
from tools.spectrum.limit import LimitRequest, LimitResult, limit
from tools.spectrum.limits import Errors

BANDS = ("expected_minus_2", "expected_minus_1", "expected", "expected_plus_1", "expected_plus_2")
MASSES = 3  # at which resonances are injected
STRENGTHS = (1.0, 2.0, 4.0)  # of what is injected, over the median expected limit
CENTRAL = (0.158655, 0.5, 0.841345)


class Simulated(NamedTuple):
    """A simulated resonance: where it is seen, how wide, and which fraction of the generated events is selected."""

    mass: float  # median
    width: float  # relative: half of the central 68%
    efficiency: float
    efficiency_error: float  # statistical


def simulated(path: Path, column: str, cut: str | None, generated: int | None) -> Simulated:
    """Read a file of simulated signal with the columns of the data. Raises TaskError naming the option."""
    try:
        sample = load(path, column, None, None, unweighted=True)
        selected = load(path, column, cut, None, unweighted=True).columns["mass"]
    except TaskError as error:
        field = "signal_file" if error.field == "data" else error.field
        raise TaskError(field, str(error.value), f"{error.allowed} (in signal_file {path})") from None
    total = generated or len(sample.columns["mass"])
    if total < len(selected):
        raise TaskError("signal_generated", total, f"{len(selected)} events of {path} are selected: no fewer")
    low, mass, high = np.quantile(selected, CENTRAL)
    share = len(selected) / total
    spread = float(np.sqrt(share * (1 - share) / total))
    return Simulated(float(mass), float((high - low) / (2 * mass)), share, spread)


def limits(request: LimitRequest, per_fb: float | None) -> dict[str, Any]:
    """Return limits against mass, as lists. `per_fb`: events that one fb gives, for limits on the cross section."""
    found: LimitResult = limit.run(request)
    columns: dict[str, list[float]] = {"mass": [each.mass for each in found.limits]}
    observed = [each.observed for each in found.limits]
    columns |= {name: [each.expected[k] for each in found.limits] for k, name in enumerate(BANDS)}
    if None not in observed:
        columns["observed"] = [each for each in observed if each is not None]
    fb = {} if per_fb is None else {f"{n}_fb": [v / per_fb for v in c] for n, c in columns.items() if n != "mass"}
    tightest = int(np.argmin(columns["expected"]))
    at = {name: values[tightest] for name, values in (columns | fb).items()}
    return {"limits": columns | fb, "limit_at": at, "limit_width": found.width, "limit_level": found.level}


def injections(request: InjectRequest) -> list[dict[str, Any]]:
    """Return what became of resonances that were injected."""
    return [each.model_dump() for each in inject.run(request).injected]


def points(columns: dict[str, list[float]], taken: tuple[float, float]) -> tuple[list[float], list[float]]:
    """Return masses and yields to inject: a few of the masses `taken`, and multiples of the expected limit."""
    masses = [float(mass) for mass in np.linspace(*taken, MASSES + 2)[1:-1]]
    typical = float(np.median(np.interp(masses, columns["mass"], columns["expected"])))
    return masses, [float(f"{strength * typical:.2g}") for strength in STRENGTHS]


def combined(statistical: Simulated | None, errors: Errors) -> float:
    """Return the relative error of the efficiency, that of the simulated events included."""
    own = statistical.efficiency_error / statistical.efficiency if statistical else 0.0
    return float(np.hypot(own, errors.efficiency))
