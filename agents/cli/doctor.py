"""`beamcrew doctor`: check this machine, build the sandbox's image, clean up after dead runs, run the self-test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from agents.cli.console import clear_errors, err, name_values, out

if TYPE_CHECKING:
    from agents.doctor.check import Check


def doctor(
    image: Annotated[str | None, typer.Option(help="image of the sandbox: tag or digest, or FILE.sif")] = None,
    build: Annotated[
        bool, typer.Option("--build", help="build the image of the sandbox first, for Docker or --sandbox")
    ] = False,
    build_arg: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="for --build, e.g. BASE=...; repeatable")
    ] = None,
    build_network: Annotated[str, typer.Option(help="for --build: 'host' if only the host has a network")] = "default",
    certificates: Annotated[
        Path | None, typer.Option(envvar="PIP_CERT", help="for --build: CA bundle for pip, passed as a build secret")
    ] = None,
    clean: Annotated[bool, typer.Option("--clean", help="remove containers left by dead runs")] = False,
    selftest: Annotated[
        bool, typer.Option("--selftest", help="attack every sandbox here, or --sandbox, with hostile code")
    ] = False,
    sandbox: Annotated[
        str | None, typer.Option(help="for --selftest and --build: docker, podman, apptainer or bubblewrap")
    ] = None,
    model: Annotated[str | None, typer.Option(help="ask a service eleven short questions about this model")] = None,
    base_url: Annotated[str | None, typer.Option(help="for --model: service address (or OPENAI_BASE_URL)")] = None,
    price: Annotated[
        str | None, typer.Option(metavar="IN,OUT[,CACHED]", help="for --model: dollars per million tokens")
    ] = None,
    servers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="reach the outside servers of a file and list their tools")
    ] = None,
) -> None:
    """Check this machine: sandbox engines, GPU, limits, keys, packages, data."""
    from agents.doctor.machine import report
    from sandbox import abandoned
    from sandbox.docker import IMAGE
    from sandbox.image import build_image

    image = image or IMAGE
    with clear_errors():
        if model:
            _interview(model, base_url, price)
        if servers:
            _reach(servers)
        if clean:
            for found in abandoned.clean():
                out.print(Text(f"{'removed' if found.removed else 'left'} {found.name}: {found.why}"), soft_wrap=True)
        if build:
            if sandbox == "bubblewrap":
                raise ValueError("--build --sandbox bubblewrap: it needs no image")
            how = partial(
                build_image,
                build_args=name_values("--build-arg", build_arg),
                certificates=certificates,
                network=build_network,
            )
            digest = _build(how, image, sandbox or "docker")
            out.print(Text(f"{image} is {digest}"), soft_wrap=True)
            out.print(Text(f"to use exactly this image: beamcrew run --image {digest}"), soft_wrap=True)
        if sandbox and not (selftest or build):
            raise ValueError("--sandbox is for --selftest and --build")
        if selftest:
            from agents.doctor.selftest import run_selftest

            held = run_selftest(sandbox, image, lambda line: out.print(Text(line), soft_wrap=True))
            raise typer.Exit(0 if held else 1)
        checks = report(image)
    _print(checks)


def _print(checks: Iterable[Check]) -> None:
    from agents.trace.words import visible

    table = Table("check", "", "detail")
    for check in checks:
        detail = Text(visible(check.detail), overflow="fold")
        table.add_row(Text(visible(check.name)), "[green]ok[/]" if check.ok else "[yellow]no[/]", detail)
    out.print(table)


def _reach(file: Path) -> None:
    """List what the crew would get from outside servers; status 5 if one of them cannot be used."""
    from agents.doctor.outside import check_servers
    from agents.outside.servers import Servers

    found = Servers.read(file)
    checks = list(check_servers(found))
    _print(checks)
    lost = [check for check in checks if check.name in found.servers and not check.ok]
    raise typer.Exit(5 if lost else 0)


def _build(build_image: Callable[..., str], image: str, kind: str) -> str:
    """Build the image for a kind of sandbox, and return its exact name; Apptainer's is packed from an engine's."""
    from sandbox.sif import pack

    def say(line: str) -> None:
        err.print(Text(line), soft_wrap=True)

    engine = kind if kind != "apptainer" else "podman" if shutil.which("podman") else "docker"
    digest = build_image(Path(__file__).parents[2], image, engine=engine, say=say)
    return digest if kind != "apptainer" else pack(engine, image, say)


def _interview(model: str, base_url: str | None, price: str | None) -> None:
    """Test what a service can do; the price is stated first."""
    from agents.backends.openai_service import OpenAIService
    from agents.backends.price import Price
    from agents.backends.probe import interview, price_of
    from agents.backends.select import choose_backend

    rates = Price.parse(price) if price else None
    backend = choose_backend("openai", model=model, base_url=base_url, price=rates)
    assert isinstance(backend, OpenAIService)
    err.print(Text(f"{backend.base_url}: {price_of(rates)}"), soft_wrap=True)
    table, findings = Table("question", "", "result", "seconds", "tokens"), []
    for finding in interview(backend):
        findings.append(finding)
        tokens = finding.usage.prompt_tokens + finding.usage.completion_tokens
        mark = "[green]yes[/]" if finding.ok else "[yellow]no[/]"
        table.add_row(finding.question, mark, Text(finding.seen), f"{finding.seconds:.1f}", f"{tokens:,}")
    out.print(table)
    spoken = backend.dialect
    out.print(Text(f"asked by {spoken.wire}, tools as {spoken.tools}, {'streaming' if spoken.stream else 'whole'}"))
    dollars = sum(finding.usage.dollars for finding in findings)
    out.print(Text(f"cost: ${dollars:.4f}" if rates else "the price is unknown"))
    raise typer.Exit(0 if all(finding.ok for finding in findings[:4]) else 5)
