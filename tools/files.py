"""Files that tools and commands write: allowed paths, nothing overwritten unasked, and atomic writing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.contract import ToolError

LONGEST = 240  # bytes of a file's name: file systems allow 255, of which `written` needs some
RECORDS = ("trace.jsonl", "study.json")  # files that mark the folder of a run or a study


def below(field: str, path: str, suffix: str = "", folder: bool = False) -> Path:
    """Check that a path lies below the working directory, has this suffix and can be a file, or else a `folder`.

    ToolError names the request's `field`.
    """
    target = Path(path)
    if target.is_absolute() or ".." in target.parts or (suffix and target.suffix != suffix):
        ending = f" ending in {suffix}" if suffix else ""
        raise ToolError(field, path, f"a relative path below the working directory{ending}")
    _possible(field, target, folder)
    return target


def new_file(
    field: str, target: Path, suffixes: Iterable[str], inputs: Iterable[Path] = (), force: bool = False
) -> Path:
    """Return the path of a file that a command may write.

    Raises ToolError naming `field` for another suffix, for a folder, for one of the `inputs` or a file that belongs to
    the record of a run, and, without `force`, for any other existing file.
    """
    if target.suffix not in (allowed := tuple(suffixes)):
        raise ToolError(field, str(target), f"a name that ends in {' or '.join(allowed)}")
    _possible(field, target)
    if any(target.exists() and each.exists() and target.samefile(each) for each in inputs):
        raise ToolError(field, str(target), "a file other than the input, which it would replace")
    if target.exists():
        folders = target.resolve().parents
        if any((folder / record).is_file() for folder in folders for record in RECORDS):
            raise ToolError(field, str(target), "a file that is not part of a run; this one is in a run's folder")
        if not force:
            raise ToolError(field, str(target), "exists; remove it, choose another name, or replace it with --force")
    return target


def _possible(field: str, target: Path, folder: bool = False) -> None:
    """Raise ToolError for a path that cannot be that of a file."""
    if "\0" in str(target):
        raise ToolError(field, str(target), "a path without NUL bytes")
    if not target.name or any(len(part.encode(errors="replace")) > LONGEST for part in target.parts):
        raise ToolError(field, str(target), f"a name, with parts of at most {LONGEST} bytes")
    if not folder and target.is_dir():
        raise ToolError(field, str(target), "the name of a file; this is a folder")
    for parent in [target, *target.parents] if folder else target.parents:
        if parent.exists() and not parent.is_dir():
            raise ToolError(field, str(target), f"{parent} is a file, so nothing can lie below it")


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, which becomes `path` at the end: the file appears whole or not at all.

    Creates the folder. If the body raises, the temporary file is removed; an OSError becomes a ToolError. Its name is
    this process's own: of two that write the same file, the last one wins.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OSError as error:
        raise ToolError("out", str(path), f"a file that can be written ({error.strerror or error})") from None
    finally:
        if part.is_file():
            part.unlink()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically: whoever has it open meanwhile keeps the old content."""
    with written(path) as part:
        part.write_bytes(data)
