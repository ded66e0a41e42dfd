"""Features that a service was found to support, and fallbacks for those it refuses.

Services that call themselves OpenAI-compatible differ in what they accept, and report it in their own words. Each
fallback gives up one feature, the one that the error message names if it names any, and is logged once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from agents.backends.base import Wire
from agents.backends.failures import Failure

JSON_MODES = ("strict", "schema", "grammar", "object", "words")
"""Ways to ask for JSON, best first: OpenAI's strict mode, its plain one, llama.cpp's, any object, prompt text only."""
OPTIONAL = ("temperature", "seed", "reasoning_effort", "reasoning", "include", "store", "stream_options")
NAMES_OF = {"reasoning_effort": "effort", "reasoning": "effort"}  # one setting, under the names of both wires


@dataclass(frozen=True)
class Dialect:
    """The features that a service supports. The defaults assume all of them."""

    wire: Wire = "chat"
    json_mode: int = 0
    tools: Literal["schema", "openapi", "words"] = "schema"
    stream: bool = True
    refused: frozenset[str] = frozenset()  # parameters
    effort: str | None = None  # replaces the requested effort
    limit_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    most_tokens: int | None = None  # maximum length of a reply
    room: int = 1  # factor on the limit of a reply, since reasoning counts too
    system: bool = True  # there is a system role
    empty: Literal["text", "none", "words"] = "text"  # content of a message with calls but no text
    unsaid: frozenset[str] = frozenset()  # fields of its own messages that it does not accept back
    filled: frozenset[str] = frozenset()  # fields that it requires in messages of other models
    pictures: bool = True  # figures are shown; else only named
    ids: bool = True  # items are sent back with the ids that the service gave them


Step = tuple[Dialect, str]

# What error messages of services complain about.
OTHER_API = r"v1/responses|responses api"
TOOLS_BESIDE_REASONING = r"reasoning.{0,80}(tool|function)|(tool|function).{0,80}reasoning_effort"
MISSES_REASONING = r"reasoning_content.{0,60}(passed back|missing|required)|missing.{0,20}reasoning_content"
MISSES_SIGNATURE = r"missing a thought_signature|thought_signature.{0,30}(missing|required)"
UNKNOWN_ITEM = r"item with id|items are not persisted|input\[\d+\]\.id"
NO_PICTURES = (
    r"image|vision|visual|picture|multi-?modal|content.{0,40}(string|\bstr\b|list|array|type)|"
    r"role.{0,20}user.{0,20}after.{0,20}tool|modalit"
)
NO_SYSTEM = r"system.{0,20}role|role.{0,30}system|roles must alternate|developer instruction"
EMPTY_CONTENT = (
    r"(content|text).{0,60}(empty|null|blank|required|at least 1|string|none)|empty.{0,20}(content|text)|"
    r"NoneType.{0,9} to str"
)
NO_TOOLS = (
    r"(not|n't|no) (support|allow|have)\w*.{0,40}(tool|function)|"
    r"(tool|function)s?\b.{0,60}(not|n't|no|un)\s?(support|available|enabled|permitted)|"
    r"tool-call-parser|requires? --jinja|tool_choice"
)
TOOL_SCHEMA = (
    r"schema|function_declarations|additionalProperties|\$defs|\$ref|oneOf|exclusiveM|unknown name|prefixItems"
)
REPLY_FORM = r"response_?format|json_?schema|json_?object|grammar|text\.format|structured|schema|additionalProperties"


def steps(dialect: Dialect, failure: Failure, body: dict[str, Any]) -> Iterator[Step]:
    """Yield simpler dialects after a refusal, with what each gives up, likeliest first; none if that cannot help."""
    words = failure.complaint
    if words and dialect.pictures and shows_pictures(body) and _says(words, NO_PICTURES):
        yield _blind(dialect)
    if not words or (failure.status == 404 and dialect.wire == "chat"):
        return
    yield from _other_wire(dialect, failure, body)
    yield from _messages(dialect, words, body)
    if failure.status in (404, 405):
        return
    yield from _tools(dialect, words, body)
    yield from _reply_format(dialect, words, body)
    yield from _parameters(dialect, words, body)
    if failure.status in (400, 415, 422, 501):
        yield from _anything(dialect, body)


def shows_pictures(body: dict[str, Any]) -> bool:
    """Return whether a body has pictures: only our messages with them have content in parts."""
    turns = body.get("messages", body.get("input", ()))
    return any(turn.get("role") == "user" and isinstance(turn.get("content"), list) for turn in turns)


def _blind(dialect: Dialect) -> Step:
    return replace(dialect, pictures=False), "pictures, of which only names and sizes are told"


def _says(words: str, pattern: str) -> bool:
    return bool(re.search(pattern, words, re.IGNORECASE))


def _other_wire(dialect: Dialect, failure: Failure, body: dict[str, Any]) -> Iterator[Step]:
    words = failure.complaint
    if dialect.wire == "responses":
        if failure.status in (404, 405, 501) and not _says(f"{failure.code} {words}", r"\bmodel\b|item with id"):
            chat = replace(dialect, wire="chat")
            yield chat, "the Responses API, which it does not have"
            yield replace(chat, effort="none"), "reasoning: it requires the Responses API, which it does not have"
    elif _says(words, OTHER_API) or ("tools" in body and _says(words, TOOLS_BESIDE_REASONING)):
        yield replace(dialect, wire="responses"), "chat completions in favour of the Responses API"
        yield replace(dialect, effort="none"), "reasoning, which it refuses together with tools"


def _messages(dialect: Dialect, words: str, body: dict[str, Any]) -> Iterator[Step]:
    """Yield dialects with a simpler history."""
    if _says(words, MISSES_REASONING):
        yield replace(dialect, filled=dialect.filled | {"reasoning_content"}), "reasoning of other models, sent empty"
    elif _says(words, MISSES_SIGNATURE):
        yield replace(dialect, filled=dialect.filled | {"extra_content"}), "signatures of other models' reasoning"
    else:
        for name in sorted(_own_fields(body) - dialect.unsaid):
            if _says(words, rf"\b{re.escape(name)}\b"):
                yield replace(dialect, unsaid=dialect.unsaid | {name}), f"{name} of earlier replies"
    if dialect.wire == "responses" and _says(words, UNKNOWN_ITEM):
        if dialect.ids:
            yield replace(dialect, ids=False), "the ids of earlier items"
        yield replace(dialect, unsaid=dialect.unsaid | {"reasoning"}), "reasoning of earlier turns"
    if dialect.system and _says(words, NO_SYSTEM):
        yield replace(dialect, system=False), "the system role"
    if _says(words, EMPTY_CONTENT):
        for form in ("none", "words"):
            if dialect.empty != form and dialect.empty != "words":
                yield replace(dialect, empty=form), "empty content beside calls"


def _own_fields(body: dict[str, Any]) -> set[str]:
    """Return the fields of the model's messages that are specific to its service."""
    known = {"role", "content", "tool_calls", "id", "type", "function", "refusal"}
    names: set[str] = set()
    for message in body.get("messages", ()):
        if message["role"] == "assistant":
            names |= message.keys()
            for call in message.get("tool_calls", ()):
                names |= call.keys()
    return names - known


def _tools(dialect: Dialect, words: str, body: dict[str, Any]) -> Iterator[Step]:
    if "tools" not in body or dialect.tools == "words":
        return
    if _says(words, NO_TOOLS) and not _says(words, r"schema|keyword|parameters"):
        yield replace(dialect, tools="words"), "native tool calls in favour of calls in text"
    elif dialect.tools == "schema" and _says(words, TOOL_SCHEMA):
        yield replace(dialect, tools="openapi"), "keywords of tool schemas, moved into descriptions"


def _reply_format(dialect: Dialect, words: str, body: dict[str, Any]) -> Iterator[Step]:
    if not _asks_for_json(body) or not _says(words, REPLY_FORM):
        return
    for mode in range(dialect.json_mode + 1, len(JSON_MODES)):
        yield replace(dialect, json_mode=mode), _less(dialect, mode)


def _less(dialect: Dialect, mode: int) -> str:
    return f"the reply format {JSON_MODES[dialect.json_mode]} in favour of {JSON_MODES[mode]}"


def _asks_for_json(body: dict[str, Any]) -> bool:
    return "response_format" in body or "text" in body


def _parameters(dialect: Dialect, words: str, body: dict[str, Any]) -> Iterator[Step]:
    if _says(words, r"\bmax_(completion_|output_)?tokens\b"):
        if (most := _most_tokens(words, body)) is not None:
            yield replace(dialect, most_tokens=most), f"replies of more than {most} tokens"
        if "max_tokens" in body:
            yield replace(dialect, limit_name="max_completion_tokens"), "the parameter name max_tokens"
    if dialect.stream and _says(words, r"\bstream(ing)?\b(?!_options)"):
        yield replace(dialect, stream=False), "streaming"
    for name in OPTIONAL:
        said = rf"\b{name}\b" + (r"|encrypted" if name == "include" else "")
        if name in body and _says(words, said):
            yield replace(dialect, refused=dialect.refused | {NAMES_OF.get(name, name)}), NAMES_OF.get(name, name)


def _most_tokens(words: str, body: dict[str, Any]) -> int | None:
    """Return the longest reply that the message allows: its largest number below the requested length; or None."""
    asked = next((body[n] for n in ("max_tokens", "max_completion_tokens", "max_output_tokens") if n in body), 0)
    numbers = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d", words)]
    return max((number for number in numbers if 16 <= number < asked), default=None)


def _anything(dialect: Dialect, body: dict[str, Any]) -> Iterator[Step]:
    """Yield fallbacks for a refusal that names nothing: one feature after the other."""
    if dialect.pictures and shows_pictures(body):
        yield _blind(dialect)
    if _asks_for_json(body):
        for mode in range(dialect.json_mode + 1, len(JSON_MODES)):
            yield replace(dialect, json_mode=mode), _less(dialect, mode)
    if "tools" in body and dialect.tools == "schema":
        yield replace(dialect, tools="openapi"), "keywords of tool schemas, moved into descriptions"
    present = {NAMES_OF.get(name, name) for name in OPTIONAL if name in body}
    if present - dialect.refused:
        yield replace(dialect, refused=dialect.refused | present), ", ".join(sorted(present))
    if "tools" in body and dialect.tools != "words":
        yield replace(dialect, tools="words"), "native tool calls in favour of calls in text"
