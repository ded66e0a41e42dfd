"""The host's only way to put a file into a workspace, in which generated code may have set traps.

Folders are opened one by one and never through a link; the data goes to a new name and is then renamed over whatever is
there, so a planted link, pipe or socket is replaced and never followed, opened or waited for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

from sandbox.reader import UnsafeFile
from sandbox.reader.files import inside

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FRESH = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Errors that the content of the workspace can cause. Others, such as a full disk, are the operator's: an OSError.
HOSTILE = {
    *(errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT),
    *(errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENXIO),
}


def write_bytes(workspace: Path, relative: str, data: bytes) -> None:
    """Write `data` to a path inside the workspace, owned by the owner of the workspace; missing folders are made."""
    path = inside(relative)
    if not path.name:
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
    """Open a folder, made if missing."""
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
    """Give a file to the owner of the workspace: the sandbox's user, if the operator is root."""
    if os.geteuid() == 0:
        os.fchown(fd, owner.st_uid, owner.st_gid)
