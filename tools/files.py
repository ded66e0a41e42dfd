"""Files that tools write: allowed paths, and atomic writing."""

from __future__ import annotations

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

    Creates the folder. If the body raises, the temporary file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
