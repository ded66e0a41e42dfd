"""The analyst, asked as the crew asks: what the tests of its tasks say to it."""

from __future__ import annotations

import json
from typing import Any

from agents.backends.base import Message, Request, ToolCall
from agents.backends.built_in import BuiltIn
from agents.backends.opening import opening
from tasks.plan import Plan


def ask(role: Any, context: dict[str, Any], *conversation: Message) -> Message:
    request = Request(role=role, messages=(*opening(role, "brief", context), *conversation))
    reply = BuiltIn("analyst").complete(request)
    assert BuiltIn("analyst").complete(request) == reply, "same request, same reply"
    assert (reply.model, reply.usage.dollars) == ("analyst", 0.0)
    return reply.message


def planned(facts: dict[str, Any], iteration: int) -> Plan:
    return Plan.model_validate_json(ask("planner", {"facts": facts, "history": [], "iteration": iteration}).content)


def told(answer: dict[str, Any]) -> Message:
    return Message(role="tool", tool_call_id="x", content=json.dumps(answer))


def only_call(message: Message) -> ToolCall:
    (call,) = message.tool_calls
    return call
