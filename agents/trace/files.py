"""The files of a workspace as the trace knows them: what a command left, and how to get back to that."""

from __future__ import annotations

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
RUN_MAX = 16 << 30  # of all commands of a session together: what code writes again and again must not fill the disk


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Known(NamedTuple):
    """SHA-256 of what lay there, and of the blob: without secrets, so they may differ."""

    content: str
    blob: str


class Change(NamedTuple):
    """What a command did to the files of its folder."""

    saved: dict[str, str]  # new or changed: workspace path -> blob
    gone: list[str]
    unsaved: list[str]  # left out, with the reason


class Files:
    """Knows the files that recorded commands left. Workers may share it, each in a folder of its own."""

    def __init__(self, workspace: Path, store: Store) -> None:
        self._workspace, self._store = workspace, store
        self._known: dict[str, Known] = {}  # by workspace path
        self._settled: dict[str, float] = {}  # folder -> when its last recorded command had been recorded
        self._prepared: set[str] = set()
        self._room = RUN_MAX

    def prepare(self, folder: str) -> None:
        """Before the first live command in a folder: a command of an earlier session may have been cut off in it."""
        if folder not in self._prepared:
            self.put_back(folder)
            self._prepared.add(folder)

    def put_back(self, folder: str) -> None:
        """Make a folder what it was when its last recorded command had ended.

        What was too big or too odd to be saved stays if the kernel has seen no change of it since; nobody inside can
        set that time. Raises UnsafeFile, or SandboxLost when the operator's disk or rights do not let it be done.
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
            raise SandboxLost(f"{folder}: cannot be put back to what it was before the command: {error}") from error

    def save(self, folder: str, given: Mapping[str, bytes]) -> Change:
        """Blobs of the files under a folder that are new or have changed; `given` were put there for the command."""
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

    def settle(self, event: Executed) -> None:
        """A command has been recorded: what lies in its folder now is how it is to be."""
        self._settled[place(event.cwd)] = event.time

    def restore(self, event: Executed) -> None:
        """Do to the files what a recorded command did."""
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
        """SHA-256 of what lies there now."""
        try:
            return sha256(read_bytes(self._workspace, path, max_bytes))
        except UnsafeFile:
            return None
