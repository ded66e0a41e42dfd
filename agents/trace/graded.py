"""Files that were graded, kept whole at that moment: whatever later happens in the workspace, these are sealed."""

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
    """Workspace path -> blob of each file that is handed in; one that cannot be read safely is left out."""
    kept = {}
    for path in submission.files().values() if submission else ():
        with contextlib.suppress(UnsafeFile):  # the grader says what is wrong with it
            kept[path] = store.put(read_bytes(workspace, path, MAX_BYTES))
    return kept


@contextlib.contextmanager
def laid_out(store: Store, files: Mapping[str, str]) -> Iterator[Path]:
    """A folder of the harness's own that holds these files and nothing else, as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix=".graded-", dir=store.run_dir) as folder:
        for path, sha in files.items():
            write_bytes(Path(folder), path, store.get(sha))
        yield Path(folder)


def kept(events: Sequence[AnyEvent], iteration: int) -> dict[str, str]:
    """The files that the grade of an iteration was made from."""
    return next(e.files for e in reversed(events) if isinstance(e, Graded) and e.iteration == iteration)
