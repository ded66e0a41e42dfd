"""Content-addressed blobs: `blobs/ab/cdef...` holds the bytes whose SHA-256 is abcdef... Secrets never get in."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agents.backends.base import SHORTEST_SECRET

REDACTED = "[redacted]"
PASSWORD = re.compile(r"(://[^\s/:@\"']*:)[^\s/:@\"']+@")
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
AT_ONCE = 8  # files synced concurrently: the file system commits them to its journal together


class TraceError(RuntimeError):
    """A trace that cannot be written, read or trusted; the message, for the operator, names the file and the line."""


class Redactor:
    """Replaces known secrets, also in JSON, URL, base64 or hexadecimal encoding, and passwords in URLs by
    `[redacted]`."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        forms = {form for s in secrets if len(s) >= SHORTEST_SECRET for form in (s, *_escaped(s), *_encoded(s))}
        self._words = sorted(forms, key=len, reverse=True)

    def text(self, value: str) -> str:
        for word in self._words:
            value = value.replace(word, REDACTED)
        return PASSWORD.sub(rf"\1{REDACTED}@", value)

    def data(self, value: bytes) -> bytes:
        """Redact bytes, binary files too: one that contains a key is better broken than published."""
        for word in self._words:
            value = value.replace(word.encode(), REDACTED.encode())
        if b"://" not in value:
            return value
        try:
            return self.text(value.decode()).encode()
        except UnicodeDecodeError:
            return value  # not text, so no URLs

    def tree(self, value: Any) -> Any:
        """Redact every string of a JSON document, names included; lone surrogates, which models can write but JSON
        readers reject, become question marks."""
        if isinstance(value, str):
            return self.text(value.encode(errors="replace").decode())
        if isinstance(value, list):
            return [self.tree(item) for item in value]
        if isinstance(value, dict):
            return {self.tree(str(name)): self.tree(item) for name, item in value.items()}
        return value


def _escaped(secret: str) -> tuple[str, str]:
    return json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]


def _encoded(secret: str) -> set[str]:
    """Return the secret in URL, hexadecimal and base64 encoding, the latter at each offset in groups of three bytes.

    At the ends base64 mixes a secret with its neighbours: those digits are left out.
    """
    data = secret.encode()
    forms = {quote(secret, safe=""), data.hex(), data.hex().upper()}
    for before in range(3):
        digits = base64.b64encode(bytes(before) + data).decode()
        inner = digits[(before * 8 + 5) // 6 : (before + len(data)) * 8 // 6]
        forms |= {inner, inner.translate(str.maketrans("+/", "-_"))}
    return {form for form in forms if len(form) >= SHORTEST_SECRET}


class Blobs:
    """The blobs of one run, below `folder`. Thread-safe; only one process at a time may write."""

    def __init__(self, folder: Path, redactor: Redactor | None = None) -> None:
        self._folder = folder
        self._redactor = redactor or Redactor()
        self._lock = threading.Lock()
        self._there: set[str] = set()  # written, or found to be complete, by this process
        self._unsynced: set[Path] = set()
        self._syncing: ThreadPoolExecutor | None = None

    def put(self, data: bytes) -> str:
        """Store bytes and return their SHA-256. They survive this process, and after `sync` a crash of the machine."""
        data = self._redactor.data(data)
        sha = hashlib.sha256(data).hexdigest()
        path = self._path(sha)
        with self._lock:
            if sha in self._there:
                return sha
            try:
                _write(path, data)
            except OSError as error:
                raise TraceError(f"{path}: cannot be written: {error.strerror}") from error
            self._unsynced.add(path)
            self._there.add(sha)
        return sha

    def sync(self) -> None:
        """Sync all stored blobs to disk; write whatever refers to them only after this."""
        with self._lock:
            paths = list(self._unsynced)
            if len(paths) > 1 and self._syncing is None:
                self._syncing = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="blobs")
        try:
            for _ in self._syncing.map(_sync, paths) if self._syncing else map(_sync, paths):
                pass
        except OSError as error:
            raise TraceError(f"{self._folder}: cannot be written: {error.strerror}") from error
        with self._lock:
            self._unsynced.difference_update(paths)

    def get(self, sha: str) -> bytes:
        """Return the bytes with this SHA-256, checked."""
        path = self._path(sha)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise TraceError(f"{path}: cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != sha:
            raise TraceError(f"{path}: the content does not have the SHA-256 it is named by")
        return data

    def size(self, sha: str) -> int:
        """Return the size of a blob [bytes], so that one that is too big need not be read."""
        path = self._path(sha)
        try:
            return path.stat().st_size
        except OSError as error:
            raise TraceError(f"{path}: cannot be read: {error.strerror}") from error

    def _path(self, sha: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{64}", sha):
            raise TraceError(f"{self._folder}: {sha!r} is not the name of a blob")
        return self._folder / sha[:2] / sha[2:]


def _write(path: Path, data: bytes) -> None:
    """Write a blob. An existing file may be incomplete, from a killed process; no event refers to it then."""
    try:
        fd = os.open(path, NEW, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, NEW, 0o600)
    except FileExistsError:
        if path.read_bytes() == data:
            return
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    with os.fdopen(fd, "wb") as file:
        file.write(data)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
