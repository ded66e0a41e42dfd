"""`beamcrew view`: runs in a browser."""

from __future__ import annotations

import errno
import webbrowser
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from rich.text import Text

from agents.console import clear_errors, err


def view(
    folder: Annotated[Path, typer.Argument(metavar="RUNS", help="folder of runs, or one run")] = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="on loopback; 0: any that is free")] = 8420,
    open_browser: Annotated[bool, typer.Option("--open", help="open it in a browser")] = False,
) -> None:
    """Look at runs in a browser, live while they go on. Serves this machine only, and changes nothing."""
    from agents.trace.store import TRACE
    from agents.view.server import Server

    with clear_errors():
        one = folder.resolve().name if (folder / TRACE).is_file() else ""
        if not folder.is_dir():
            raise ValueError(f"{folder}: there is no such folder")
        try:
            server = Server(folder.resolve().parent if one else folder, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ValueError(f"--port {port} is in use; --port 0 takes a free one") from None
            raise
        with server:
            url = f"{server.url}runs/{quote(one)}" if one else server.url
            err.print(Text(f"runs at {url} (this machine only; stop with Ctrl-C)"), soft_wrap=True)
            if open_browser:
                webbrowser.open(url)
            server.serve_forever()
