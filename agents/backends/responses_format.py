"""Conversion of requests and replies for the Responses API: stateless, with encrypted reasoning passed along.

No network here. The items of a reply are kept and sent back unchanged.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, Field

from agents.backends.base import Message, Opaque, Reply, Request, ToolCall, Usage
from agents.backends.chat_format import (
    ASK_FOR_JSON,
    NO_WORDS,
    address,
    caption,
    finish_of,
    json_mode,
    priced,
    reply_limit,
    restored,
    shown,
)
from agents.backends.dialect import Dialect
from agents.backends.local import prompt
from agents.backends.price import Price
from agents.backends.reading import (
    as_text,
    call_id,
    calls_in_words,
    estimated_tokens,
    function_name,
    tool_name,
    words_of,
)
from agents.backends.schema import rewrite


def to_body(request: Request, model: str, dialect: Dialect, source: str) -> dict[str, Any]:
    """Return the arguments of `responses.create`. `source`: host and model, see Opaque."""
    body: dict[str, Any] = {"model": model, "input": _input(request, dialect, source)}
    if request.tools and dialect.tools != "words":
        body["tools"] = [
            {
                "type": "function",
                "name": function_name(tool.name),
                "description": tool.description,
                "parameters": rewrite(tool.parameters, "openapi") if dialect.tools == "openapi" else tool.parameters,
                "strict": False,  # else the service makes it strict, and refuses schemas that cannot be
            }
            for tool in request.tools
        ]
    if request.response_schema is not None:
        mode = json_mode(request.response_schema, dialect)
        if mode in ("strict", "schema"):
            strict = mode == "strict"
            schema = rewrite(request.response_schema, "strict") if strict else request.response_schema
            form = {"type": "json_schema", "name": "reply", "schema": schema, "strict": strict}
            body["text"] = {"format": form}
        else:
            text = ASK_FOR_JSON + json.dumps(request.response_schema)
            body["input"].insert(0, {"role": "system", "content": text})
            if mode != "words":
                body["text"] = {"format": {"type": "json_object"}}
    body["max_output_tokens"] = reply_limit(request, dialect)
    effort = dialect.effort or request.effort
    optional: dict[str, Any] = {
        "temperature": request.temperature,
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    body |= {name: value for name, value in optional.items() if name not in dialect.refused}
    if effort and "effort" not in dialect.refused:
        body["reasoning"] = {"effort": effort}
    if dialect.stream:
        body["stream"] = True
    return body


def _input(request: Request, dialect: Dialect, source: str) -> list[dict[str, Any]]:
    if request.tools and dialect.tools == "words":
        return [dict(turn) for turn in prompt.turns(request)]
    sent = []
    for message, figures in shown(request.messages, dialect):
        sent += _items(message, dialect, source)
        if figures:
            parts = [{"type": "input_image", "image_url": address(figure)} for figure in figures]
            sent.append({"role": "user", "content": [{"type": "input_text", "text": caption(figures)}, *parts]})
    return sent


def _items(message: Message, dialect: Dialect, source: str) -> list[dict[str, Any]]:
    if message.role == "tool":
        return [{"type": "function_call_output", "call_id": message.tool_call_id, "output": message.content}]
    opaque = message.opaque
    if opaque is not None and opaque.source == source and opaque.wire == "responses":
        kept = [item for item in opaque.data["output"] if item.get("type") not in dialect.unsaid]
        return kept if dialect.ids else [{n: v for n, v in item.items() if n != "id"} for item in kept]
    words = [{"role": message.role, "content": message.content or NO_WORDS}]
    calls = [
        {
            "type": "function_call",
            "call_id": call.id,
            "name": function_name(call.name),
            "arguments": call.arguments or "{}",
        }
        for call in message.tool_calls
    ]
    return [*(words if message.content or not calls else []), *calls]


class _Details(BaseModel):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(BaseModel):
    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Incomplete(BaseModel):
    reason: str | None = None


class _Response(BaseModel):
    """The fields of a response that are used here."""

    output: list[dict[str, Any]] = Field(default_factory=list)
    status: str | None = None
    incomplete_details: _Incomplete | None = None
    model: str | None = None
    usage: _Usage | None = None


def from_answer(
    answer: Any, request: Request, model: str, source: str, price: Price | None, body: dict[str, Any]
) -> Reply:
    """Return the reply in a response. Raises pydantic's ValidationError if there is none."""
    if isinstance(answer, dict) and "output" not in answer:
        answer = {"output": None}
    response = _Response.model_validate(answer)
    said = [item for item in response.output if item.get("type") == "function_call"]
    calls = tuple(_call(item, request, number) for number, item in enumerate(said))
    words = "".join(words_of(item.get("content")) for item in response.output if item.get("type") == "message")
    if not calls and (calls := calls_in_words(words, request)):
        words = ""
    if request.response_schema is not None and body.get("text", {}).get("format", {}).get("strict"):
        words = restored(words, request.response_schema)
    usage = _counted(response, body, price)
    cut = response.incomplete_details.reason if response.incomplete_details else None
    opaque = Opaque(source=source, wire="responses", data={"output": response.output}) if response.output else None
    return Reply(
        message=Message(role="assistant", content=words, tool_calls=calls, opaque=opaque),
        model=response.model or model,
        usage=usage,
        finish=finish_of(cut or ("tool_calls" if calls else "stop"), usage, body["max_output_tokens"]),
    )


def _call(item: dict[str, Any], request: Request, number: int) -> ToolCall:
    return ToolCall(
        id=str(item.get("call_id") or item.get("id") or call_id(request, number)),
        name=tool_name(str(item.get("name") or ""), request.tools),
        arguments=as_text(item.get("arguments")),
    )


def _counted(response: _Response, body: dict[str, Any], price: Price | None) -> Usage:
    usage = response.usage
    if usage is None or not (usage.input_tokens or usage.output_tokens):
        return priced(estimated_tokens(body), estimated_tokens(response.output), 0, 0, price, estimated=1)
    read, written = usage.input_tokens_details, usage.output_tokens_details
    cached, reasoning = (read and read.cached_tokens) or 0, (written and written.reasoning_tokens) or 0
    return priced(usage.input_tokens, usage.output_tokens, cached, reasoning, price)
