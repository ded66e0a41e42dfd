"""Unfolded histograms as a HEPData submission."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tools.publication import Column, Data, bins, hepdata

if TYPE_CHECKING:
    from tools.unfolding.read import Histogram


def export(
    histograms: Mapping[str, Histogram], folder: Path, comment: str, units: Mapping[str, str] | None = None
) -> Path:
    """Write a table and a covariance table per observable; return the path of `submission.tar.gz`.

    Parts of the covariance become named uncertainties.
    """
    tables = []
    for name, histogram in histograms.items():
        unit = (units or {}).get(name, "")
        tables += [_spectrum(name, histogram, unit), _covariance(name, histogram, unit)]
    return hepdata(tables, folder, comment)


def _spectrum(name: str, histogram: Histogram, unit: str) -> Data:
    caption = f"Unfolded distribution of {name}; the covariance is in the table '{name} covariance'."
    errors = {label: np.sqrt(np.diag(part)).tolist() for label, part in histogram.parts.items()}
    content = Column("events", histogram.values.tolist(), errors=errors)
    return Data(name, caption, [bins(name, histogram.edges.tolist(), unit)], [content])


def _covariance(name: str, histogram: Histogram, unit: str) -> Data:
    each, n = bins(name, histogram.edges.tolist()).values, len(histogram.values)
    first = Column(f"{name} (first)", [b for b in each for _ in range(n)], unit)
    second = Column(f"{name} (second)", list(each) * n, unit)
    caption = f"Total covariance of the bins of the table '{name}'."
    content = Column("covariance", histogram.covariance.ravel().tolist())
    return Data(f"{name} covariance", caption, [first, second], [content])
