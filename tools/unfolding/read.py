"""Reading published weights, and histogramming any observable with its covariance:

    unfolded = read(Path("unfolded.h5"))
    histogram = unfolded.histogram(unfolded.gen["mass"], np.linspace(0, 60, 21))

The covariance is a sum of parts: `statistical` (bootstraps), `ensemble` (of the mean, hence divided by the number of
members), `model`, `method` and each nuisance. Shifts d enter as d d^T; for a pair x_up, x_down, d is half the
difference, for other nuisances the difference from `ensemble_0`, which was made with the same seed (without it, from
the mean). Stress tests and other priors are no part of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.contract import ToolError
from tools.hdf5 import open_hdf5, rows_of
from tools.types import Floats
from tools.unfolding.publish import FORMAT, content_hash


@dataclass(frozen=True)
class Histogram:
    """Bin edges (b + 1,), bin contents (b,) and the covariance (b, b) by part."""

    edges: Floats
    values: Floats
    parts: dict[str, Floats]

    @property
    def covariance(self) -> Floats:
        return np.asarray(sum(self.parts.values(), np.zeros((len(self.values), len(self.values)))))

    @property
    def errors(self) -> Floats:
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    def density(self) -> Histogram:
        """Return the histogram divided by the bin widths."""
        width = np.diff(self.edges)
        parts = {name: part / np.outer(width, width) for name, part in self.parts.items()}
        return Histogram(self.edges, self.values / width, parts)


@dataclass(frozen=True)
class UnfoldedEvents:
    """Observables at particle level (n,), truth weights (n,) of each replica and `nominal`, and the file's metadata."""

    gen: dict[str, Floats]
    weights: dict[str, Floats]
    metadata: dict[str, Any]

    def histogram(self, values: Floats, edges: Floats, normalised: bool = False, shrink: bool = False) -> Histogram:
        """Histogram any quantity (n,) of the events, NaN where undefined. `normalised`: contents sum to 1.
        `shrink`: the correlations of bootstraps are `shrunk`, for a covariance that can be inverted.

        Events outside the edges are in no bin and not in the normalisation. Raises ToolError for a wrong length, edges
        that do not increase, and a normalised histogram without content.
        """
        if len(values) != len(self.weights["nominal"]):
            raise ToolError("values", len(values), f"one value for each of the {len(self.weights['nominal'])} events")
        if len(edges) < 2 or not np.all(np.diff(edges) > 0):
            raise ToolError("edges", list(edges), "two or more increasing numbers")
        counts = {name: np.histogram(values, edges, weights=w)[0] for name, w in self.weights.items()}
        if normalised:
            if empty := [name for name, c in counts.items() if c.sum() <= 0]:
                raise ToolError("edges", list(edges), f"edges with events between them; {empty[0]} has none")
            counts = {name: c / c.sum() for name, c in counts.items()}
        return Histogram(np.asarray(edges, dtype=float), counts["nominal"], covariance_parts(counts, shrink))


def errors_by_source(counts: dict[str, Floats]) -> dict[str, Floats]:
    """Return the standard deviations (b,) by source, from the same numbers (b,) of each replica and of `nominal`."""
    parts = covariance_parts({name: np.atleast_1d(values) for name, values in counts.items()})
    return {name: np.sqrt(np.diag(part)) for name, part in parts.items()}


def covariance_parts(counts: dict[str, Floats], shrink: bool = False) -> dict[str, Floats]:
    """Return the covariance (b, b) by part, from the counts (b,) of each replica and of `nominal`."""
    centre = counts["nominal"]
    groups: dict[str, list[str]] = {}
    for name in counts:
        groups.setdefault(name.partition("_")[0], []).append(name)
    parts = {}
    if len(names := groups.get("bootstrap", [])) > 1:
        replicas = np.array([counts[n] for n in names])
        sample = np.cov(replicas, rowvar=False).reshape(len(centre), -1)
        parts["statistical"] = shrunk(replicas) if shrink else sample
    if len(names := groups.get("ensemble", [])) > 1:
        parts["ensemble"] = np.cov([counts[n] for n in names], rowvar=False).reshape(len(centre), -1) / len(names)
    for name in groups.get("nuisance", []):
        other = name.removesuffix("_up") + "_down"
        if name.endswith("_down") and name.removesuffix("_down") + "_up" in counts:
            continue
        paired = name.endswith("_up") and other in counts
        shift = (counts[name] - counts[other]) / 2 if paired else counts[name] - counts.get("ensemble_0", centre)
        parts[name.removesuffix("_up") if paired else name] = np.outer(shift, shift)
    for name in ("model", "method"):
        if name in counts:
            parts[name] = np.outer(counts[name] - centre, counts[name] - centre)
    return parts


def shrunk(replicas: Floats) -> Floats:
    """Return the covariance (b, b) of replicas (n, b): sample variances, and correlations r multiplied by 1 - s.

    Few replicas leave r so noisy that the matrix is singular for b >= n. With the estimated variance of each r,
    s = sum var(r) / sum r^2 over pairs of bins, at most 1, has the least expected square error; it vanishes with many
    replicas (Schaefer and Strimmer, Stat. Appl. Genet. Mol. Biol. 4 (2005) 32).
    """
    n, b = replicas.shape
    difference = replicas - replicas.mean(axis=0)
    error = np.sqrt((difference**2).sum(axis=0) / (n - 1))
    z = np.divide(difference, error, out=np.zeros_like(difference), where=error > 0)
    products = z[:, :, None] * z[:, None, :]
    r = products.sum(axis=0) / (n - 1)
    variance = n / (n - 1) ** 3 * ((products - products.mean(axis=0)) ** 2).sum(axis=0)
    pairs = ~np.eye(b, dtype=bool)
    size = float((r[pairs] ** 2).sum())
    shrink = min(1.0, float(variance[pairs].sum()) / size) if size > 0 else 0.0
    return np.asarray(np.where(pairs, (1 - shrink) * r, r) * np.outer(error, error))


def read(path: Path) -> UnfoldedEvents:
    """Read a published file. Raises ToolError if it has another format or does not match its SHA-256."""
    columns, text, digest = _parquet(path) if path.suffix == ".parquet" else _hdf5(path)
    if content_hash(columns, text) != digest:
        raise ToolError(
            "path", str(path), f"an unchanged published file; its content does not have the SHA-256 {digest}"
        )
    metadata = json.loads(text)
    if {k: metadata.get(k) for k in FORMAT} != FORMAT:
        raise ToolError("path", str(path), f"a file with the metadata {FORMAT}")
    as_float = {name: np.asarray(values, dtype=float) for name, values in columns.items()}
    return UnfoldedEvents(
        {name.removeprefix("gen_"): x for name, x in as_float.items() if name.startswith("gen_")},
        {name.removeprefix("weights_"): x for name, x in as_float.items() if name.startswith("weights_")},
        metadata,
    )


def _parquet(path: Path) -> tuple[dict[str, NDArray[np.float32]], str, str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        marks = table.schema.metadata
        text, digest = marks[b"metadata"].decode(), marks[b"sha256"].decode()
    except (pa.ArrowInvalid, OSError, KeyError, TypeError) as error:
        raise ToolError("path", str(path), f"a file of unfolded events ({error})") from None
    return {name: table[name].to_numpy() for name in table.column_names}, text, digest


def _hdf5(path: Path) -> tuple[dict[str, NDArray[np.float32]], str, str]:
    try:
        with open_hdf5(path) as file:
            columns = {name: rows_of(path, file[name]) for name in file}
            return columns, str(file.attrs["metadata"]), str(file.attrs["sha256"])
    except (FileNotFoundError, KeyError) as error:
        raise ToolError("path", str(path), f"a file of unfolded events ({error})") from None
