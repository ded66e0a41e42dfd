"""Separation of tops from background by submitted scores, for each number of labels; the file is not trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sandbox.reader import UnsafeFile, read_parquet
from tasks.submission import MAX_BYTES
from tools.dependence import dependence
from tools.metrics import auc
from tools.types import Floats

Mask = NDArray[np.bool_]

PREFIX = "score_"
KEPT = (0.3, 0.5, 0.8)  # of the tops, at which the dependence on mass is measured
EFFICIENCY = 0.5  # for tops, at which the background is counted
TOYS = 100


def read_scores(workspace: Path, path: str, rows: int, labels: Sequence[int]) -> dict[int, Floats]:
    """Read scores (rows,) by number of labels. ValueError says what is wrong with the file."""
    names = [f"{PREFIX}{n}" for n in labels]
    try:
        columns = read_parquet(workspace, path, MAX_BYTES, max_rows=2 * rows + 1000, max_columns=100)
    except UnsafeFile as error:
        raise ValueError(f"scores: {error}") from None
    if missing := [name for name in names if name not in columns]:
        raise ValueError(f"scores={path!r}: needs the columns {missing}, has {sorted(columns)[:20]}")
    scores = {n: np.asarray(columns[name], dtype=np.float64) for n, name in zip(labels, names, strict=True)}
    for n, values in scores.items():
        if len(values) != rows:
            raise ValueError(f"scores={path!r}: {len(values)} rows, but {rows} jets: one score each, in file order")
        if not np.all(np.isfinite(values)):
            raise ValueError(f"scores={path!r}: {int((~np.isfinite(values)).sum())} of score_{n} are not finite")
    return scores


def rejection(top: Floats, background: Floats, efficiency: float = EFFICIENCY) -> float:
    """Return 1 / background efficiency at the cut that keeps the fraction `efficiency` of the tops.

    Equal scores are kept or lost together; if no background is left, half a jet counts.
    """
    kept = max(round(efficiency * len(top)), 1)
    cut = np.sort(top)[-kept]
    left = float((background >= cut).sum())
    return len(background) / max(left, 0.5)


def shaping(score: Floats, mass: Floats, is_top: Mask) -> dict[str, dict[str, float]]:
    """Return, by fraction of tops kept, how much the cut shapes the mass of the background: 1/JSD, what statistics
    allow, and the p-value of no dependence. Cuts that keep no background, or all of it, are left out.
    """
    found = {}
    for efficiency in KEPT:
        cut = np.sort(score[is_top])[-max(round(efficiency * int(is_top.sum())), 1)]
        passed = score[~is_top] >= cut
        if 0 < passed.sum() < len(passed):
            one = dependence(mass[~is_top], passed)
            found[f"{efficiency:g}"] = {
                **{"inverse_jsd": one.inverse_jsd, "ceiling": one.ceiling},
                **{"p_value": one.p_value, "background": float(one.passing)},
            }
    return found


def geometric_mean(scores: Mapping[int, Floats], is_top: Mask, efficiency: float = EFFICIENCY) -> float:
    """Return the geometric mean of the rejections over the numbers of labels."""
    return float(np.exp(np.mean([np.log(rejection(s[is_top], s[~is_top], efficiency)) for s in scores.values()])))


def toys(scores: Mapping[int, Floats], is_top: Mask, seed: int, n: int = TOYS) -> list[tuple[dict[int, Floats], Mask]]:
    """Return bootstrap samples of the jets, tops and background separately, the same jets for each number of labels."""
    rng = np.random.default_rng(seed)
    kinds = [np.flatnonzero(is_top == kind) for kind in (True, False)]
    made = []
    for _ in range(n):
        rows = np.concatenate([kind[rng.integers(0, len(kind), len(kind))] for kind in kinds])
        made.append(({labels: s[rows] for labels, s in scores.items()}, is_top[rows]))
    return made


def numbers(scores: Mapping[int, Floats], is_top: Mask, seed: int = 1) -> dict[str, tuple[float, float]]:
    """Return rejection and AUC for each number of labels, with bootstrap errors."""
    resampled = toys(scores, is_top, seed)
    found: dict[str, tuple[float, float]] = {}
    for n, s in scores.items():
        for name, measure in (("rejection", rejection), ("auc", auc)):
            spread = [measure(t[n][top], t[n][~top]) for t, top in resampled]
            found[f"{name}_{n}"] = (measure(s[is_top], s[~is_top]), float(np.std(spread, ddof=1)))
    return found
