"""Prompts for small models: schemas in short form, and conversations in roles that every chat template knows.

The JSON schema of one tool takes up to 2,000 tokens, a quarter of such a model's context; a signature takes 200. The
grammar enforces the form anyway, so the prompt need only explain the meaning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from agents.backends.base import Message, Request, ToolCall, ToolSchema
from agents.backends.local.grammar import resolve

LEFT_OUT = "[left out: this conversation is longer than your context]"
SHOWN = 60  # characters of a default
CALL = re.compile(r'\{"tool": ("[^"]*"), "arguments": (.*)', re.DOTALL)


def signature(schema: Mapping[str, Any], whole: Mapping[str, Any] | None = None) -> str:
    """Return a schema in one line: types, defaults and descriptions, without references.

    >>> signature({"type": "object", "properties": {"length": {"type": "number", "description": "m"}}})
    '{"length"?: number (m)}'
    """
    whole = whole or schema
    schema = resolve(schema, whole)
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        tag = schema.get("discriminator", {}).get("propertyName")
        parts = [resolve(option, whole) for option in options]
        if tag:  # the settings of each kind have defaults, so its name is enough
            kinds = " | ".join(json.dumps(part["properties"][tag]["const"]) for part in parts)
            return f'{{"{tag}": {kinds}}}'
        return " | ".join(signature(part, whole) for part in parts)
    if "const" in schema or "enum" in schema:
        return " | ".join(map(json.dumps, schema["enum"] if "enum" in schema else [schema["const"]]))
    if "properties" in schema:
        return "{" + ", ".join(_fields(schema, whole)) + "}"
    if "prefixItems" in schema:
        return "[" + ", ".join(signature(part, whole) for part in schema["prefixItems"]) + "]"
    if schema.get("type") == "array":
        return f"[{signature(schema.get('items') or {'type': 'string'}, whole)}, ...]"
    kind = str(schema.get("type", "any"))
    return {"object": "{...}", "boolean": "true | false"}.get(kind, kind)


def _fields(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[str]:
    for name, part in schema["properties"].items():
        default = json.dumps(part["default"]) if part.get("default") not in (None, "") else ""
        shown = f" = {default}" if 0 < len(default) <= SHOWN else ""
        said = f" ({part['description']})" if "description" in part else ""
        optional = "" if name in schema.get("required", ()) else "?"
        yield f'"{name}"{optional}: {signature(part, whole)}{shown}{said}'


def instructions(request: Request) -> str:
    """Return the instructions for answering: the form of the reply, or the tools and the form of a call."""
    if request.tools:
        tools = "\n".join(f"- {tool.name}: {_line(tool)}" for tool in request.tools)
        return (
            f"The tools, with their arguments (those with ? may be left out):\n{tools}\n"
            'Answer with one tool call and nothing else: {"tool": NAME, "arguments": {...}}'
        )
    if request.response_schema is not None:
        form = signature(request.response_schema)
        return f"Answer with one JSON object and nothing else (fields with ? may be left out):\n{form}"
    return ""


def _line(tool: ToolSchema) -> str:
    return f"{' '.join(tool.description.split())} Arguments: {signature(tool.parameters)}"


def turns(request: Request, left_out: int = 0) -> list[dict[str, str]]:
    """Return messages of the roles system, user and assistant, never two of the same role in a row.

    `left_out`: number of messages after the opening of which only the calls are kept.
    """
    answers = (number for number, message in enumerate(request.messages) if message.role == "assistant")
    opening = next(answers, len(request.messages))
    said = [
        (_role(message), _content(message, shown=not opening <= number < opening + left_out))
        for number, message in enumerate(request.messages)
    ]
    said = sorted([*said, ("system", instructions(request))], key=lambda turn: turn[0] != "system")
    return [
        {"role": role, "content": "\n\n".join(text for _, text in group if text)}
        for role, group in groupby(said, key=lambda turn: turn[0])
    ]


def last_words(request: Request) -> str:
    """Return the model's last message."""
    return next((_content(m, shown=True) for m in reversed(request.messages) if m.role == "assistant"), "")


def without_system(messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Move the system message into the first user message, for templates without a system role."""
    first, second, *rest = messages
    return [{"role": "user", "content": f"{first['content']}\n\n{second['content']}"}, *rest]


def plain(messages: Sequence[dict[str, str]]) -> str:
    """Format messages as paragraphs with headings, for a model without a chat template."""
    heads = {"system": "Instructions", "user": "Request", "assistant": "Answer"}
    return "".join(f"### {heads[m['role']]}\n{m['content']}\n\n" for m in messages) + "### Answer\n"


def _role(message: Message) -> str:
    return "user" if message.role == "tool" else message.role


def _content(message: Message, shown: bool) -> str:
    if message.tool_calls:
        return "\n".join(_call(call) for call in message.tool_calls)
    if not shown:
        return LEFT_OUT
    return f"Result: {rounded(message.content)}" if message.role == "tool" else message.content


def rounded(text: str) -> str:
    """Return JSON with five digits per number, to save tokens of a small context.

    >>> rounded('{"length": 3.507307600911458, "events": 15000}')
    '{"length": 3.5073, "events": 15000}'
    """
    try:
        value = json.loads(text, parse_float=lambda number: float(f"{float(number):.5g}"))
    except ValueError:
        return text
    return json.dumps(value)


def _call(call: ToolCall) -> str:
    return f'{{"tool": {json.dumps(call.name)}, "arguments": {call.arguments}}}'


def read_call(text: str, number: int) -> Message:
    """Read a reply that follows the grammar of calls; the arguments of a cut-off reply are incomplete."""
    found = CALL.match(text)
    if found is None:
        return Message(role="assistant", content=text)
    arguments = found[2].removesuffix("}") if _is_whole(text) else found[2]
    call = ToolCall(id=f"call_{number}", name=json.loads(found[1]), arguments=arguments)
    return Message(role="assistant", tool_calls=(call,))


def _is_whole(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
