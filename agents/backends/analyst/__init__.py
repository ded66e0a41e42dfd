"""The built-in analyst: a deterministic rule-based policy that speaks the protocol of a model. No LLM is involved."""

from __future__ import annotations

from agents.backends.analyst.planner import plan
from agents.backends.analyst.reporter import claim
from agents.backends.analyst.worker import act
from agents.backends.base import Message, Reply, Request
from agents.context import read_context

__all__ = ["Analyst"]


class Analyst:
    """Plans, calls tools, writes Python, reacts to what it measured: from the same requests that a model would get."""

    name = "analyst"
    is_llm = False

    def complete(self, request: Request) -> Reply:
        context = read_context(request.messages[1])
        if request.role == "planner":
            message = Message(role="assistant", content=plan(context, request.seed).model_dump_json())
        elif request.role == "worker":
            message = act(context, request.messages[2:])
        else:
            message = Message(role="assistant", content=claim(context).model_dump_json())
        return Reply(message=message, model="analyst")
