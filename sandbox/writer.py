"""The host's only way to put a file into a workspace, whose content generated code may have prepared against it.

Folders are opened one by one and never through a link; the data goes to a fresh name and is renamed over what lies
there, so a planted link, pipe or socket is replaced and never followed, opened or waited for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path, PurePosixPath

from sandbox.reader import UnsafeFile

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FRESH = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# What the content of the workspace can bring about. Anything else, a full disk say, is the operator's: an OSError.
HOSTILE = {
    *(errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT),
    *(errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENXIO),
}


def write_bytes(workspace: Path, relative: str, data: bytes) -> None:
    """Put `data` at a path inside the workspace, missing folders included, for the owner of the workspace to use."""
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or "\0" in relative or not path.name:
        raise UnsafeFile(relative, "not a path of a file inside the workspace")
    with contextlib.ExitStack() as opened:
        folder = os.open(workspace, FOLDER)
        opened.callback(os.close, folder)
        owner = os.fstat(folder)
        try:
            for name in path.parts[:-1]:
                folder = _enter(folder, name, owner)
                opened.callback(os.close, folder)
            _replace(folder, path.name, data, owner)
        except OSError as error:
            if error.errno in HOSTILE:
                raise UnsafeFile(relative, f"cannot be written: {error.strerror}") from error
            raise


def _enter(parent: int, name: str, owner: os.stat_result) -> int:
    """Open a folder, made when it is not there."""
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        return os.open(name, FOLDER, dir_fd=parent)
    fd = os.open(name, FOLDER, dir_fd=parent)
    _hand_over(fd, owner)
    return fd


def _replace(folder: int, name: str, data: bytes, owner: os.stat_result) -> None:
    fresh = f".{secrets.token_hex(8)}.new"
    fd = os.open(fresh, FRESH, 0o644, dir_fd=folder)
    try:
        with os.fdopen(fd, "wb") as file:
            _hand_over(fd, owner)
            file.write(data)
        os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(fresh, dir_fd=folder)
        raise


def _hand_over(fd: int, owner: os.stat_result) -> None:
    """Where the operator is root, the sandbox's user is the owner of the workspace and not the operator."""
    if os.geteuid() == 0:
        os.fchown(fd, owner.st_uid, owner.st_gid)
