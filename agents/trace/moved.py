"""Comparison of a recorded file or document with its reproduction: what changed, and by how much."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from pydantic import Field

from agents.trace.differences import differences
from sandbox.reader import UnsafeFile, read_bytes, read_npz, read_parquet
from tools.contract import Frozen

MAX_BYTES, MAX_VALUES, MAX_COLUMNS = 64 << 20, 1 << 27, 1000
LEFT_OUT = ("time", "seconds", "sha256")  # times always differ and are no results; hashed files are compared themselves
Verdict = Literal["identical", "within", "moved", "flagged"]


class Moved(Frozen):
    """The comparison of one artefact or number of a run with its reproduction.

    identical: same bytes, or same values. within: differs by no more than the tolerance. moved: differs by more, or in
    kind. flagged: printed text or pictures differ; they may contain times, so this is not evidence of a fault.
    """

    where: str
    what: str
    verdict: Verdict
    how: str = Field("", description="how much it changed, or in what way")


def compare_files(where: str, path: str, recorded: Path, live: Path, tolerance: float) -> Moved:
    """Compare the same relative path in two workspaces; files from a sandbox are read only by the strict readers."""
    try:
        old, new = (read_bytes(folder, path, MAX_BYTES) for folder in (recorded, live))
        if old == new:
            return Moved(where=where, what=path, verdict="identical")
        suffix = PurePosixPath(path).suffix
        if suffix in (".parquet", ".npz"):
            verdict, how = _arrays(_read(recorded, path, suffix), _read(live, path, suffix), tolerance)
        elif suffix in (".json", ".jsonl"):
            verdict, how = compare_json(_lines(old, suffix), _lines(new, suffix), tolerance)
        elif suffix == ".png":
            verdict, how = "flagged", f"different picture, {len(old)} and {len(new)} bytes"
        else:
            verdict, how = "moved", f"different content, {len(old)} and {len(new)} bytes"
    except (UnsafeFile, ValueError, RecursionError) as error:
        verdict, how = "moved", str(error)
    return Moved(where=where, what=path, verdict=verdict, how=how)


def compare_json(recorded: Any, now: Any, tolerance: float) -> tuple[Verdict, str]:
    """Compare numbers within a relative tolerance and all else exactly; fields with times or hashes are left out."""
    worst, place = 0.0, ""
    for path, old, new in _leaves(recorded, now):
        if not (_is_number(old) and _is_number(new)):
            if first := next(differences(old, new, path), None):
                return "moved", f"{first.path}: {first.recorded} became {first.now}"
        elif (by := _relative(old, new)) > worst:
            worst, place = by, f"{path}: {old:.6g} became {new:.6g}"
    if worst == 0:
        return "identical", ""
    return ("within" if worst <= tolerance else "moved"), f"relative {worst:.1e} at most, {place}"


def _arrays(old: dict[str, np.ndarray], new: dict[str, np.ndarray], tolerance: float) -> tuple[Verdict, str]:
    """Compare column by column: the largest difference, also relative to the column's range, and the correlation."""
    if {k: v.shape for k, v in old.items()} != {k: v.shape for k, v in new.items()}:
        return "moved", f"different columns or rows: {_shapes(old)} became {_shapes(new)}"
    worst, said = 0.0, "the same numbers, stored differently"
    for name in old:
        a, b = old[name].astype(float), new[name].astype(float)
        if np.array_equal(a, b, equal_nan=True):
            continue
        if not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return "moved", f"{name}: different entries are finite"
        good = np.isfinite(a)
        a, b = a[good].ravel(), b[good].ravel()
        largest, spread = float(np.abs(a - b).max(initial=0)), float(np.ptp(a))
        by = largest / spread if spread > 0 else np.inf
        r = float(np.corrcoef(a, b)[0, 1]) if spread > 0 and np.ptp(b) > 0 else float("nan")
        if by >= worst:
            worst, said = by, f"{name}: |Δ| up to {largest:.2g}, {by:.1e} of its range, correlation {r:.9f}"
    return ("within" if worst <= tolerance else "moved"), said


def _read(folder: Path, path: str, suffix: str) -> dict[str, np.ndarray]:
    if suffix == ".npz":
        return read_npz(folder, path, MAX_BYTES, MAX_VALUES)
    return read_parquet(folder, path, MAX_BYTES, MAX_VALUES, MAX_COLUMNS)


def _lines(data: bytes, suffix: str) -> Any:
    return [json.loads(line) for line in data.splitlines()] if suffix == ".jsonl" else json.loads(data)


def _shapes(arrays: dict[str, np.ndarray]) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in arrays.items())


def _leaves(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        for name in old.keys() - set(LEFT_OUT):
            yield from _leaves(old[name], new[name], f"{path}.{name}" if path else str(name))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for k, pair in enumerate(zip(old, new, strict=True)):
            yield from _leaves(*pair, f"{path}[{k}]")
    else:
        yield path, old, new


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _relative(old: float, new: float) -> float:
    if old == new or (old != old and new != new):
        return 0.0
    by = abs(old - new) / max(abs(old), abs(new))
    return by if by == by else float("inf")
