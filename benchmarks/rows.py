"""Finished rows of a benchmark, one per line of a file, so that an interrupted or partial benchmark can continue."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

Row = dict[str, Any]


class Rows:
    """Rows with the settings that identify them and a fingerprint of the package whose code made them."""

    def __init__(self, path: Path, *sources: ModuleType) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.code = code(*sources)

    def __iter__(self) -> Iterator[Row]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return iter([json.loads(line) for line in lines])

    def find(self, **settings: Any) -> list[Row]:
        """Return the rows with these settings, oldest first."""
        return [row for row in self if all(row.get(name) == value for name, value in settings.items())]

    def add(self, row: Row, **settings: Any) -> Row:
        """Write a row and return it, with its settings and fingerprint."""
        row = settings | row | {"code": self.code}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        return row


def code(*sources: ModuleType) -> str:
    """Return the first digits of the SHA-256 of the sources' syntax trees, without comments and docstrings.

    `sources`: packages and modules.
    """
    files: list[Path] = []
    for source in sources:
        file = Path(str(source.__file__))
        files += file.parent.glob("*.py") if hasattr(source, "__path__") else [file]
    return hashlib.sha256("".join(map(_bare, sorted(files))).encode()).hexdigest()[:12]


def _bare(source: Path) -> str:
    """Return the syntax tree of a file without docstrings, as text."""
    tree = ast.parse(source.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def complete(
    rows: Rows, work: Callable[..., Row], items: list[Row], processes: int, say: Callable[[Row], str], **settings: Any
) -> list[Row]:
    """Return the rows of all items; missing ones are made by work(**item), in parallel single-threaded processes.

    For each finished row `say(row)` is printed, with the time left. A row that fails cancels those that have not
    started; finished ones are kept.
    """
    todo = [item for item in items if not rows.find(**settings, **item)]
    if todo:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        start = time.monotonic()
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            futures = {pool.submit(work, **item): item for item in todo}
            try:
                for done, future in enumerate(as_completed(futures), 1):
                    row = rows.add(futures[future] | future.result(), **settings)
                    left = (time.monotonic() - start) / done * (len(todo) - done)
                    print(f"{done}/{len(todo)} {say(row)}; about {left / 60:.0f} min left", file=sys.stderr, flush=True)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
    return [rows.find(**settings, **item)[-1] for item in items]
