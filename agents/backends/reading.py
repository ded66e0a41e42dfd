"""What a model said, whatever form its service gave it: words without thinking, bare JSON, calls in words."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from agents.backends.base import Request, ToolCall, ToolSchema

TAGS = r"think|thinking|thought|reasoning"
THOUGHT = re.compile(rf"\A\s*<({TAGS})>.*?(</\1>\s*|\Z)", re.DOTALL)
THOUGHT_BEFORE = re.compile(rf"\A(?:(?!<(?:{TAGS})>).)*?</({TAGS})>\s*", re.DOTALL)  # it was opened in the prompt
FENCE = re.compile(r"\A\s*```[a-zA-Z]*\s*\n(.*?)(?:\n?\s*```)?\s*\Z", re.DOTALL)
CALL_TAG = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)
BYTES_PER_TOKEN = 4  # of English and JSON, for services that count nothing
SILENT_PARTS = ("thinking", "reasoning", "redacted_thinking", "reasoning_text", "summary_text")


def words_of(content: Any) -> str:
    """The words of a message's content, text or parts, without what the model thought before it spoke.

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
    """The JSON of a reply: what a Markdown fence around the whole of it holds, or the reply itself.

    >>> bare_json('```json\\n{"text": "a ``` inside"}\\n```')
    '{"text": "a ``` inside"}'
    """
    found = FENCE.match(text)
    return (found[1] if found else text).strip()


def function_name(tool: str) -> str:
    """Our tool name in the alphabet that functions are allowed.

    >>> function_name("events.describe")
    'events__describe'
    """
    return re.sub(r"[^a-zA-Z0-9_-]", "_", tool.replace(".", "__"))[:64]


def tool_name(said: str, tools: Iterable[ToolSchema]) -> str:
    """Which of the tools a model means; what it said where it means none.

    >>> tool_name("functions.events_describe", [ToolSchema(name="events.describe", description="", parameters={})])
    'events.describe'
    """
    known = {_letters(tool.name): tool.name for tool in tools}
    bare = re.sub(r"^(functions?|tools?|default_api)[.:]+", "", said)
    return known.get(_letters(said)) or known.get(_letters(bare)) or said


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def as_text(arguments: Any) -> str:
    """Arguments of a call as JSON text, whether a service gave text, an object, or text inside text."""
    if not isinstance(arguments, str):
        return "" if arguments is None else json.dumps(arguments)
    try:
        inner = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return inner if isinstance(inner, str) and inner.lstrip().startswith("{") else arguments


def call_id(request: Request, number: int) -> str:
    """A name for a call that its service gave none: nine letters and digits, as Mistral wants them, no two alike."""
    return hashlib.sha256(f"{len(request.messages)}/{number}".encode()).hexdigest()[:9]


def calls_in_words(text: str, request: Request) -> tuple[ToolCall, ...]:
    """Calls that a model wrote as JSON into its words, in tags or as the whole reply; none where it wrote none."""
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
    """Of a text or a document, by its length."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return len(text.encode(errors="replace")) // BYTES_PER_TOKEN
