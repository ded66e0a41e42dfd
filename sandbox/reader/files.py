"""Reading and listing of regular files in a workspace without following links."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

MAX_DEPTH = 32  # folders below the one that is listed


class UnsafeFile(ValueError):  # noqa: N818 - the file is unsafe, the reader did its work
    """A file that is refused: which one, and why. The text may be shown to the agent that made the file."""

    def __init__(self, relative: str, reason: str) -> None:
        super().__init__(f"{relative!r}: {reason}")
        self.relative, self.reason = relative, reason

    def __reduce__(self) -> tuple[type[UnsafeFile], tuple[str, str]]:
        return UnsafeFile, (self.relative, self.reason)  # lets other processes return it


class Listing(NamedTuple):
    """Regular files with their sizes in bytes, and all other entries with the reason for refusing them."""

    files: dict[str, int]
    refused: dict[str, str]


def read_bytes(workspace: Path, relative: str, max_bytes: int) -> bytes:
    """Return the content of one regular file of at most `max_bytes`."""
    with opened(workspace, relative, os.O_RDONLY | os.O_NONBLOCK) as fd:
        if reason := _objection(os.fstat(fd)):
            raise UnsafeFile(relative, reason)
        with open(fd, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise UnsafeFile(relative, f"larger than {max_bytes} bytes")
    return data


def list_files(workspace: Path, sub: str = ".", max_files: int = 1000) -> Listing:
    """List what is under `sub`, by paths relative to the workspace."""
    listing = Listing({}, {})
    with opened(workspace, sub, os.O_RDONLY | os.O_DIRECTORY) as top:
        for path, reason, size in _walk(top, PurePosixPath(sub), 0):
            if len(listing.files) + len(listing.refused) >= max_files:
                raise UnsafeFile(sub, f"more than {max_files} files")
            if reason := reason or ("" if path.isprintable() else "unprintable name"):
                listing.refused[path] = reason
            else:
                listing.files[path] = size
    return listing


def _walk(fd: int, folder: PurePosixPath, depth: int) -> Iterator[tuple[str, str, int]]:
    """Yield everything but folders: path, reason to refuse it, size. An unreadable folder is refused as a whole."""
    for name in sorted(os.listdir(fd)):
        path, status = str(folder / name), os.stat(name, dir_fd=fd, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            yield path, _objection(status), status.st_size
        elif depth == MAX_DEPTH:
            yield path, f"more than {MAX_DEPTH} folders deep", 0
        else:
            try:
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            except OSError as error:
                yield path, str(error), 0
                continue
            try:
                yield from _walk(inner, folder / name, depth + 1)
            finally:
                os.close(inner)


def _objection(status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return "a symbolic link"
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    return "has more than one hard link" if status.st_nlink > 1 else ""


def inside(relative: str) -> PurePosixPath:
    """Return the path if it cannot lead out of the workspace, links aside. Raises UnsafeFile."""
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or "\0" in relative:
        raise UnsafeFile(relative, "not a path inside the workspace")
    return path


@contextlib.contextmanager
def opened(workspace: Path, relative: str, flags: int) -> Iterator[int]:
    """Open the file or folder at a path, component by component, without following links."""
    path = inside(relative)
    if not relative:
        raise UnsafeFile(relative, "not a path inside the workspace")
    with contextlib.ExitStack() as opened:

        def step(name: str, parent: int | None, how: int) -> int:
            fd = os.open(name, how | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            opened.callback(os.close, fd)
            return fd

        try:
            fd = step(os.fspath(workspace), None, os.O_RDONLY | os.O_DIRECTORY)
            for name in path.parts[:-1]:
                fd = step(name, fd, os.O_RDONLY | os.O_DIRECTORY)
            fd = step(path.name or ".", fd, flags)
        except OSError as error:
            raise UnsafeFile(relative, f"{error.strerror} (links are not followed)") from error
        yield fd
