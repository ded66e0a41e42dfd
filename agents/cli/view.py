"""`beamcrew view`: show runs in a browser, and start, answer, stop, resume, fork and ask them there."""

from __future__ import annotations

import contextlib
import errno
import tempfile
import webbrowser
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from rich.text import Text

from agents.cli import options
from agents.cli.console import clear_errors, err


def view(
    folder: Annotated[Path, typer.Argument(metavar="RUNS", help="folder of runs, or of one run")] = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="port on loopback; 0: any free one")] = 8420,
    open_browser: Annotated[bool, typer.Option("--open", help="open it in a browser")] = False,
    read_only: Annotated[bool, typer.Option("--read-only", help="show, and refuse everything else")] = False,
    backend: options.Backend = None,
    model: options.Model = None,
    base_url: options.BaseUrl = None,
    price: options.Price = None,
    servers: options.Servers = None,
    sandbox: Annotated[str, typer.Option(help="auto, docker or bubblewrap: of runs started in the browser")] = "auto",
) -> None:
    """Show runs in a browser, live while they are in progress. There you can also start, approve, stop, resume, fork
    and ask. Serves only you, on this machine.

    Backend, model, address, price and outside servers are those of runs started there; keys are taken from the
    environment.
    """
    from agents.runs.process import Service
    from agents.trace.store import TRACE
    from agents.view.desk import House
    from agents.view.server import Server

    with clear_errors():
        one = folder.resolve().name if (folder / TRACE).is_file() else ""
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such folder")
        service = Service(backend=backend, model=model, base_url=base_url, price=price)
        if service != Service():
            service.chosen()  # refuse here what no run could begin with
        outside = options.outside(servers)
        if outside:
            outside.check_tokens()
        chosen = {"service": service, "sandbox": sandbox, "servers": outside}
        house = None if read_only else House.model_validate(chosen)
        try:
            server = Server(folder.resolve().parent if one else folder, port, house)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ValueError(f"--port {port} is in use; --port 0 takes a free one") from None
            raise
        with server:
            url = server.address(f"/runs/{quote(one)}" if one else "/")
            err.print(Text(f"runs at {url}"), soft_wrap=True)
            err.print("for you only: the address has a new token each time. Stop with Ctrl-C.", soft_wrap=True)
            with opened(url) if open_browser else contextlib.nullcontext():
                server.serve_forever()


@contextlib.contextmanager
def opened(url: str) -> Iterator[None]:
    """Open a browser via a private file: other users can read command lines and must not see the address."""
    with tempfile.TemporaryDirectory(prefix="beamcrew-view-") as folder:
        page = Path(folder, "view.html")
        page.write_text(
            f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(url)}"><title>beamcrew</title>'
        )
        webbrowser.open(page.as_uri())
        yield
