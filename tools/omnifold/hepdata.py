"""Histograms as a HEPData submission (hepdata_lib; the extra `publish`)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tools.types import Floats

if TYPE_CHECKING:
    from tools.omnifold.read import Histogram


def export(
    histograms: Mapping[str, Histogram], folder: Path, comment: str, units: Mapping[str, str] | None = None
) -> Path:
    """Write a table and a covariance table per observable; return the path of `submission.tar.gz`, ready for HEPData.

    Parts of the covariance become named uncertainties. The archive is validated against HEPData's schema.
    """
    from hepdata_lib import Submission

    submission = Submission()
    submission.comment = comment
    for name, histogram in histograms.items():
        unit = (units or {}).get(name, "")
        submission.add_table(_spectrum(name, histogram, unit))
        submission.add_table(_covariance(name, histogram, unit))
    folder.mkdir(parents=True, exist_ok=True)
    # The library writes the archive to the working directory.
    with contextlib.chdir(folder), contextlib.redirect_stdout(None):
        submission.create_files("tables", validate=True, remove_old=True)
    return folder / "submission.tar.gz"


def _spectrum(name: str, histogram: Histogram, unit: str) -> Any:
    from hepdata_lib import Table, Uncertainty, Variable

    table = Table(name)
    table.description = f"Unfolded distribution of {name}; the covariance is in the table '{name} covariance'."
    table.keywords["observables"] = [name]
    content = Variable("events", is_independent=False, is_binned=False, values=histogram.values.tolist())
    for label, part in histogram.parts.items():
        error = Uncertainty(label, is_symmetric=True)
        error.values = np.sqrt(np.diag(part)).tolist()
        content.add_uncertainty(error)
    table.add_variable(Variable(name, is_binned=True, units=unit, values=_bins(histogram.edges)))
    table.add_variable(content)
    return table


def _covariance(name: str, histogram: Histogram, unit: str) -> Any:
    from hepdata_lib import Table, Variable

    bins, n = _bins(histogram.edges), len(histogram.values)
    table = Table(f"{name} covariance")
    table.description = f"Total covariance of the bins of the table '{name}'."
    rows, columns = [b for b in bins for _ in range(n)], bins * n
    table.add_variable(Variable(f"{name} (first)", is_binned=True, units=unit, values=rows))
    table.add_variable(Variable(f"{name} (second)", is_binned=True, units=unit, values=columns))
    values = histogram.covariance.ravel().tolist()
    table.add_variable(
        Variable("covariance", is_independent=False, is_binned=False, values=values, zero_uncertainties_warning=False)
    )
    return table


def _bins(edges: Floats) -> list[tuple[float, float]]:
    return [(float(a), float(b)) for a, b in pairwise(edges)]
