"""Recording of calls of outside tools: recorded ones are played, without a server; new ones are made and recorded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

from agents.backends.base import ToolSchema
from agents.trace.events import OutsideCalled, OutsideServer, Trouble
from agents.trace.record import Record, canonical_key
from agents.trace.store import Store
from agents.trace.where import Where

Ended = Literal["answered", "refused", "timeout", "lost", "limit"]


class Answer(NamedTuple):
    """What came of a call. `trouble`: what the operator should know of the server."""

    ended: Ended
    text: str = ""
    cut: int = 0
    trouble: str = ""


class Outside(Protocol):
    """The outside servers of a run, at work."""

    def call(self, where: Where, tool: str, arguments: dict[str, Any], before: int) -> Answer:
        """Call a tool of a server of which the run has made so many calls `before`. Raises BudgetSpent."""
        ...


class Nobody:
    """The outside servers of a replay, and of a run without any: there is none to call."""

    def call(self, where: Where, tool: str, arguments: dict[str, Any], before: int) -> Answer:
        return Answer("lost", trouble=f"{tool}: there is no server here")


class RecordedOutside:
    """The outside tools of a run, which never calls twice for the same answer."""

    def __init__(self, servers: Sequence[OutsideServer], outside: Outside, store: Store, record: Record) -> None:
        self.tools: tuple[ToolSchema, ...] = tuple(tool for server in servers for tool in server.tools)
        self._outside, self._store, self._record = outside, store, record

    def call(self, where: Where, tool: str, arguments: dict[str, Any]) -> OutsideCalled:
        """Return the recorded call, or a live one. `where` says who asks. Raises BudgetSpent."""
        asked = {"tool": tool, "arguments": arguments}
        key = canonical_key(list(asked.values()))
        return self._record.take(OutsideCalled, key, where, asked) or self._live(key, where, tool, arguments)

    def text(self, event: OutsideCalled) -> str:
        """Return what the server said, as recorded: without secrets."""
        return self._store.get(event.text).decode()

    def _live(self, key: str, where: Where, tool: str, arguments: dict[str, Any]) -> OutsideCalled:
        start = time.monotonic()
        answer = self._outside.call(where, tool, arguments, self._calls_of(tool))
        if answer.trouble:
            self._store.append(Trouble(who="operator", where=where, text=answer.trouble))
        return self._store.append(
            OutsideCalled(
                key=key,
                where=where,
                tool=tool,
                arguments=arguments,
                ended=answer.ended,
                text=self._store.put(answer.text.encode(errors="replace")),
                cut=answer.cut,
                seconds=time.monotonic() - start,
            )
        )

    def _calls_of(self, tool: str) -> int:
        server = server_of(tool)
        return sum(isinstance(e, OutsideCalled) and server_of(e.tool) == server for e in self._store.events())


def server_of(tool: str) -> str:
    """Return the name of the server of an outside tool."""
    return tool.partition(".")[0]
