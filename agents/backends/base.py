"""The one verb of a backend: `complete(Request) -> Reply`."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["planner", "worker", "reporter"]
DEFAULT_URL = "https://api.openai.com/v1"
SHORTEST_SECRET = 8  # characters; placeholders such as "none", keys of local servers, are words of the language too


class BackendLost(RuntimeError):  # noqa: N818 - the service is lost, the model made no error
    """The service cannot answer (key missing, model unknown, unreachable after retries): for the operator."""


class Frozen(BaseModel):
    """Immutable, and without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ToolCall(Frozen):
    """A call a model asks for. `arguments` is the text it wrote: perhaps not valid JSON."""

    id: str
    name: str
    arguments: str


class Message(Frozen):
    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


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

    def key(self) -> str:
        """SHA-256 of the canonical request: what a recorded reply is found by."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


class Usage(Frozen):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    dollars: float = 0.0


class Reply(Frozen):
    message: Message
    model: str
    usage: Usage = Usage()
    finish: str = "stop"


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
