"""What a search publishes beyond the numbers of its figures: the limit, and its likelihood as a pyhf workspace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tasks.lhco.page import SearchDetails
from tasks.page import Publication, Run
from tools.bumphunt.spectrum import Spectrum
from tools.bumphunt.workspace import workspace
from tools.cls import BANDS
from tools.publication import Column, Data

REFERENCE_COUNTS = ("reference_passed", "reference_failed")


def publication(base: Publication, run: Run) -> Publication:
    """Return `base` with the limit of the confirmation, if there is one."""
    details = SearchDetails.of(run.confirmed)
    mass, limit = details.limit_mass, details.upper_limit
    if mass is None or limit is None:
        return base
    caption = (
        "Upper limit (CLs, by pseudo-experiments) at 95% confidence on the signal events behind the cut, among the "
        "events that played no part in any choice; expected from background at so many standard deviations."
    )
    expected = [
        Column(f"expected {n:+d} sigma", [e]) for n, e in zip(BANDS, details.upper_limit_expected, strict=False)
    ]
    table = Data("limit", caption, [Column("mass", [mass], details.unit)], [Column("observed", [limit]), *expected])
    return replace(base, tables=[*base.tables, table], documents=dict(base.documents) | _workspace(details))


def _workspace(details: SearchDetails) -> dict[str, Any]:
    """Return the workspace by its name; nothing for the trace of an older run, which lacks the spectrum."""
    found, background = details.limit_spectrum, details.limit_background
    if not (found and background and details.limit_mass and details.limit_width and details.upper_limit):
        return {}
    edges, passed, failed = (np.array(found[name], float) for name in ("edges", "passed", "failed"))
    other = [np.array(found[name], float) for name in REFERENCE_COUNTS if name in found]
    reference = (other[0], other[1]) if len(other) == 2 else None
    per = np.array(found["per"], float) if "per" in found else None
    spectrum = Spectrum(edges, passed, failed, *background, reference, per)
    return {"workspace": workspace(spectrum, details.limit_mass, details.limit_width, details.upper_limit)}
