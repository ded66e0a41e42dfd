"""The process between beamcrew and one outside server: `python -m agents.outside.go_between`.

All that a server sends is parsed here, in a process with bounded memory that can be killed: a reply that is huge, or
takes for ever to check, costs no more than the call. The order comes as the first line of standard input, one call in
each further line; each is answered by one line on standard output. When standard input closes, the server is ended too.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx2
from mcp import Client, MCPError, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CONNECTION_CLOSED

from agents.backends.select import secrets
from agents.outside.messages import Call, Hello, Order, Said
from agents.outside.schemas import Listed, offered
from agents.trace.blobs import Redactor
from agents.trace.words import visible
from tools.contract import Frozen

KEPT = 200_000  # characters of a result
MEMORY = 1 << 30  # bytes of address space, on top of what the process has once the server runs
PAGES = 20  # of the list of tools


def main() -> int:
    logging.disable()  # what the server itself says on standard error is what matters
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        anyio.run(_work, answers)
    except Exception as error:
        print("; ".join(dict.fromkeys(_leaves(error))), file=sys.stderr)
        return 1
    return 0


def _leaves(error: BaseException) -> Iterator[str]:
    """Yield what the errors in a group of errors say."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield f"{type(error).__name__}: {error}"


async def _work(answers: Any) -> None:
    lines = _lines()
    order = Order.model_validate_json(await anext(lines))
    async with anyio.create_task_group() as tasks:
        to_do, calls = anyio.create_memory_object_stream[bytes](1)
        tasks.start_soon(_until_closed, lines, to_do, tasks.cancel_scope)
        async with Client(_transport(order), cache=None, client_info=_ourselves()) as client:
            _say(answers, await _hello(client, order))
            redactor = Redactor(secrets(*order.server.secrets()))
            async for line in calls:
                said = await _called(client, Call.model_validate_json(line), redactor)
                _say(answers, said)
                if said.ended == "lost":
                    break
        tasks.cancel_scope.cancel()


async def _until_closed(lines: AsyncIterator[bytes], to_do: Any, scope: anyio.CancelScope) -> None:
    """Pass calls on; end everything, a call in progress too, when standard input closes."""
    async for line in lines:
        await to_do.send(line)
    scope.cancel()


async def _lines() -> AsyncIterator[bytes]:
    """Yield the lines of standard input, without a thread that would keep the process from ending."""
    rest = b""
    while True:
        await anyio.wait_readable(0)
        if not (piece := os.read(0, 1 << 16)):
            return
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line


def _say(answers: Any, what: Frozen) -> None:
    answers.write(what.model_dump_json() + "\n")
    answers.flush()


def _ourselves() -> types.Implementation:
    return types.Implementation(name="beamcrew", version=version("beamcrew"))


@asynccontextmanager
async def _transport(order: Order) -> AsyncIterator[Any]:
    """Open the way to the server; from then on this process has bounded memory, the server's is its own matter."""
    server = order.server
    if server.command:
        program, *arguments = server.command
        given = {name: os.environ[name] for name in server.env if name in os.environ}
        how = StdioServerParameters(command=program, args=arguments, env=given, cwd=order.folder)
        async with stdio_client(how, sys.stderr) as streams:
            _bound()
            yield streams
    else:
        assert server.url
        token = os.environ.get(server.token_env, "").strip() if server.token_env else ""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = httpx2.Timeout(30, read=server.timeout + 30)
        async with (
            httpx2.AsyncClient(headers=headers, timeout=timeout, event_hooks={"response": [_complain]}) as client,
            streamable_http_client(server.url, http_client=client) as streams,
        ):
            _bound()
            yield streams


async def _complain(response: httpx2.Response) -> None:
    """Say on standard error which errors come by HTTP: the SDK's own says only that there was one."""
    if response.is_error:
        print(f"HTTP {response.status_code} {response.reason_phrase}", file=sys.stderr, flush=True)


def _bound() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))


async def _hello(client: Client, order: Order) -> Hello:
    listed: list[Listed] = []
    cursor: str | None = None
    for _ in range(PAGES):
        page = await client.list_tools(cursor=cursor)
        listed += [Listed(tool.name, tool.description or "", tool.input_schema) for tool in page.tools]
        if not (cursor := page.next_cursor):
            break
    tools, left_out = offered(order.name, listed, order.server.tools, order.taken)
    info = client.server_info
    return Hello(
        version=visible(f"{info.name} {info.version}".strip())[:100] if info else "", tools=tools, left_out=left_out
    )


async def _called(client: Client, call: Call, redactor: Redactor) -> Said:
    result: types.CallToolResult | None = None
    try:
        with anyio.move_on_after(call.seconds):  # the server is told that the call is cancelled
            result = await client.call_tool(call.tool, call.arguments)
    except MCPError as error:
        if error.code == CONNECTION_CLOSED:
            return Said(ended="lost", why="the connection was closed")
        return _kept("refused", redactor.text(error.message))
    except MemoryError:
        return Said(ended="lost", why=f"its reply takes more than {MEMORY >> 20} MiB")
    except Exception as error:  # the SDK and what it is built on have many
        return Said(ended="lost", why=f"{type(error).__name__}: {error}"[:1000])
    if result is None:
        return Said(ended="timeout")
    return _kept("refused" if result.is_error else "answered", redactor.text(words(result)))


def _kept(ended: Literal["answered", "refused"], text: str) -> Said:
    """Cut a text, from which keys have gone: half a key is none that anybody would recognise later."""
    return Said(ended=ended, text=text[:KEPT], cut=max(0, len(text) - KEPT))


def words(result: types.CallToolResult) -> str:
    """Return a result as text. Nothing is fetched or decoded: other content is only named."""
    parts = [_words(part) for part in result.content]
    if not any(isinstance(part, types.TextContent) for part in result.content) and result.structured_content:
        parts.append(json.dumps(result.structured_content))
    return "\n".join(parts)


def _words(part: Any) -> str:
    match part:
        case types.TextContent():
            return str(part.text)
        case types.EmbeddedResource(resource=types.TextResourceContents() as found):
            return str(found.text)
        case types.ResourceLink():
            return f"[a link, not followed: {part.uri}]"
    return f"[{part.type}: not shown]"


if __name__ == "__main__":
    sys.exit(main())
