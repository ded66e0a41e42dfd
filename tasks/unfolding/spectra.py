"""The unfolded distributions of what was asked for, with their errors by source: what is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.unfolding.samples import Samples, edges_of
from tools.publication import Column, Data, bins
from tools.types import Floats
from tools.unfolding.read import UnfoldedEvents

BINS = 20  # quantile bins of the simulation, unless the operator gives others
Spectra = Mapping[str, Sequence[float]]


def spectra(samples: Samples, weights: Mapping[str, Floats]) -> dict[str, list[float]]:
    """Return lists by X.PART for each observable X asked for.

    PART: edges (b + 1,), unfolded, simulation (scaled to the unfolded sum), error (total), error.SOURCE (b,),
    covariance (b * b,) and outside, the fraction of the unfolded events beyond the edges (1,).
    """
    simulation = samples.simulation
    found: dict[str, list[float]] = {}
    events, passed = UnfoldedEvents({}, dict(weights), {}), simulation["pass_gen"] > 0
    for x in samples.asked:
        values = np.where(passed, simulation[f"gen_{x.name}"], np.nan)
        made = events.histogram(values, edges_of(x, values[passed], BINS), shrink=True)
        before = np.histogram(values, made.edges, weights=simulation["weight"])[0]
        parts: dict[str, Floats] = {
            "edges": made.edges,
            "unfolded": made.values,
            "error": made.errors,
            "simulation": before * (made.values.sum() / max(before.sum(), 1e-300)),
            "covariance": made.covariance.ravel(),
            "outside": np.array([1 - made.values.sum() / weights["nominal"].sum()]),
        }
        parts |= {f"error.{source}": np.sqrt(np.diag(part)) for source, part in made.parts.items()}
        found |= {f"{x.name}.{part}": each.tolist() for part, each in parts.items()}
    return found


def names(of: Spectra) -> list[str]:
    """Return the observables."""
    return [name.removesuffix(".unfolded") for name in of if name.endswith(".unfolded")]


def named(source: str) -> str:
    """Return what people call a source of error."""
    return source.removeprefix("nuisance_")


def table(of: Spectra, x: str, unit: str, events: str) -> Data:
    """Return the unfolded distribution with its errors by source. `events`: a sentence on which were unfolded."""
    front = f"{x}.error."
    errors = {named(name.removeprefix(front)): list(each) for name, each in of.items() if name.startswith(front)}
    outside = f"{100 * of[f'{x}.outside'][0]:.2g}% of the events are outside"
    caption = f"Unfolded events in bins of {x} at particle level, with errors by source; {outside}. {events}."
    columns = [Column("events", of[f"{x}.unfolded"], errors=errors), Column("simulation", of[f"{x}.simulation"])]
    return Data(f"unfolded {x}", caption, [bins(x, of[f"{x}.edges"], unit)], columns)


def covariance(of: Spectra, x: str, unit: str) -> Data:
    """Return the total covariance of the bins."""
    each = bins(x, of[f"{x}.edges"]).values
    axes = [
        Column(f"{x} (first)", [b for b in each for _ in each], unit),
        Column(f"{x} (second)", list(each) * len(each), unit),
    ]
    caption = f"Total covariance of the bins of the table 'unfolded {x}'; the correlations of bootstraps are shrunk."
    return Data(f"covariance {x}", caption, axes, [Column("covariance", of[f"{x}.covariance"])])
