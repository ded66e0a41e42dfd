"""Reading of replies in the various forms that services use: text without reasoning, bare JSON, calls in text."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from agents.backends.base import Request, ToolCall, ToolSchema

TAGS = r"think|thinking|thought|reasoning"
THOUGHT = re.compile(rf"\A\s*<({TAGS})>.*?(</\1>\s*|\Z)", re.DOTALL)
THOUGHT_BEFORE = re.compile(rf"\A(?:(?!<(?:{TAGS})>).)*?</({TAGS})>\s*", re.DOTALL)  # the opening tag was in the prompt
FENCE = re.compile(r"\A\s*```[a-zA-Z]*\s*\n(.*?)(?:\n?\s*```)?\s*\Z", re.DOTALL)
CALL_TAG = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)
BYTES_PER_TOKEN = 4  # of English and JSON, for services that give no counts
SILENT_PARTS = ("thinking", "reasoning", "redacted_thinking", "reasoning_text", "summary_text")


def words_of(content: Any) -> str:
    """Return the text of a message's content (a string or parts), without the model's reasoning.

    >>> words_of([{"type": "thinking", "thinking": "..."}, {"type": "text", "text": "4.2 m"}])
    '4.2 m'
    >>> words_of("<think>Which form?</think>{}")
    '{}'
    """
    if isinstance(content, list):
        return "".join(map(_words_of_part, content))
    if not isinstance(content, str):
        return ""
    text = THOUGHT.sub("", content)
    return THOUGHT_BEFORE.sub("", text) if text == content else text


def _words_of_part(part: Any) -> str:
    if not isinstance(part, dict) or part.get("type") in SILENT_PARTS:
        return part if isinstance(part, str) else ""
    text = next((part[name] for name in ("text", "refusal", "content") if isinstance(part.get(name), str)), "")
    return text if isinstance(text, str) else ""


def bare_json(text: str) -> str:
    """Return the JSON of a reply: the content of a Markdown fence around all of it, or the reply itself.

    >>> bare_json('```json\\n{"text": "a ``` inside"}\\n```')
    '{"text": "a ``` inside"}'
    """
    found = FENCE.match(text)
    return (found[1] if found else text).strip()


def function_name(tool: str) -> str:
    """Return a tool's name in the characters allowed for functions.

    >>> function_name("events.describe")
    'events__describe'
    """
    return re.sub(r"[^a-zA-Z0-9_-]", "_", tool.replace(".", "__"))[:64]


def tool_name(said: str, tools: Iterable[ToolSchema]) -> str:
    """Return the name of the tool that a model means; its own text if it matches none.

    >>> tool_name("functions.events_describe", [ToolSchema(name="events.describe", description="", parameters={})])
    'events.describe'
    """
    known = {_letters(tool.name): tool.name for tool in tools}
    bare = re.sub(r"^(functions?|tools?|default_api)[.:]+", "", said)
    return known.get(_letters(said)) or known.get(_letters(bare)) or said


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def as_text(arguments: Any) -> str:
    """Return a call's arguments as JSON text, whether the service gave text, an object, or JSON-encoded text."""
    if not isinstance(arguments, str):
        return "" if arguments is None else json.dumps(arguments)
    try:
        inner = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return inner if isinstance(inner, str) and inner.lstrip().startswith("{") else arguments


def call_id(request: Request, number: int) -> str:
    """Return a unique id for a call to which the service gave none: nine letters and digits, as Mistral requires."""
    return hashlib.sha256(f"{len(request.messages)}/{number}".encode()).hexdigest()[:9]


def calls_in_words(text: str, request: Request) -> tuple[ToolCall, ...]:
    """Return calls that a model wrote as JSON in its text, in tags or as the whole reply."""
    if not request.tools:
        return ()
    found = CALL_TAG.findall(text) or [bare_json(text)]
    calls = [_call(part, request, number) for number, part in enumerate(found)]
    return tuple(call for call in calls if call is not None)


def _call(text: str, request: Request, number: int) -> ToolCall | None:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    function = said.get("function")
    inner: dict[str, Any] = function if isinstance(function, dict) else said
    name = next((inner[key] for key in ("tool", "name", "function") if isinstance(inner.get(key), str)), None)
    arguments: Any = next((inner[key] for key in ("arguments", "parameters", "input") if key in inner), {})
    meant = tool_name(name, request.tools) if name else None
    if meant is None or all(meant != tool.name for tool in request.tools):
        return None
    return ToolCall(id=call_id(request, number), name=meant, arguments=as_text(arguments))


def estimated_tokens(value: Any) -> int:
    """Estimate the tokens of a text or JSON document from its length."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return len(text.encode(errors="replace")) // BYTES_PER_TOKEN
