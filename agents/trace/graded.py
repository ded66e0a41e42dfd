"""Copies of graded files: whatever happens later in the workspace, these copies get the sealed metrics."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from agents.trace.events import AnyEvent, Graded
from agents.trace.store import Store
from sandbox.reader import UnsafeFile, read_bytes
from sandbox.writer import write_bytes
from tasks.submission import MAX_BYTES, Submission


def keep(store: Store, workspace: Path, submission: Submission | None) -> dict[str, str]:
    """Store the submitted files; return workspace path -> blob, without files that cannot be read safely."""
    kept = {}
    for path in submission.files().values() if submission else ():
        with contextlib.suppress(UnsafeFile):  # the grader says what is wrong with it
            kept[path] = store.put(read_bytes(workspace, path, MAX_BYTES))
    return kept


@contextlib.contextmanager
def laid_out(store: Store, files: Mapping[str, str]) -> Iterator[Path]:
    """Provide a temporary folder of the harness with these files and nothing else."""
    with tempfile.TemporaryDirectory(prefix=".graded-", dir=store.run_dir) as folder:
        for path, sha in files.items():
            write_bytes(Path(folder), path, store.get(sha))
        yield Path(folder)


def kept(events: Sequence[AnyEvent], iteration: int) -> dict[str, str]:
    """Return the files that an iteration's grade was computed from: workspace path -> blob."""
    return next(e.files for e in reversed(events) if isinstance(e, Graded) and e.iteration == iteration)
