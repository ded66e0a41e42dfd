"""Check of a file of outside servers: each is reached, and its tools are listed as a crew would get them."""

from __future__ import annotations

from collections.abc import Iterator

from agents.crew.worker import NAMES
from agents.doctor.check import Check
from agents.outside.live import LiveOutside
from agents.outside.servers import Servers


def check_servers(servers: Servers) -> Iterator[Check]:
    """Yield a line for each server, and one for each of its tools. Calls no tool."""
    with LiveOutside(servers, NAMES) as outside:
        for name, server in servers.servers.items():
            try:
                offer = outside.offer(name)
            except ValueError as error:
                yield Check(name=name, ok=False, detail=str(error))
                continue
            size = sum(len(tool.model_dump_json()) for tool in offer.tools)
            said = (
                f"{offer.version or 'no name of its own'}: {len(offer.tools)} tools, {size} characters in each request"
            )
            yield Check(
                name=name, ok=True, detail=f"{said}; at most {server.calls} calls of {server.timeout:g} s in a run"
            )
            yield from (Check(name=tool.name, ok=True, detail=tool.description) for tool in offer.tools)
            yield from (Check(name=f"{name}.{tool}", ok=False, detail=why) for tool, why in offer.left_out.items())
