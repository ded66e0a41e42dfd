"""The recorded files of a workspace: what each command left, and how to restore it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from agents.trace.bench import place
from agents.trace.events import Executed
from agents.trace.store import Store
from sandbox.driver import SandboxLost
from sandbox.reader import UnsafeFile, list_files, read_bytes
from sandbox.tidy import remove_unless
from sandbox.writer import write_bytes

FILE_MAX = 64 << 20
COMMAND_MAX = 256 << 20
RUN_MAX = 16 << 30  # all commands of a session together: code that keeps writing must not fill the disk


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Known(NamedTuple):
    """SHA-256 of the file and of its blob; they may differ, since secrets are redacted from the blob."""

    content: str
    blob: str


class Change(NamedTuple):
    """The changes that a command made to the files of its folder."""

    saved: dict[str, str]  # new or changed: workspace path -> blob
    gone: list[str]
    unsaved: list[str]  # left out, with the reason


Mark = tuple[int, int, int, int]  # times, size and inode of a file


class Files:
    """Keeps track of the files that recorded commands left. Workers may share it, each with its own folder."""

    def __init__(self, workspace: Path, store: Store) -> None:
        self._workspace, self._store = workspace, store
        self._known: dict[str, Known] = {}  # by workspace path
        self._settled: dict[str, float] = {}  # folder -> time at which its last command was recorded
        self._prepared: set[str] = set()
        self._room = RUN_MAX

    def prepare(self, folder: str) -> None:
        """Restore a folder before its first live command: an earlier session may have been cut off in it."""
        if folder not in self._prepared:
            self.put_back(folder)
            self._prepared.add(folder)

    def put_back(self, folder: str) -> None:
        """Restore a folder to its state at the end of its last recorded command.

        Files that were too big or too odd to be saved stay if their ctime is not later; nobody inside the sandbox can
        set that time. Raises UnsafeFile, or SandboxLost when the host's disk or permissions prevent it.
        """
        settled = self._settled.get(folder, 0.0)

        def keep(path: str, status: os.stat_result) -> bool:
            return stat.S_ISREG(status.st_mode) if path in self._known else status.st_ctime <= settled

        try:
            remove_unless(self._workspace, folder, keep)
            for path in self._under(folder):
                known = self._known[path]
                if self._content(path) != known.content:
                    write_bytes(self._workspace, path, self._store.get(known.blob))
        except OSError as error:
            raise SandboxLost(f"{folder}: cannot be restored to its state before the command: {error}") from error

    def save(self, folder: str, given: Mapping[str, bytes]) -> Change:
        """Store new or changed files under a folder as blobs and return the changes; `given`: the command's input."""
        for name, data in given.items():
            self._known[str(PurePosixPath(folder, name))] = Known(sha256(data), self._store.put(data))
        try:
            listing = list_files(self._workspace, folder)
        except (UnsafeFile, OSError) as error:
            return Change({}, [], [str(error)])
        change = Change({}, [], [f"{path}: {reason}" for path, reason in listing.refused.items()])
        room = COMMAND_MAX
        for path in listing.files:
            try:
                data = read_bytes(self._workspace, path, FILE_MAX)
            except UnsafeFile as error:
                change.unsaved.append(str(error))
                self._known.pop(path, None)
                continue
            content = sha256(data)
            if path in self._known and self._known[path].content == content:
                continue
            if len(data) > room:
                change.unsaved.append(f"{path}: the command left more than {COMMAND_MAX} bytes")
                self._known.pop(path, None)
                continue
            if len(data) > self._room:
                change.unsaved.append(f"{path}: the run has left more than {RUN_MAX} bytes")
                self._known.pop(path, None)
                continue
            room, self._room = room - len(data), self._room - len(data)
            change.saved[path] = self._store.put(data)
            self._known[path] = Known(content, change.saved[path])
        change.gone.extend(path for path in self._under(folder) if path not in listing.files)
        self._forget(change.gone)
        return change

    def marks(self) -> dict[str, Mark]:
        """Return a mark of each known file, which changes when the file is written."""
        found = {}
        for path in list(self._known):
            with contextlib.suppress(OSError):
                at = (self._workspace / path).lstat()
                found[path] = (at.st_mtime_ns, at.st_ctime_ns, at.st_size, at.st_ino)
        return found

    def settle(self, event: Executed) -> None:
        """Mark the current content of a recorded command's folder as its final state."""
        self._settled[place(event.cwd)] = event.time

    def restore(self, event: Executed) -> None:
        """Apply the file changes of a recorded command."""
        folder = place(event.cwd)
        given = {str(PurePosixPath(folder, name)): sha for name, sha in event.given.items()}
        for path, sha in (given | event.files).items():
            data = self._store.get(sha)
            if self._content(path, len(data)) != sha256(data):
                write_bytes(self._workspace, path, data)
            self._known[path] = Known(sha256(data), sha)
        for path in event.gone:
            remove_unless(self._workspace, path, lambda path, status: False)
        self._forget(event.gone)
        self.settle(event)

    def _forget(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._known.pop(path, None)

    def _under(self, folder: str) -> list[str]:
        inside = "" if folder == "." else f"{folder}/"
        return [path for path in list(self._known) if path.startswith(inside)]

    def _content(self, path: str, max_bytes: int = FILE_MAX) -> str | None:
        """Return the SHA-256 of the file as it is now; None if it cannot be read safely."""
        try:
            return sha256(read_bytes(self._workspace, path, max_bytes))
        except UnsafeFile:
            return None
