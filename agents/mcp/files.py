"""The tools by which a client brings files of the operator's into the sandbox of its tool calls."""

from __future__ import annotations

from typing import Any

from mcp import types
from pydantic import Field

from agents.mcp.roots import Roots
from agents.mcp.toolbench import FOLDER, ToolBench
from sandbox.driver import INPUTS
from tools.contract import Request, Result, Tool, ToolError, tool
from tools.events.sight import look

LISTED = 200  # files of a list


class AddRequest(Request):
    """Copy a file."""

    path: str = Field(
        min_length=1, max_length=4096, description="file below an allowed folder, absolute or relative to it"
    )


class AddResult(Result):
    """A copied file."""

    file: str = Field(description="its path in the sandbox: what the fields of tools take")
    table: str | None = Field(description="a table's numbers as parquet, which most tools need; null: none is needed")
    sees: dict[str, Any] | None = Field(description="what is in it: columns with their ranges, or arrays")


class ListRequest(Request):
    """List files."""


class ListResult(Result):
    """The files that tools can read."""

    inputs: list[str] = Field(description="copies of the operator's files, read-only")
    made: list[str] = Field(description=f"files that calls have left; those in {FOLDER} also by their names alone")
    folder: str | None = Field(
        description="folder of this machine with the trace and the files; null before the first call"
    )
    roots: list[str] = Field(description="the allowed folders: files_add takes files below them")


class FileTools:
    """The tools of files, bound to a bench and the allowed folders."""

    def __init__(self, bench: ToolBench, roots: Roots) -> None:
        self._bench, self._roots = bench, roots

    def tools(self) -> list[tuple[Tool[Any, Any], types.ToolAnnotations]]:
        """Return the tools with what they can change."""
        adds = types.ToolAnnotations(
            read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False
        )
        looks = types.ToolAnnotations(
            read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
        )
        return [(tool("files_add")(self.add), adds), (tool("files_list")(self.known), looks)]

    def add(self, request: AddRequest) -> AddResult:
        """Copy a file of the operator's into the sandbox, where tools can read it and cannot change it. A table (CSV,
        HDF5, npz, ROOT) is also written as parquet, without columns that are labels by their names."""
        copy, *table = self._bench.add(request.path)
        try:
            sees = look(copy).model_dump(exclude_defaults=True, exclude={"path"})
        except ToolError:
            sees = None
        return AddResult(file=f"{INPUTS}/{copy.name}", table=f"{INPUTS}/{table[0].name}" if table else None, sees=sees)

    def known(self, request: ListRequest) -> ListResult:
        """List the files that tools can read, and the folders from which files_add takes more."""
        inputs, made = self._bench.files()
        return ListResult(
            inputs=inputs[-LISTED:],
            made=made[-LISTED:],
            folder=str(self._bench.run_dir) if self._bench.run_dir else None,
            roots=[str(folder) for folder in self._roots.folders],
        )
