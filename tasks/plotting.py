"""Plot style of this project, and helpers for its figures. The same numbers give the same bytes."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

BLUE, ORANGE, RED, GREY = "#3f90da", "#ffa90e", "#bd1f01", "#717581"  # Petroff's colour-blind safe cycle
PALE = "#a5cdf0"
# On top of matplotlib's defaults, whatever the user's own settings are.
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.labelsize": 12,
    "axes.linewidth": 0.9,
    "axes.formatter.useoffset": False,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "xtick.minor.visible": True,
    "ytick.minor.visible": True,
    "xtick.major.size": 7,
    "ytick.major.size": 7,
    "xtick.minor.size": 3.5,
    "ytick.minor.size": 3.5,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.linewidth": 1.6,
    "errorbar.capsize": 0,
}
Array = NDArray[np.float64]


def styled() -> Any:
    """Return a context in which plots have our style, whatever the user's own settings are."""
    return style.context(["default", STYLE])


def numbers(values: Any, length: int | None = None) -> Array | None:
    """Return a list of numbers as an array, NaN for any that is not finite; None for anything else."""
    if not isinstance(values, list | tuple) or not values or (length is not None and len(values) != length):
        return None
    try:
        array = np.array(values, dtype=float)
    except (TypeError, ValueError):
        return None
    return np.where(np.isfinite(array), array, np.nan) if array.ndim == 1 else None


def figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of this size [inches] with one panel, and its axes."""
    made = Figure(figsize=(width, height), layout="constrained")
    return made, made.subplots()


def labels(axes: Axes, x: str, y: str, y_at: Literal["top", "center"] = "top") -> None:
    """Label the axes at their ends, as is usual in the field."""
    axes.set_xlabel(x, loc="right")
    axes.set_ylabel(y, loc=y_at)


def png(figure: Figure) -> bytes:
    """Return the figure as PNG."""
    return _saved(figure, "png", {"Software": None})


def pdf(figure: Figure) -> bytes:
    """Return the figure as PDF."""
    return _saved(figure, "pdf", {"Creator": None, "Producer": None, "CreationDate": None})


def _saved(figure: Figure, form: str, metadata: dict[str, None]) -> bytes:
    out = io.BytesIO()
    with styled():
        figure.savefig(out, format=form, dpi=150, metadata=metadata)
    return out.getvalue()
