"""Tools of an outside server in a form that can be shown to a model: names, texts and schemas checked and cut.

Nothing here is trusted: a schema may be wrong, huge, refer to itself, or hold text that is meant as instructions. What
cannot be shown is left out, with the reason. This runs in the process between (`go_between.py`), which may hang.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from agents.backends.base import ToolSchema
from agents.backends.reading import function_name, tool_name
from agents.backends.schema import CannotSay, rewrite
from agents.trace.tool_calls import MAX_DEPTH, depth
from agents.trace.words import visible

NAME = re.compile(r"[A-Za-z0-9_.-]{1,48}")
KEY = re.compile(r"[A-Za-z0-9_.$-]{1,64}")
DESCRIPTION, SHORT = 1000, 300  # characters of a tool's description, and of an argument's
LARGEST = 6000  # characters of a tool's schema
ALL = 40_000  # characters of all tools of a server: some 10,000 tokens in each request of a worker
REFERENCES = 32
VALUES = 60  # of an enumeration
KINDS = ("string", "number", "integer", "boolean", "array", "object")
BOUNDS = ("minimum", "maximum", "minItems", "maxItems")
PREFACE = "Tool of the outside server {}, in its words: "
ODD = (CannotSay, ValueError, TypeError, AttributeError, KeyError, RecursionError)


class Listed(NamedTuple):
    """A tool as its server lists it."""

    name: str
    description: str
    schema: Mapping[str, Any]


def offered(
    server: str, listed: Iterable[Listed], only: Sequence[str] | None, taken: Sequence[str]
) -> tuple[list[ToolSchema], dict[str, str]]:
    """Return the tools that can be offered, named `server.tool`, and why others are left out (name -> reason).

    `only`: the names that the operator allows; `taken`: names that the crew's own tools have.
    """
    found: list[ToolSchema] = []
    left_out: dict[str, str] = {}
    room = ALL
    for tool in listed:
        if only is not None and tool.name not in only:
            continue
        try:
            made = _made(server, tool)
            size = len(made.model_dump_json())
            if size > room:
                raise ValueError(f"the tools of a server may have {ALL} characters together")
            if not _distinct([*found, made], taken):
                raise ValueError("another tool has a name with the same letters")
        except ODD as error:
            left_out[visible(tool.name)[:60]] = visible(f"{error}")[:SHORT]
            continue
        found.append(made)
        room -= size
    for name in only or ():
        if name not in left_out and f"{server}.{name}" not in [tool.name for tool in found]:
            left_out[name] = "the server has no such tool"
    return found, left_out


def _made(server: str, tool: Listed) -> ToolSchema:
    """Return a tool in the subset of JSON schemas that every service reads. Raises one of ODD."""
    if not NAME.fullmatch(tool.name):
        raise ValueError("its name may have letters, digits, _, - and ., 48 at most")
    if depth(tool.schema) > MAX_DEPTH or tool.schema.get("type") != "object":
        raise ValueError(f"its schema must be an object, nested at most {MAX_DEPTH} deep")
    if json.dumps(tool.schema).count('"$ref"') > REFERENCES:
        raise ValueError(f"its schema may have {REFERENCES} references: written out, they could fill a memory")
    schema = {"type": "object", "properties": {}} | _tidy(rewrite(tool.schema, "openapi"))
    if len(json.dumps(schema)) > LARGEST:
        raise ValueError(f"its schema may have {LARGEST} characters")
    description = PREFACE.format(server) + _text(tool.description, DESCRIPTION)
    return ToolSchema(name=f"{server}.{tool.name}", description=description, parameters=schema)


def _tidy(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rewritten schema with short visible texts, without patterns, which may take for ever to match."""
    out: dict[str, Any] = {"description": _text(schema["description"], SHORT)} if "description" in schema else {}
    if schema.get("nullable"):
        rest = {name: part for name, part in schema.items() if name not in ("nullable", "description")}
        return out | {"anyOf": [_tidy(rest), {"type": "null"}]}
    if schema.get("type") in KINDS:
        out["type"] = schema["type"]
    out |= {name: schema[name] for name in BOUNDS if isinstance(schema.get(name), int | float)}
    if "enum" in schema:
        out["enum"] = [visible(value)[:SHORT] for value in schema["enum"][:VALUES]]
    if "items" in schema:
        out["items"] = _tidy(schema["items"])
    if "anyOf" in schema:
        out["anyOf"] = [_tidy(option) for option in schema["anyOf"]]
    if "properties" in schema:
        if odd := [name for name in schema["properties"] if not KEY.fullmatch(name)]:
            raise ValueError(f"argument {odd[0][:64]!r}: letters, digits, _, -, $ and ., 64 at most")
        out["properties"] = {name: _tidy(part) for name, part in schema["properties"].items()}
        out["required"] = [name for name in out["properties"] if name in schema.get("required", ())]
    return out


def _text(text: str, most: int) -> str:
    shown = visible(" ".join(text.split()))
    return shown if len(shown) <= most else f"{shown[:most]} ..."


def _distinct(tools: Sequence[ToolSchema], taken: Sequence[str]) -> bool:
    """Return whether each tool is found by the name under which a service calls it."""
    own = [ToolSchema(name=name, description="", parameters={}) for name in taken]
    return all(tool_name(function_name(tool.name), [*tools, *own]) == tool.name for tool in [*tools, *own])
