"""The journal of tool calls: one JSON line per call, in the working directory of a sandbox workspace.

Generated code can write to it as well, so it helps people to read a run but proves nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from pathlib import Path
from typing import Any

WORKSPACE = "/workspace"
NAME = "journal.jsonl"


def append(**entry: Any) -> None:
    """Append one line if the process works inside a sandbox workspace; otherwise do nothing."""
    here = Path.cwd()
    if not here.is_relative_to(WORKSPACE):
        return
    line = json.dumps(entry, default=str) + "\n"
    # A single write with O_APPEND keeps the lines of workers that share a folder apart. A pipe or a link that generated
    # code has put there is left alone, without waiting for its other end.
    with contextlib.suppress(OSError):
        descriptor = os.open(here / NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
