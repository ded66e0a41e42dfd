"""Cards, plans, reports and results of runs, and the results of tool calls, as resources to read."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from mcp import types
from mcp.shared.exceptions import MCPError

from agents.mcp.replies import JSON, harmless, written
from agents.trace.blobs import TraceError
from agents.trace.events import Planned, RunStarted, ToolCalled
from agents.trace.result import result_of
from agents.trace.store import trace_sha256
from agents.view.library import Library, Trace, UnknownRun
from sandbox.reader import UnsafeFile, read_bytes

PARTS = {
    "card": ("how the request was understood: task, data, options", JSON),
    "plan": ("the plan of each iteration", JSON),
    "result": ("status, claims and metrics, so far or final", JSON),
    "report": ("the report, once the run has ended", "text/markdown"),
}
CALL = "calls"
LISTED = 20  # runs, the newest
REPORT_MAX = 4 << 20  # bytes
URI = re.compile(rf"beamcrew://runs/([^/]+)/(?:({'|'.join(PARTS)})|{CALL}/(\d{{1,9}}))")


def uri(run: str, part: str) -> str:
    return f"beamcrew://runs/{quote(run, safe='')}/{part}"


def links(run: str, *parts: str) -> list[types.ResourceLink]:
    """Return links to parts of a run."""
    return [
        types.ResourceLink(
            uri=uri(run, part), name=f"{run}/{part}", description=PARTS[part][0], mime_type=PARTS[part][1]
        )
        for part in parts
    ]


def call_link(run: str, event: ToolCalled) -> types.ResourceLink:
    """Return a link to the whole result of a tool call."""
    part = f"{CALL}/{event.index}"
    return types.ResourceLink(uri=uri(run, part), name=f"{run}/{part}", description=event.tool, mime_type=JSON)


def listed(library: Library) -> list[types.Resource]:
    """Return the resources of the newest runs."""
    newest = sorted(library.names(), key=lambda name: library.stamp(name), reverse=True)[:LISTED]
    return [
        types.Resource(**link.model_dump(exclude={"type"}))
        for name in newest
        for link in links(name, *(part for part in PARTS if part != "report" or _report(library, name)))
    ]


def templates() -> list[types.ResourceTemplate]:
    """Return the forms of all addresses."""
    forms = {part: about for part, (about, _) in PARTS.items()} | {f"{CALL}/{{event}}": "the result of a tool call"}
    return [
        types.ResourceTemplate(uri_template=f"beamcrew://runs/{{run}}/{form}", name=form, description=about)
        for form, about in forms.items()
    ]


def read(library: Library, address: str) -> types.TextResourceContents:
    """Return what an address stands for. Raises MCPError for one that stands for nothing."""
    match = URI.fullmatch(address)
    if not match:
        raise missing(address, f"must be beamcrew://runs/<run>/ with {', '.join(PARTS)} or {CALL}/<number>")
    run, part, number = unquote(match[1]), match[2], match[3]
    try:
        trace = library.trace(run)
        if part == "report":
            return _contents(
                address, part, harmless(read_bytes(library.folder / run, "report.md", REPORT_MAX).decode())
            )
        return _contents(address, part, _json(library, trace, part, number))
    except (UnknownRun, LookupError, TraceError, UnicodeDecodeError) as error:
        raise missing(address, str(error)) from None
    except UnsafeFile:
        raise missing(address, "the report is written when the run ends") from None


def missing(address: str, why: str) -> MCPError:
    return MCPError(types.INVALID_PARAMS, f"resource {harmless(address[:200])!r}: {harmless(why)}", {"uri": address})


def _json(library: Library, trace: Trace, part: str | None, number: str | None) -> str:
    started = trace.events[0] if trace.events else None
    if not isinstance(started, RunStarted):
        raise LookupError("its trace cannot be read")
    if part == "card":
        named = started.model_dump(mode="json", include={"request", "task", "options"})
        return written(started.card or named)
    if part == "plan":
        plans = [event for event in trace.events if isinstance(event, Planned)]
        return written([{"iteration": e.iteration, **e.plan.model_dump(mode="json")} for e in plans])
    if part == "result":
        return written(result_of(trace.events, trace_sha256(library.folder / trace.name)).model_dump(mode="json"))
    event = trace.event(int(number or 0))
    if not isinstance(event, ToolCalled):
        raise LookupError(f"event {number} is not a tool call")
    return written(event.model_dump(mode="json", include={"tool", "arguments", "result", "error", "seconds"}))


def _contents(address: str, part: str | None, text: str) -> types.TextResourceContents:
    return types.TextResourceContents(uri=address, mime_type=PARTS[part][1] if part else JSON, text=text)


def _report(library: Library, name: str) -> bool:
    return (library.folder / name / "report.md").is_file()
