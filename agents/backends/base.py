"""The interface of a backend, `complete(Request) -> Reply`, and its data types."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal, Protocol

from pydantic import Field

from tools.contract import Frozen

Role = Literal["planner", "worker", "reviewer", "reporter"]
Wire = Literal["chat", "responses"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
DEFAULT_URL = "https://api.openai.com/v1"
SHORTEST_SECRET = 8  # characters; placeholder keys of local servers, such as "none", are also ordinary words


class ToolCall(Frozen):
    """A call requested by a model. `arguments` is the text it wrote, which may be invalid JSON."""

    id: str
    name: str
    arguments: str


class Opaque(Frozen):
    """Data that a service sent besides text and calls (signatures, reasoning, items), returned to it unchanged."""

    source: str = Field(description="host and model that sent it: no other can read it")
    wire: Wire
    data: dict[str, Any]


class Figure(Frozen):
    """A picture that a command made, drawn again from its pixels."""

    name: str
    width: int
    height: int
    sha256: str = Field(description="of the PNG data")
    png: str = Field("", description="the data in base64; empty in records, which hold them once, by their hash")


class Message(Frozen):
    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    opaque: Opaque | None = None
    figures: tuple[Figure, ...] = Field((), exclude_if=lambda figures: not figures, description="of a tool's result")


class ToolSchema(Frozen):
    """A function a model may call: name, what it does, JSON schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any]


class Request(Frozen):
    """Everything that a model sees for one reply."""

    role: Role
    messages: tuple[Message, ...]
    tools: tuple[ToolSchema, ...] = ()
    response_schema: dict[str, Any] | None = Field(None, description="JSON schema the reply's content must follow")
    temperature: float = 0.0
    max_tokens: int = 4096
    seed: int = 1
    effort: Effort | None = Field(None, description="reasoning effort; None: the service's default")

    def key(self) -> str:
        """Return the SHA-256 of the canonical request, by which a recorded reply is found."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


class Usage(Frozen):
    """Tokens and dollars of one call, or of several."""

    prompt_tokens: int = 0
    completion_tokens: int = Field(0, description="including reasoning tokens")
    dollars: float = 0.0
    cached_tokens: int = Field(0, description="prompt tokens read from the service's cache")
    reasoning_tokens: int = Field(0, description="completion tokens that are hidden reasoning")
    estimated: int = Field(0, description="calls without a count from the service: estimated at four bytes per token")

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in Usage.model_fields})


class BackendLost(RuntimeError):  # noqa: N818 - the service is lost, the model made no error
    """The service cannot answer (missing key, unknown model, unreachable after retries): for the operator.

    `usage`: what was spent on it nevertheless.
    """

    usage = Usage()


class Quota(Frozen):
    """A quota or credit that is spent."""

    refills: float | None = Field(None, description="when, if the service says so [seconds since the epoch]")


class QuotaSpent(BackendLost):
    """The service answers again once its quota is refilled or its account topped up."""

    def __init__(self, text: str, quota: Quota) -> None:
        super().__init__(text)
        self.quota = quota


class Reply(Frozen):
    """One reply. `finish` is `length` if the limit cut it off, whatever the service calls that."""

    message: Message
    model: str
    usage: Usage = Usage()
    finish: str = "stop"
    notes: tuple[str, ...] = Field((), description="features given up to get it, each noted once")


class Backend(Protocol):
    """The interface of everything that answers requests."""

    @property
    def name(self) -> str:
        """Name in reports, e.g. `analyst` or `openai:gpt-5-mini`."""
        ...

    @property
    def is_llm(self) -> bool: ...

    def complete(self, request: Request) -> Reply:
        """Return one reply. Raises BackendLost, and nothing else, if there is none."""
        ...
