"""Formatting of numbers in reports, viewers and tasks."""

from __future__ import annotations

import math
import re
from statistics import NormalDist
from typing import Any

NONE = "–"
BEYOND = 5.0  # standard deviations
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: Any) -> float | None:
    """Return the value as a float if it is a finite number, else None."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None


def measured(value: Any, error: Any = None, unit: str = "") -> str:
    """Return `3.512 ± 0.021 TeV`: both rounded to two significant digits of the error, with a true minus sign."""
    value, error = number(value), number(error)
    if value is None:
        return NONE
    tail = f" {unit}" if unit else ""
    sign, value = "−" if value < 0 else "", abs(value)
    if error is None or error <= 0:
        return f"{sign}{value:.4g}{tail}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{sign}{value:.{digits}f} ± {error:.{digits}f}{tail}"


def probability(p: Any) -> str:
    """Return `3.2 × 10⁻⁷ (5.0 σ)` or `(> 5 σ)`; without σ for p above 0.5, a deficit."""
    p = number(p)
    if p is None:
        return NONE
    if p <= 0 or p >= 1:
        return f"{p:g}"
    if p > 0.5:
        return f"{p:.2g}"
    sigma = f"({significance(0 - NormalDist().inv_cdf(p))} σ)"
    if p >= 0.001:
        return f"{p:.2g} {sigma}"
    mantissa, _, exponent = f"{p:.1e}".partition("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(SUPERSCRIPT)} {sigma}"


def significance(z: Any) -> str:
    """Return `3.2`, or `> 5` above five, where p-values come from a formula, not from pseudo-experiments."""
    z = number(z)
    if z is None:
        return NONE
    return "> 5" if z > BEYOND else f"{z:.1f}".replace("-", "−")


def label(name: str) -> str:
    """Return the name of a quantity in words.

    >>> label("max_sic_25"), label("sic_at_0.01"), label("mass_bias")
    ('max SIC 25', 'SIC at 0.01', 'mass bias')
    """
    return re.sub(r"\b(auc|sic|fpd|kpd)\b", lambda match: match[0].upper(), name.replace("_", " "))
