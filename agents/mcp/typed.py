"""The typed tools as tools of the protocol: schemas, hints, and what a recorded call tells the client."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from mcp import types
from pydantic import Field, create_model

from agents.crew.glossary import glossary
from agents.mcp.replies import answered, fits, refused
from agents.mcp.resources import call_link
from agents.mcp.toolbench import FOLDER, written_by
from agents.trace.bench import place
from agents.trace.events import ToolCalled
from tools.catalogue import CATALOGUE, find
from tools.contract import Frozen, Tool

ODD = re.compile(r"[^A-Za-z0-9_-]")  # characters that hosts do not allow in names
SECONDS = "wall time of the call [s]"
FILES = "files written, as later calls may name them"
LINKED = "null if it is too long to be given here, or has numbers that are not finite: read `resource` for all of it"


def names(only: Sequence[str] | None = None) -> dict[str, str]:
    """Return the catalogue's name of each tool by the name a client sees: hosts allow no dots.

    `only`: beginnings of names. Raises ValueError for one that no name has, and for names that become the same.
    """
    for beginning in only or ():
        if not any(name.startswith(beginning) for name in CATALOGUE):
            raise ValueError(f"tools: no tool begins with {beginning!r}; there are {', '.join(CATALOGUE)}")
    chosen = [name for name in CATALOGUE if only is None or name.startswith(tuple(only))]
    seen = {ODD.sub("_", name): name for name in chosen}
    if len(seen) < len(chosen):
        raise ValueError(
            f"tools: {', '.join(set(chosen) - set(seen.values()))}: another tool has this name, but for dots"
        )
    return seen


def listed(chosen: Mapping[str, str]) -> list[types.Tool]:
    """Return the typed tools of these names, in their order."""
    return [_listed(seen, name) for seen, name in chosen.items()]


@cache
def _listed(seen: str, name: str) -> types.Tool:
    tool = find(name)
    return types.Tool(
        name=seen,
        title=tool.name,
        description=tool.description,
        input_schema=tool.schema()["parameters"],
        output_schema=output_schema(tool),
        annotations=hints(tool),
    )


def output_schema(tool: Tool[Any, Any]) -> dict[str, Any]:
    """Return the schema of what a call returns: the tool's result, and where the files and the whole result are."""
    result: Any = tool.result | None
    model = create_model(
        "Called",
        __base__=Frozen,
        result=(result, Field(description=LINKED)),
        files=(list[str], Field(description=FILES)),
        seconds=(float, Field(description=SECONDS)),
        resource=(str, Field(description="resource with the whole result")),
    )
    return model.model_json_schema(mode="serialization")


def hints(tool: Tool[Any, Any]) -> types.ToolAnnotations:
    """Return what a call can change: at most files of the bench's own workspace, where it replaces those of the same
    name. The same call writes the same files, since its random numbers are seeded; it has no network."""
    writes = any(name.startswith("out") for name in tool.request.model_fields)
    return types.ToolAnnotations(
        title=tool.name,
        read_only_hint=not writes,
        destructive_hint=writes,
        idempotent_hint=True,
        open_world_hint=False,
    )


def told(event: ToolCalled, run: str, explain: bool) -> types.CallToolResult:
    """Return a recorded call as the client gets it. `explain`: say what the numbers mean, as the crew is told once."""
    if event.result is None:
        return refused(dict(event.error or {}))
    link = call_link(run, event)
    structured = {
        "result": event.result if fits(event.result) else None,
        "files": [path.removeprefix(f"{place(FOLDER)}/") for path in written_by(event)],
        "seconds": event.seconds,
        "resource": link.uri,
    }
    text = {"result": event.result, "files": structured["files"]}
    if explain:
        text["fields"] = glossary(find(event.tool).result, event.result)
    return answered(structured, text, [] if structured["result"] else [link])
