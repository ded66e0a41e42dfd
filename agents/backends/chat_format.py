"""Conversion of requests and replies for the chat-completions protocol. No network here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, Field

from agents.backends.base import Figure, Message, Opaque, Reply, Request, ToolCall, Usage
from agents.backends.dialect import JSON_MODES, Dialect
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
from agents.backends.schema import CannotSay, restore, rewrite

ASK_FOR_JSON = "Answer with one JSON object and nothing else. It must follow this JSON schema:\n"
NO_WORDS = "[no words]"
SIGNATURE = {"google": {"thought_signature": "skip_thought_signature_validator"}}  # Google's, for turns of other models
OURS = {"role", "content", "tool_calls", "refusal", "function_call", "audio"}


def to_body(request: Request, model: str, dialect: Dialect, source: str) -> dict[str, Any]:
    """Return the arguments of `chat.completions.create`. `source`: host and model, see Opaque."""
    messages = _messages(request, dialect, source)
    body: dict[str, Any] = {"model": model, "messages": messages}
    if request.tools and dialect.tools != "words":
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": function_name(tool.name),
                    "description": tool.description,
                    "parameters": rewrite(tool.parameters, "openapi")
                    if dialect.tools == "openapi"
                    else tool.parameters,
                },
            }
            for tool in request.tools
        ]
    if request.response_schema is not None:
        mode = json_mode(request.response_schema, dialect)
        if (response_format := _response_format(request.response_schema, mode)) is not None:
            body["response_format"] = response_format
        if mode not in ("strict", "schema"):
            say_to_system(messages, ASK_FOR_JSON + json.dumps(request.response_schema))
    if not dialect.system:
        _as_user(messages)
    body[dialect.limit_name] = reply_limit(request, dialect)
    effort = dialect.effort or request.effort
    optional: dict[str, Any] = {"temperature": request.temperature, "seed": request.seed}
    body |= {name: value for name, value in optional.items() if name not in dialect.refused}
    if effort and "effort" not in dialect.refused:
        body["reasoning_effort"] = effort
    if dialect.stream:
        body["stream"] = True
        if "stream_options" not in dialect.refused:
            body["stream_options"] = {"include_usage": True}
    return body


def reply_limit(request: Request, dialect: Dialect) -> int:
    """Return the token limit of a reply, with room for reasoning."""
    limit = request.max_tokens * dialect.room
    return limit if dialect.most_tokens is None else min(limit, dialect.most_tokens)


def json_mode(schema: dict[str, Any], dialect: Dialect) -> str:
    """Return the way to ask for JSON: strict only if the schema can be expressed in it."""
    mode = JSON_MODES[dialect.json_mode]
    if mode == "strict":
        try:
            rewrite(schema, "strict")
        except CannotSay:
            return "schema"
    return mode


def _response_format(schema: dict[str, Any], mode: str) -> dict[str, Any] | None:
    forms: dict[str, Any] = {
        "schema": {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}},
        "grammar": {"type": "json_object", "schema": schema},
        "object": {"type": "json_object"},
        "words": None,
    }
    if mode == "strict":
        strict = {"name": "reply", "schema": rewrite(schema, "strict"), "strict": True}
        return {"type": "json_schema", "json_schema": strict}
    found: dict[str, Any] | None = forms[mode]
    return found


def _messages(request: Request, dialect: Dialect, source: str) -> list[dict[str, Any]]:
    if request.tools and dialect.tools == "words":
        return [dict(turn) for turn in prompt.turns(request)]
    sent = []
    for message, figures in shown(request.messages, dialect):
        sent.append(_message(message, dialect, source))
        if figures:  # a tool's turn may only have text
            parts = [{"type": "image_url", "image_url": {"url": address(figure)}} for figure in figures]
            sent.append({"role": "user", "content": [{"type": "text", "text": caption(figures)}, *parts]})
    return sent


def shown(messages: Sequence[Message], dialect: Dialect) -> Iterator[tuple[Message, list[Figure]]]:
    """Yield each message with the figures to show after it: all of a series of results follow the last of them."""
    waiting: list[Figure] = []
    for message, after in zip(messages, [*messages[1:], None], strict=True):
        waiting += message.figures if dialect.pictures else ()
        if after is not None and after.role == message.role == "tool":
            yield message, []
        else:
            yield message, waiting
            waiting = []


def caption(figures: Sequence[Figure]) -> str:
    return "Your figures: " + ", ".join(figure.name for figure in figures)


def address(figure: Figure) -> str:
    return f"data:image/png;base64,{figure.png}"


def _message(message: Message, dialect: Dialect, source: str) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": function_name(call.name), "arguments": _an_object(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    if message.role == "assistant":
        _add_opaque(wire, message.opaque, dialect, source)
        if not wire["content"]:
            # Without content, chat templates of real models fail; empty content is refused by other services.
            empty = {"text": "", "none": None, "words": NO_WORDS}[dialect.empty]
            wire["content"] = empty if message.tool_calls else NO_WORDS
    return wire


def _add_opaque(wire: dict[str, Any], opaque: Opaque | None, dialect: Dialect, source: str) -> None:
    """Add the data that this service sent besides text and calls, and those it requires in turns of other models."""
    if opaque is not None and opaque.source == source and opaque.wire == "chat":
        wire |= {name: value for name, value in opaque.data["message"].items() if name not in dialect.unsaid}
        for call, more in zip(wire.get("tool_calls", ()), opaque.data["calls"], strict=False):
            call |= {name: value for name, value in more.items() if name not in dialect.unsaid}
    if "reasoning_content" in dialect.filled:
        wire.setdefault("reasoning_content", "")
    if "extra_content" in dialect.filled:
        for call in wire.get("tool_calls", ()):
            call.setdefault("extra_content", SIGNATURE)


def _an_object(arguments: str) -> str:
    """Return arguments that any service accepts back: anything but a JSON object would fail the whole request."""
    try:
        said = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        said = None
    return (
        arguments
        if isinstance(said, dict) and arguments
        else json.dumps({} if not arguments else {"no_json": arguments})
    )


def say_to_system(messages: list[dict[str, Any]], text: str) -> None:
    """Append to the first system message: several of them confuse some chat templates."""
    if not messages or messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": text})
    else:
        messages[0]["content"] += "\n\n" + text


def _as_user(messages: list[dict[str, Any]]) -> None:
    """Move the system message to the beginning of the first user message."""
    if messages and messages[0]["role"] == "system":
        text = messages.pop(0)["content"]
        if messages and messages[0]["role"] == "user":
            messages[0]["content"] = f"{text}\n\n{messages[0]['content']}"
        else:
            messages.insert(0, {"role": "user", "content": text})


class _Details(BaseModel):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek's
    cost: float | None = None  # OpenRouter's, in dollars


class _Choice(BaseModel):
    message: dict[str, Any]
    finish_reason: str | None = None


class _Completion(BaseModel):
    """The fields of a completion that are used here; servers differ in the rest."""

    choices: list[_Choice] = Field(min_length=1)
    model: str | None = None
    usage: _Usage | None = None


def from_answer(
    answer: Any, request: Request, model: str, source: str, price: Price | None, body: dict[str, Any]
) -> Reply:
    """Return the reply in a completion. Raises pydantic's ValidationError if there is none."""
    completion = _Completion.model_validate(answer)
    choice = completion.choices[0]
    said = choice.message
    raw_calls = [call for call in said.get("tool_calls") or [] if isinstance(call, dict)]
    calls = tuple(_call(call, request, number) for number, call in enumerate(raw_calls))
    words = words_of(said.get("content")) or words_of(said.get("refusal"))
    if not calls and (calls := calls_in_words(words, request)):
        words = ""
    if request.response_schema is not None and json_mode_of(body) == "strict":
        words = restored(words, request.response_schema)
    usage = _counted(completion.usage, body, said, price)
    limit = body.get("max_tokens", body.get("max_completion_tokens"))
    return Reply(
        message=Message(role="assistant", content=words, tool_calls=calls, opaque=_opaque(said, raw_calls, source)),
        model=completion.model or model,
        usage=usage,
        finish=finish_of(choice.finish_reason, usage, limit),
    )


def json_mode_of(body: dict[str, Any]) -> str:
    """Return `strict` if a body asks for that, else ''."""
    form = body.get("response_format", {}).get("json_schema", {})
    return "strict" if form.get("strict") else ""


def restored(words: str, schema: dict[str, Any]) -> str:
    """Convert a strict reply to the original schema; invalid JSON is returned as it is, for the caller to refuse."""
    try:
        return json.dumps(restore(json.loads(words), schema))
    except (ValueError, RecursionError):
        return words


def finish_of(said: str | None, usage: Usage, limit: int | None) -> str:
    """Return the finish reason: `length` for a reply cut at its limit, even if the service calls it something else."""
    reached = limit is not None and not usage.estimated and usage.completion_tokens >= limit
    return (
        "length" if reached or said in ("length", "max_tokens", "MAX_TOKENS", "max_output_tokens") else said or "stop"
    )


def _call(call: dict[str, Any], request: Request, number: int) -> ToolCall:
    function = call.get("function") if isinstance(call.get("function"), dict) else call
    assert isinstance(function, dict)
    return ToolCall(
        id=call["id"] if isinstance(call.get("id"), str) and call["id"] else call_id(request, number),
        name=tool_name(str(function.get("name") or ""), request.tools),
        arguments=as_text(function.get("arguments")),
    )


def _opaque(said: dict[str, Any], calls: list[dict[str, Any]], source: str) -> Opaque | None:
    """Return all data that our own message type does not have; None if there are none."""
    message = {name: value for name, value in said.items() if name not in OURS and value not in (None, [], {})}
    if said.get("content") and words_of(said["content"]) != said["content"]:
        message["content"] = said["content"]
    known = {"id", "type", "function", "index"}
    more = [{name: value for name, value in call.items() if name not in known and value is not None} for call in calls]
    if not message and not any(more):
        return None
    return Opaque(source=source, wire="chat", data={"message": message, "calls": more})


def _counted(usage: _Usage | None, body: dict[str, Any], said: dict[str, Any], price: Price | None) -> Usage:
    if usage is None or not (usage.prompt_tokens or usage.completion_tokens):
        return priced(estimated_tokens(body), estimated_tokens(said), 0, 0, price, estimated=1)
    details, more = usage.prompt_tokens_details, usage.completion_tokens_details
    cached = (details and details.cached_tokens) or usage.prompt_cache_hit_tokens or 0
    counted = priced(
        usage.prompt_tokens or 0,
        usage.completion_tokens or 0,
        cached,
        (more and more.reasoning_tokens) or 0,
        price,
    )
    return counted if usage.cost is None else counted.model_copy(update={"dollars": usage.cost})


def unread(answer: Any, body: dict[str, Any], price: Price | None) -> Usage:
    """Return what an answer without a readable reply cost: as it says itself, in either wire's words, or estimated."""
    said = answer.get("usage") if isinstance(answer, dict) else None
    said = said if isinstance(said, dict) else {}
    sent, written = (
        next((n for name in names if isinstance(n := said.get(name), int)), None)
        for names in (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))
    )
    if sent or written:
        return priced(sent or 0, written or 0, 0, 0, price)
    return priced(estimated_tokens(body), estimated_tokens(answer) if answer else 0, 0, 0, price, estimated=1)


def priced(prompt: int, completion: int, cached: int, reasoning: int, price: Price | None, estimated: int = 0) -> Usage:
    """Return the usage with its cost."""
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        reasoning_tokens=reasoning,
        estimated=estimated,
        dollars=price.dollars(prompt, completion, cached) if price else 0.0,
    )
