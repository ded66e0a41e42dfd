"""Serving: over standard input and output, or over HTTP on loopback for those who have the token."""

from __future__ import annotations

import hmac
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import anyio
from anyio import to_thread
from mcp.server import Server
from mcp.server.stdio import stdio_server
from starlette.types import ASGIApp, Receive, Scope, Send

from agents.mcp.server import Desk

ADDRESS, PATH = "127.0.0.1", "/mcp"


def over_stdio(desk: Desk) -> None:
    """Serve one client until it closes standard input or dies. Whatever else prints goes to standard error."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    anyio.run(_stdio, desk)


async def _stdio(desk: Desk) -> None:
    server: Server[Any] = desk.server()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_until_signal, desk)
        try:
            async with stdio_server() as (read, write):
                await server.run(read, write, server.create_initialization_options())
        except* (BrokenPipeError, anyio.BrokenResourceError):  # the client died in the middle of an answer
            pass
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(desk.close)
        tasks.cancel_scope.cancel()


async def _until_signal(desk: Desk) -> None:
    """End the process on SIGTERM or SIGINT: the thread that reads standard input cannot be interrupted otherwise."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            await to_thread.run_sync(desk.close)
            os._exit(128 + number)


class Guard:
    """An ASGI application that only those with the token can reach."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._expected = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._may(scope):
            await self._app(scope, receive, send)
            return
        headers = [(b"content-type", b"text/plain"), (b"www-authenticate", b"Bearer")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": b"the token is on standard error of the server\n"})

    def _may(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return scope["type"] == "http" and len(given) == 1 and hmac.compare_digest(given[0], self._expected)


def over_http(desk: Desk, port: int, token: str, ready: Callable[[str], None]) -> None:
    """Serve on a port of loopback (0: any free one) until a signal. `ready` is told the address. Raises OSError.

    The SDK refuses hosts other than this machine's names, and origins of other pages (DNS rebinding).
    """
    import uvicorn

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    with socket.create_server((ADDRESS, port)) as listening:
        ready(f"http://{ADDRESS}:{listening.getsockname()[1]}{PATH}")
        app = Guard(desk.server().streamable_http_app(streamable_http_path=PATH, host=ADDRESS), token)
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            desk.close()
