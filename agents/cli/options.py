"""Options that several commands take, each written once, and the backend and the limits that they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from agents.backends import base
    from agents.outside.servers import Servers as Servers_

RunDir = Annotated[Path, typer.Argument(metavar="RUN", help="folder of the run")]
Backend = Annotated[
    str | None,
    typer.Option(
        help="auto, analyst, script, random, openai, local:NAME; default: the service if there is a key or an address, "
        "else, unless a model is named, the analyst"
    ),
]
Model = Annotated[str | None, typer.Option(help="model name (or BEAMCREW_MODEL)")]
BaseUrl = Annotated[str | None, typer.Option(help="OpenAI-compatible service (or OPENAI_BASE_URL)")]
Price = Annotated[str | None, typer.Option(metavar="IN,OUT[,CACHED]", help="dollars per million tokens")]
Timeout = Annotated[float, typer.Option(min=1, help="seconds to wait for one reply of a model")]
Pictures = Annotated[
    bool, typer.Option(help="show figures to the model until its service refuses one; --no-pictures: only name them")
]
MaxDollars = Annotated[float | None, typer.Option(help="stop when the run has cost this much")]
MaxTokens = Annotated[int | None, typer.Option(help="stop when prompts and replies have this many tokens together")]
MaxSeconds = Annotated[float | None, typer.Option(help="stop after this much wall time")]
Sandbox = Annotated[str, typer.Option(help="auto, docker, podman, apptainer or bubblewrap")]
Image = Annotated[str | None, typer.Option(help="image of the sandbox: tag or digest; Apptainer: FILE.sif")]
Servers = Annotated[
    Path | None,
    typer.Option("--servers", metavar="FILE", help="YAML file of outside MCP servers whose tools the crew may use"),
]
Workers = Annotated[int, typer.Option(min=1, help="steps that run side by side")]
ResultJson = Annotated[bool, typer.Option("--json", help="print result.json on standard output")]


def chosen_backend(
    backend: str | None,
    model: str | None,
    base_url: str | None,
    price: str | None,
    timeout: float,
    pictures: bool,
) -> base.Backend:
    """The backend that the options choose. Raises ValueError, which names the field, its value and what is allowed."""
    from agents.backends import price as prices
    from agents.backends import select

    rates = prices.Price.parse(price) if price else None
    return select.choose_backend(
        backend, model=model, base_url=base_url, price=rates, timeout=timeout, pictures=pictures
    )


def outside(servers: Path | None) -> Servers_ | None:
    """The outside servers of a file. Raises ValueError."""
    from agents.outside.servers import Servers

    return Servers.read(servers) if servers else None


def limits(max_dollars: float | None, max_tokens: int | None, max_seconds: float | None) -> dict[str, Any]:
    """The limits that were given, as fields of a budget."""
    given = {"dollars": max_dollars, "tokens": max_tokens, "seconds": max_seconds}
    return {name: limit for name, limit in given.items() if limit is not None}
