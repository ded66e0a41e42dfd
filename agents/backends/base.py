"""The one verb of a backend: `complete(Request) -> Reply`."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal, Protocol

from pydantic import Field

from tools.contract import Frozen

Role = Literal["planner", "worker", "reporter"]
Wire = Literal["chat", "responses"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
DEFAULT_URL = "https://api.openai.com/v1"
SHORTEST_SECRET = 8  # characters; placeholders such as "none", keys of local servers, are words of the language too


class BackendLost(RuntimeError):  # noqa: N818 - the service is lost, the model made no error
    """The service cannot answer (key missing, model unknown, unreachable after retries): for the operator."""


class ToolCall(Frozen):
    """A call a model asks for. `arguments` is the text it wrote: perhaps not valid JSON."""

    id: str
    name: str
    arguments: str


class Opaque(Frozen):
    """What a service said beside words and calls: signatures, reasoning, items. It goes back to it untouched."""

    source: str = Field(description="host and model that said it: no other can read it")
    wire: Wire
    data: dict[str, Any]


class Message(Frozen):
    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    opaque: Opaque | None = None


class ToolSchema(Frozen):
    """A function a model may call: name, what it does, JSON schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any]


class Request(Frozen):
    """Everything a model gets to see for one reply."""

    role: Role
    messages: tuple[Message, ...]
    tools: tuple[ToolSchema, ...] = ()
    response_schema: dict[str, Any] | None = Field(None, description="JSON schema the reply's content must follow")
    temperature: float = 0.0
    max_tokens: int = 4096
    seed: int = 1
    effort: Effort | None = Field(None, description="of reasoning; None: the service's own")

    def key(self) -> str:
        """SHA-256 of the canonical request: what a recorded reply is found by."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


class Usage(Frozen):
    """Tokens and dollars of one call, or of several."""

    prompt_tokens: int = 0
    completion_tokens: int = Field(0, description="those of reasoning included")
    dollars: float = 0.0
    cached_tokens: int = Field(0, description="of the prompt's: read from the service's cache")
    reasoning_tokens: int = Field(0, description="of the completion's: thought, and not shown")
    estimated: int = Field(0, description="calls of which the service gave no count: ours, at four bytes a token")

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in Usage.model_fields})


class Reply(Frozen):
    """`finish` is `length` where the limit cut the reply, whatever the service calls it."""

    message: Message
    model: str
    usage: Usage = Usage()
    finish: str = "stop"
    notes: tuple[str, ...] = Field((), description="what was given up to get it, each said once")


class Backend(Protocol):
    """Whoever answers requests."""

    @property
    def name(self) -> str:
        """What reports call it, e.g. `analyst` or `openai:gpt-5-mini`."""
        ...

    @property
    def is_llm(self) -> bool: ...

    def complete(self, request: Request) -> Reply:
        """One reply. Raises BackendLost, and nothing else, when none is to be had."""
        ...
