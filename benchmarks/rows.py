"""Finished rows of a benchmark in a file, a line each: one that was interrupted, or is run by sections, goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

Row = dict[str, Any]


class Rows:
    """Rows and the settings that tell those of another benchmark, with a mark of the package whose code made them."""

    def __init__(self, path: Path, package: ModuleType) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.code = code(package)

    def __iter__(self) -> Iterator[Row]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return iter([json.loads(line) for line in lines])

    def find(self, **settings: Any) -> list[Row]:
        """Those of these settings, oldest first."""
        return [row for row in self if all(row.get(name) == value for name, value in settings.items())]

    def add(self, row: Row, **settings: Any) -> Row:
        """Write a row and return it, with its settings and mark."""
        row = settings | row | {"code": self.code}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        return row


def code(package: ModuleType) -> str:
    """First digits of the SHA-256 of a package's sources."""
    sources = sorted(Path(str(package.__file__)).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
