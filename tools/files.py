"""Files that are written: allowed paths, and atomic writing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.contract import ToolError


def below(field: str, path: str, suffix: str = "") -> Path:
    """Check that a path lies below the working directory and has this suffix; ToolError names the request's `field`."""
    target = Path(path)
    if target.is_absolute() or ".." in target.parts or (suffix and target.suffix != suffix):
        ending = f" ending in {suffix}" if suffix else ""
        raise ToolError(field, path, f"a relative path below the working directory{ending}")
    return target


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, which becomes `path` at the end: the file appears whole or not at all.

    Creates the folder. If the body raises, the temporary file is removed. Its name is this process's own: of two that
    write the same file, the last one wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically: whoever has it open meanwhile keeps the old content."""
    with written(path) as part:
        part.write_bytes(data)
