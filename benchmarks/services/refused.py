"""Services that refuse parts of a request, each in its own words; a simpler request is answered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from agents.backends.base import Message, ToolCall
from agents.backends.openai_service import OpenAIService
from benchmarks.services.scene import (
    Behaviour,
    Failed,
    Played,
    always,
    answer,
    answered,
    expect,
    say,
    step,
    wanted,
)
from benchmarks.services.server import Answer, Json, refusal

Refuses = Callable[[Json], Answer | None]


def unless(refuses: Refuses) -> Callable[[Json], Answer]:
    """Return a service that answers as asked unless `refuses` gives a refusal."""
    return lambda body: refuses(body) or say(wanted(body))


def without(name: str, words: str, status: int = 400, **more: Any) -> Callable[[Json], Answer]:
    """Return a service that does not accept one parameter."""
    return unless(lambda body: refusal(status, words, param=name, **more) if name in body else None)


def schemas(value: Any) -> Iterator[Json]:
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from schemas(part)


def openapi_only(body: Json) -> Answer | None:
    """Refuse, in Gemini's words, whatever its subset of OpenAPI lacks."""
    strange = {"additionalProperties", "$defs", "$ref", "const", "exclusiveMinimum", "oneOf", "default", "title"}
    for number, tool in enumerate(body.get("tools", ())):
        for schema in schemas(tool["function"]["parameters"]):
            for name in sorted(strange & schema.keys()):
                place = f"'tools[0].function_declarations[{number}].parameters'"
                words = f'Invalid JSON payload received. Unknown name "{name}" at {place}: Cannot find field.'
                return Answer([{"error": {"code": 400, "message": words, "status": "INVALID_ARGUMENT"}}], 400)
    return None


def closed_objects_only(body: Json) -> Answer | None:
    form = body.get("response_format", {}).get("json_schema", {})
    if not form.get("strict"):
        return None
    for schema in schemas(form["schema"]):
        if schema.get("type") == "object" and (
            schema.get("additionalProperties") is not False or set(schema["required"]) != set(schema["properties"])
        ):
            return refusal(
                400,
                "Invalid schema for response_format 'reply': 'additionalProperties' is required",
                param="response_format",
            )
        if {"default", "oneOf", "allOf"} & schema.keys():
            return refusal(
                400, "Invalid schema for response_format 'reply': 'default' is not permitted", param="response_format"
            )
    return None


def strictly(played: Played) -> None:
    answered(played)
    expect("strict" in json.dumps(played.bodies[-1][1]["response_format"]), "the strict form was given up")
    expect("null" not in played.replies[-1].message.content, "a key that was left out came back as null")


def json_object_only(body: Json) -> Answer | None:
    if body.get("response_format", {}).get("type") == "json_schema":
        return refusal(400, "This response_format type is unavailable now", type="invalid_request_error")
    if "json" not in json.dumps(body["messages"]).lower():
        return refusal(400, "Prompt must contain the word 'json' in some form to use 'response_format'.")
    return None


def no_format(body: Json) -> Answer | None:
    words = "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), 'msg': \"Input should be 'text'\"}]"
    return refusal(500, words) if "response_format" in body else None


def vague(body: Json) -> Answer | None:
    return Answer({"object": "error", "message": "", "code": 400}, 400) if "response_format" in body else None


def in_words(body: Json) -> Answer:
    """Play a model without tools, which writes calls as text as it was told to."""
    if "tools" in body:
        return refusal(400, "registry.ollama.ai/library/m-1:latest does not support tools")
    return _words_of_a_call(body)


def needs_jinja(body: Json) -> Answer:
    if "tools" in body:
        return refusal(500, "tools param requires --jinja flag")
    return _words_of_a_call(body)


def needs_a_parser(body: Json) -> Answer:
    if "tools" in body:
        return refusal(400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')
    return _words_of_a_call(body)


def _words_of_a_call(body: Json) -> Answer:
    text = json.dumps(body["messages"])
    roles = [message["role"] for message in body["messages"]]
    if any(one == other for one, other in pairwise(roles)) or "tool" in roles:
        return refusal(400, "Conversation roles must alternate user/assistant/user/assistant/...")
    tool = '{"tool": "finish", "arguments": {"summary": "20,000 rows"}}'
    if "20000" not in text:
        tool = '{"tool": "events.describe", "arguments": {"events": "/inputs/events.parquet"}}'
    return say({"content": f"```json\n{tool}\n```"})


def no_system(body: Json) -> Answer | None:
    if any(message["role"] == "system" for message in body["messages"]):
        return refusal(400, "Developer instruction is not enabled for models/m-1")
    return None


def no_empty_content(body: Json) -> Answer | None:
    if any(message.get("content") == "" for message in body["messages"]):
        return refusal(400, "messages.2: text content blocks must be non-empty")
    return None


def no_null_content(body: Json) -> Answer | None:
    if any(message.get("content") is None for message in body["messages"]):
        return refusal(400, 'can only concatenate str (not "NoneType") to str in the chat template')
    return None


def no_broken_arguments(body: Json) -> Answer | None:
    for message in body["messages"]:
        for made in message.get("tool_calls", ()):
            try:
                whole = json.loads(made["function"]["arguments"])
            except ValueError:
                whole = None
            if not isinstance(whole, dict):
                return refusal(400, "Can't parse tool call arguments as JSON")
    return None


def after_a_broken_call(backend: OpenAIService, played: Played) -> None:
    """Play a step whose history holds a call that was not JSON."""
    broken = ToolCall(id="a1", name="events.describe", arguments='{"events": "/inp')
    history = (
        Message(role="assistant", tool_calls=(broken,)),
        Message(role="tool", tool_call_id="a1", content="must be a JSON object"),
        Message(role="assistant"),
        Message(role="user", content="Call a tool."),
    )
    played.carried_out.append(("events.describe", {"events": "/inputs/events.parquet"}))
    step(backend, played, history=history)


def nine_letters(body: Json) -> Answer | None:
    for message in body["messages"]:
        for made in message.get("tool_calls", ()):
            if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", made["id"]) or not re.fullmatch(
                r"[\w-]{1,64}", made["function"]["name"]
            ):
                return refusal(400, f"Tool call id was {made['id']} but must be a-z, A-Z, 0-9")
    return None


def at_most(tokens: int) -> Refuses:
    def refuses(body: Json) -> Answer | None:
        asked: int = body.get("max_tokens") or body["max_completion_tokens"]
        words = f"max_tokens is too large: {asked}. This model supports at most {tokens} completion tokens"
        return refusal(400, words, param="max_tokens") if asked > tokens else None

    return refuses


def no_stream(body: Json) -> Answer | None:
    return (
        refusal(400, "Unsupported value: 'stream' does not support true with this model.", param="stream")
        if body.get("stream")
        else None
    )


def everything(body: Json) -> Answer | None:
    return refusal(400, "Bad Request")


def hopeless(played: Played) -> None:
    if "Bad Request" not in played.lost:
        raise Failed(f"lost in other words: {played.lost}")
    expect(not played.slept, "it waited before retrying a refused request")
    sent = [json.dumps(body, sort_keys=True) for _, body in played.bodies]
    expect(len(set(sent)) == len(sent), "a refused request was sent again")


def with_effort(backend: OpenAIService, played: Played) -> None:
    step(backend, played, effort="high")


REASONING = "Unsupported parameter: 'temperature' is not supported with this model."
USE_OTHER = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
EXTRA = "Extra inputs are not permitted"
BEHAVIOURS = (
    Behaviour("keywords that tool schemas may not have", "Gemini", always(unless(openapi_only)), step),
    Behaviour("closed objects with all keys", "OpenAI", always(unless(closed_objects_only)), answer, strictly),
    Behaviour("json_object only, and the word JSON", "DeepSeek", always(unless(json_object_only)), answer, answered),
    Behaviour("no response_format, refused with 500", "llama.cpp", always(unless(no_format)), answer, answered),
    Behaviour("a refusal without a reason", "vLLM", always(unless(vague)), answer, answered),
    Behaviour("no tools", "Ollama", always(in_words), step),
    Behaviour("tools need a flag, refused with 500", "llama.cpp", always(needs_jinja), step),
    Behaviour("tools need a parser", "vLLM", always(needs_a_parser), step),
    Behaviour("temperature", "OpenAI", always(without("temperature", REASONING)), step),
    Behaviour("max_tokens under another name", "OpenAI", always(without("max_tokens", USE_OTHER)), step),
    Behaviour("seed, refused with 422", "Mistral", always(without("seed", EXTRA, 422)), step),
    Behaviour(
        "reasoning_effort",
        "xAI",
        always(without("reasoning_effort", "Argument not supported on this model: reasoning_effort")),
        with_effort,
    ),
    Behaviour("stream_options", "a proxy", always(without("stream_options", EXTRA, 422)), step),
    Behaviour("streaming", "OpenAI", always(unless(no_stream)), step),
    Behaviour("the system role", "Gemma", always(unless(no_system)), step),
    Behaviour("empty text with calls", "Anthropic", always(unless(no_empty_content)), step),
    Behaviour("no text with calls", "vLLM", always(unless(no_null_content)), step),
    Behaviour("a broken call in history", "vLLM", always(unless(no_broken_arguments)), after_a_broken_call),
    Behaviour("ids of calls", "Mistral", always(unless(nine_letters)), step),
    Behaviour("replies longer than the model can write", "OpenAI", always(unless(at_most(256))), step),
    Behaviour("everything", "any", always(unless(everything)), answer, hopeless, lost=True),
)
