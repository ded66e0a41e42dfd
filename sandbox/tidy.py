"""Removal of files from a workspace that generated code may have prepared, and where it may still be running.

Folders are opened one by one and never through a link; what is removed is an entry of a folder that is held open, so
a link is removed and its target is left alone.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from sandbox.reader.files import MAX_DEPTH, inside

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
Keep = Callable[[str, os.stat_result], bool]


def remove_unless(workspace: Path, sub: str, keep: Keep) -> None:
    """Remove everything under the folder `sub` except what `keep(path, status)` wants and the folders leading there.

    Anything in place of a folder is removed as well. What lies deeper than the reader looks is removed without asking
    `keep`. Raises UnsafeFile for a path that leads out, OSError for what cannot be removed.
    """
    path = inside(sub)
    with contextlib.ExitStack() as opened:
        fd = os.open(workspace, FOLDER)
        opened.callback(os.close, fd)
        for name in path.parts:
            try:
                parent, status = fd, os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                return
            if not stat.S_ISDIR(status.st_mode):
                os.unlink(name, dir_fd=parent)
                return
            fd = _enter(parent, name, status)
            opened.callback(os.close, fd)
        _Sweep(fd, keep).go(path)


class _Sweep:
    """One sweep of the folder `top`. Folders nested too deeply for the stack are moved up, and swept last."""

    def __init__(self, top: int, keep: Keep) -> None:
        self._top, self._keep = top, keep
        self._moved: list[str] = []

    def go(self, folder: PurePosixPath) -> None:
        self._sweep(self._top, folder, 0)
        self._keep = lambda path, status: False
        while self._moved:
            self._folder(self._top, self._moved.pop(), folder, 0)

    def _sweep(self, fd: int, folder: PurePosixPath, depth: int) -> bool:
        """Sweep a folder, and return whether something has been kept."""
        kept = False
        for name in os.listdir(fd):
            kept |= self._folder_or_file(fd, name, folder, depth)
        return kept

    def _folder_or_file(self, fd: int, name: str, folder: PurePosixPath, depth: int) -> bool:
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                return self._folder(fd, name, folder, depth)
            if self._keep(str(folder / name), status):
                return True
            os.unlink(name, dir_fd=fd)
        except FileNotFoundError:  # another process was faster
            pass
        return False

    def _folder(self, fd: int, name: str, folder: PurePosixPath, depth: int) -> bool:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        inner = _enter(fd, name, status)
        try:
            if depth == MAX_DEPTH:
                self._moved.append(f".{secrets.token_hex(8)}.old")
                os.rename(name, self._moved[-1], src_dir_fd=fd, dst_dir_fd=self._top)
                return False
            kept = self._sweep(inner, folder / name, depth + 1)
        finally:
            os.close(inner)
        if kept or self._keep(str(folder / name), status):
            return True
        os.rmdir(name, dir_fd=fd)
        return False


def _enter(parent: int, name: str, status: os.stat_result) -> int:
    """Open a folder, first restoring the owner's rights, which generated code may have removed."""
    if status.st_mode & stat.S_IRWXU != stat.S_IRWXU:
        found = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            Path(f"/proc/self/fd/{found}").chmod(stat.S_IMODE(status.st_mode) | stat.S_IRWXU)
        finally:
            os.close(found)
    return os.open(name, FOLDER, dir_fd=parent)
