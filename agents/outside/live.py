"""The outside servers of a run at work: each is one link, with a limit of calls and of time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from agents.crew.budget import GO_ON, BudgetSpent
from agents.outside.link import Link, ServerLost
from agents.outside.servers import Servers
from agents.trace.events import OutsideServer
from agents.trace.outside import Answer
from agents.trace.where import Where
from sandbox.driver import SandboxLost

LOSSES = 3  # calls in a row without an answer, after which a server is left alone for the rest of the session


class LiveOutside:
    """The servers of a file. Nothing is started before it is needed, and everything is ended at the end."""

    def __init__(self, servers: Servers | None, taken: Sequence[str] = ()) -> None:
        """`taken`: the names of the crew's own tools. Raises ValueError for a token that is missing."""
        self._servers = servers.servers if servers else {}
        if servers:
            servers.check_tokens()
        self._links = {name: Link(name, servers, taken) for name in self._servers} if servers else {}
        self._closed = False
        self._losses: Counter[str] = Counter()
        self._seconds_left: Callable[[], float] = lambda: math.inf

    def keep_to(self, seconds_left: Callable[[], float]) -> None:
        """Limit calls to the run's remaining time [s]: one cut off by that limit raises BudgetSpent."""
        self._seconds_left = seconds_left

    def offers(self) -> list[OutsideServer]:
        """Reach all servers and return what they offer. Raises ValueError for one that cannot be reached, or that
        offers nothing."""
        with ThreadPoolExecutor(max(1, len(self._links))) as pool:
            return list(pool.map(self.offer, self._links))

    def offer(self, name: str) -> OutsideServer:
        """Reach one server and return what it offers. Raises ValueError."""
        server = self._servers[name]
        try:
            hello = self._links[name].open()
        except ServerLost as error:
            raise ValueError(f"servers: {name} ({server.at}): {error}") from None
        if not hello.tools:
            why = "; ".join(f"{tool}: {reason}" for tool, reason in hello.left_out.items()) or "it lists none"
            raise ValueError(f"servers: {name} ({server.at}): no tool can be offered: {why}")
        return OutsideServer(name=name, at=server.at, version=hello.version, tools=hello.tools, left_out=hello.left_out)

    def call(self, where: Where, tool: str, arguments: dict[str, Any], before: int) -> Answer:
        """See `Outside.call`."""
        name, _, own = tool.partition(".")
        server = self._servers[name]
        if before >= server.calls:
            return Answer("limit")
        if self._losses[name] >= LOSSES:
            return Answer("lost")
        left = self._seconds_left()
        if left <= 0:
            raise BudgetSpent(f"budget spent before {where}: no wall time is left; {GO_ON}")
        try:
            said = self._links[name].call(own, arguments, min(server.timeout, left))
        except ServerLost as error:
            if self._closed:  # by a stop of the run: that is no result of the call
                raise SandboxLost(f"stopped in a call of {tool}") from None
            if self._seconds_left() <= 0:
                raise BudgetSpent(f"budget spent in {where}: {tool} was given up; {GO_ON}") from None
            return Answer("lost", trouble=self._lost(name, str(error)))
        if said.ended == "timeout" and left < server.timeout:
            raise BudgetSpent(f"budget spent in {where}: {tool} was cut off after {left:.3g} seconds; {GO_ON}")
        if said.ended == "timeout":
            return Answer("timeout", trouble=self._lost(name, f"no answer within {server.timeout:g} seconds"))
        self._losses[name] = 0
        return Answer(said.ended, said.text, said.cut)

    def _lost(self, name: str, why: str) -> str:
        """Count a call without an answer, and return what the operator is told."""
        self._losses[name] += 1
        rest = "; it is left alone from now on" if self._losses[name] == LOSSES else ""
        return f"outside server {name} ({self._servers[name].at}): {why}{rest}"

    def close(self) -> None:
        """End all servers for good; a call in progress raises SandboxLost, like a command in a sandbox."""
        self._closed = True
        for link in self._links.values():
            link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
