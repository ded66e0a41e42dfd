"""A run on disk, finished or not, with its tables as DataFrames and its figures."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from pydantic import BaseModel

from sandbox.reader import read_parquet

if TYPE_CHECKING:
    from agents.trace.result import RunResult

PICTURE = re.compile(r"^!\[(?P<caption>.*)\]\((?P<path>[^)\s]+\.png)\)$", re.MULTILINE)  # in a Markdown report
MAX_BYTES, MAX_ROWS, MAX_COLUMNS = 1 << 29, 10_000_000, 1000  # limits of a file to read


@dataclass(frozen=True)
class Figure:
    """A figure of the report: its caption and the PNG bytes, which a notebook displays."""

    caption: str
    png: bytes = field(repr=False)

    def _repr_png_(self) -> bytes:
        return self.png


class Run:
    """A run in its folder. Its numbers are those of the trace: nothing is recomputed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __repr__(self) -> str:
        return f"<Run {self.result.run}: {self.result.task}, {self.result.backend}, {self.result.status}>"

    @cached_property
    def result(self) -> RunResult:
        """The content of `result.json`, as a pydantic model."""
        from agents.trace.result import build_result

        return build_result(self.folder)

    @property
    def iterations(self) -> pd.DataFrame:
        """One row per graded iteration: the steering metric with its error, and the task's further numbers."""
        return _table(self.result.iterations, "iteration")

    @property
    def claims(self) -> pd.DataFrame:
        """One row per claimed number: claimed, computed by the harness and, once the run has ended, the truth."""
        return _table(self.result.claims, "name")

    @property
    def sealed(self) -> pd.DataFrame:
        """One row per metric that needs the truth, computed once after the end."""
        return _table(self.result.sealed, "name")

    @cached_property
    def trace(self) -> pd.DataFrame:
        """One row per event, indexed by its place in the trace; `kind` determines which other columns it fills."""
        from agents.trace.store import read_trace

        events = _table(read_trace(self.folder), "index")
        return events.assign(time=pd.to_datetime(events["time"], unit="s", utc=True))

    @property
    def calls(self) -> pd.DataFrame:
        """One row per tool call: where, tool, arguments, result or error, seconds."""
        calls = self.trace[self.trace["kind"] == "tool_called"]
        return calls.reindex(columns=["where", "tool", "arguments", "result", "error", "seconds"])

    @cached_property
    def figures(self) -> list[Figure]:
        """The figures of the report, in order."""
        from agents.trace.report import write_report

        with tempfile.TemporaryDirectory() as name:
            report = write_report(self.folder, Path(name)).with_name("report.md").read_text()
            found = PICTURE.finditer(report)
            return [Figure(match["caption"], Path(name, match["path"]).read_bytes()) for match in found]

    def read(self, path: str) -> pd.DataFrame:
        """Read a parquet file of the run, such as inputs/events.parquet or a file that a step left in workspace/.

        Generated code may have written it, so the strict reader accepts only columns of numbers. Raises UnsafeFile,
        which says why, for any other file and for paths that lead out of the run's folder.
        """
        return pd.DataFrame(read_parquet(self.folder, path, MAX_BYTES, MAX_ROWS, MAX_COLUMNS))


def load(folder: Path | str) -> Run:
    """Return the run in a folder, finished or not. Raises TraceError if there is none."""
    run = Run(Path(folder).resolve())
    run.result  # noqa: B018 - refuse a folder without a trace here and not at first access
    return run


def _table(rows: Iterable[BaseModel], index: str) -> pd.DataFrame:
    """Return one column per field, with `index` as the index; empty if there are no rows."""
    table = pd.DataFrame([row.model_dump() for row in rows])
    return table if table.empty else table.set_index(index)
