"""A request as the chat-completions protocol wants it, and its reply as ours. No network here.

Servers that call themselves OpenAI-compatible differ in what they accept; a `Dialect` is what one of them
has been found to understand.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, Field

from agents.backends.base import Message, Reply, Request, ToolCall, Usage
from agents.budget import Price

OPTIONAL = ("temperature", "seed", "max_tokens")
ASK_FOR_JSON = "Answer with one JSON object and nothing else. It must follow this JSON schema:\n"


def json_modes(schema: dict[str, Any]) -> list[dict[str, Any] | None]:
    """Ways to ask for JSON, the best first: OpenAI's, llama.cpp's, the old one, none (words alone)."""
    return [
        {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}},
        {"type": "json_object", "schema": schema},
        {"type": "json_object"},
        None,
    ]


@dataclass(frozen=True)
class Dialect:
    """What a server understands: an index into `json_modes`, and the parameters it refuses."""

    json_mode: int = 0
    refused: frozenset[str] = frozenset()

    def without(self, complaint: str, body: dict[str, Any]) -> Dialect | None:
        """The next simpler dialect where the complaint names something in `body`; None: nothing to simplify."""
        if "response_format" in body and re.search(r"response_format|json_schema|json_object|grammar", complaint):
            return replace(self, json_mode=self.json_mode + 1)
        for name in OPTIONAL:
            if name in body and re.search(rf"\b{name}\b", complaint):
                return replace(self, refused=self.refused | {name})
        return None


def function_name(tool: str) -> str:
    """Our tool name in the alphabet that functions are allowed.

    >>> function_name("anomaly.classify")
    'anomaly__classify'
    """
    return re.sub(r"[^a-zA-Z0-9_-]", "_", tool.replace(".", "__"))[:64]


def to_body(request: Request, model: str, dialect: Dialect) -> dict[str, Any]:
    """Arguments of `chat.completions.create`."""
    body: dict[str, Any] = {"model": model, "messages": [_message(m) for m in request.messages]}
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": function_name(tool.name),
                    "description": tool.description,
                    "parameters": tool.parameters,
                },
            }
            for tool in request.tools
        ]
    if request.response_schema is not None:
        response_format = json_modes(request.response_schema)[dialect.json_mode]
        if response_format is not None:
            body["response_format"] = response_format
        if dialect.json_mode > 0:
            _say_to_system(body["messages"], ASK_FOR_JSON + json.dumps(request.response_schema))
    limit = "max_completion_tokens" if "max_tokens" in dialect.refused else "max_tokens"
    body[limit] = request.max_tokens
    optional = {"temperature": request.temperature, "seed": request.seed}
    return body | {name: value for name, value in optional.items() if name not in dialect.refused}


def _message(message: Message) -> dict[str, Any]:
    # Content may be left out beside tool calls, says the API; chat templates of real models fail without it.
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": function_name(call.name), "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    return wire


def _say_to_system(messages: list[dict[str, Any]], text: str) -> None:
    """Append to the first system message: several of them confuse some chat templates."""
    if not messages or messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": text})
    else:
        messages[0]["content"] += "\n\n" + text


class _Function(BaseModel):
    name: str
    arguments: str | dict[str, Any] = ""


class _Call(BaseModel):
    id: str | None = None
    function: _Function


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float | None = None  # OpenRouter's, in dollars


class _Completion(BaseModel):
    """What we need of a completion; servers differ in the rest."""

    choices: list[_Choice] = Field(min_length=1)
    model: str | None = None
    usage: _Usage | None = None


def from_text(text: str, request: Request, model: str, price: Price | None) -> Reply:
    """The reply in a response's text. Raises pydantic's ValidationError where there is none."""
    completion = _Completion.model_validate_json(text)
    choice = completion.choices[0]
    tools = {function_name(tool.name): tool.name for tool in request.tools}
    calls = tuple(
        ToolCall(
            id=call.id or f"call_{number}",
            name=tools.get(call.function.name, call.function.name),
            arguments=_as_text(call.function.arguments),
        )
        for number, call in enumerate(choice.message.tool_calls or [])
    )
    content = choice.message.content or choice.message.refusal or ""
    return Reply(
        message=Message(role="assistant", content=content, tool_calls=calls),
        model=completion.model or model,
        usage=_priced(completion.usage or _Usage(), price),
        finish=choice.finish_reason or "stop",
    )


def _as_text(arguments: str | dict[str, Any]) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def _priced(usage: _Usage, price: Price | None) -> Usage:
    prompt, completion = usage.prompt_tokens or 0, usage.completion_tokens or 0
    dollars = usage.cost
    if dollars is None:
        dollars = price.dollars(prompt, completion) if price else 0.0
    return Usage(prompt_tokens=prompt, completion_tokens=completion, dollars=dollars)
