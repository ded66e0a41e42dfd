"""`beamcrew mcp`: serve tools and runs to a client of the Model Context Protocol."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from agents.cli import options
from agents.cli.console import clear_errors, err

TOKEN = "BEAMCREW_MCP_TOKEN"
SHORTEST = 32  # characters of a token that the operator chooses


def mcp(
    root: Annotated[
        list[Path] | None, typer.Option(help="folder whose files a client may name; repeatable; default: this folder")
    ] = None,
    http: Annotated[
        int | None, typer.Option(min=0, max=65535, metavar="PORT", help="HTTP on loopback; 0: any free port")
    ] = None,
    tools: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="offer only typed tools that begin like this; default: all")
    ] = None,
    backend: options.Backend = None,
    model: options.Model = None,
    base_url: options.BaseUrl = None,
    price: options.Price = None,
    sandbox: options.Sandbox = "auto",
    image: options.Image = None,
    gpu: Annotated[str, typer.Option(help="auto, none, or insist")] = "auto",
    runs: Annotated[Path, typer.Option(help="where runs are kept")] = Path("runs"),
    keep_runs: Annotated[
        bool, typer.Option("--keep-runs", help="runs go on when the client or the server ends")
    ] = False,
) -> None:
    """Serve the typed tools and runs to a client of the Model Context Protocol, over standard input and output or HTTP.

    The client chooses requests, data below --root, and limits; backend, model, address, price and sandbox are yours.
    """
    with clear_errors():
        try:
            from agents.mcp.serve import over_http, over_stdio
            from agents.mcp.server import Desk
        except ModuleNotFoundError as error:
            if error.name not in ("mcp", "anyio", "uvicorn"):
                raise
            raise ValueError("the protocol's SDK is not installed: pip install 'beamcrew[mcp]'") from None
        from agents.mcp.roots import Roots
        from agents.mcp.runs import RunSettings
        from agents.mcp.toolbench import Places
        from agents.runs.process import Service
        from agents.view.library import Library

        service = Service(backend=backend, model=model, base_url=base_url, price=price)
        if service != Service():
            service.chosen()  # refuse here what no run could begin with
        places = Places.model_validate({"kind": sandbox, "gpu": gpu} | ({"image": image} if image else {}))
        runs.mkdir(parents=True, exist_ok=True)
        library = Library(runs)
        roots, settings = Roots(root or [Path.cwd()], library.folder), RunSettings(service, places)
        desk = Desk(library, roots, settings, keep_runs, tools.split(",") if tools else None)
        if http is None:
            over_stdio(desk)
        else:
            token, told = _token()
            over_http(desk, http, token, lambda address: err.print(Text(f"serving at {address}{told}"), soft_wrap=True))


def _token() -> tuple[str, str]:
    """Return the token and what is said of it. Raises ValueError for one that can be guessed."""
    if chosen := os.environ.get(TOKEN, ""):
        if len(chosen) < SHORTEST:
            raise ValueError(f"{TOKEN}: has {len(chosen)} characters; at least {SHORTEST} are needed")
        return chosen, f", with the token in {TOKEN}"
    token = secrets.token_urlsafe(32)
    return token, f"\nnew token, not shown again: {token}"
