"""Conversion of a JSON schema to a grammar (GBNF) for llama.cpp, so that any model's reply is JSON of this form.

Supports what pydantic writes: objects, arrays, tuples, unions, enums, references, simple patterns. Everything is
bounded (strings without a maximum length, lists without a maximum count, free-form objects), so that a model that
rambles finishes. A grammar cannot express rules between fields and most ranges of numbers: validation checks them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from agents.backends.base import ToolSchema

ITEMS = 8  # maximum items of a list or a free-form object without a limit in the schema
NESTED = 12  # maximum levels of nesting; a recursive schema has no end
COMMA = ' ", " '
KEY = 40  # maximum characters of a key of a free-form object
COMMON = {
    "char": r'[^"\\\x00-\x1F\x7F] | "\\" ["\\nt]',  # JSON allows no raw control characters
    "digits": "[0-9]{1,8}",
    "whole": '"0" | [1-9] [0-9]{0,8}',
    "positive": 'whole ("." digits)? ("e-" [0-9]{1,2})?',
    "number": '"-"? positive',
    "integer": '"-"? whole',
    "boolean": '"true" | "false"',
    "null": '"null"',
}
# One unit of a regular expression: a class or a plain character, and its repetition.
UNIT = re.compile(r"(\[\^?(?:\\.|[^\]\\])+\]|\\[^A-Za-z0-9]|[^\\^$.|?*+()\[\]{}])(\{\d+(?:,\d*)?\}|[*+?])?")


def reply_grammar(schema: Mapping[str, Any], longest: int) -> str:
    """Return the grammar of a reply that follows `schema`; strings have at most `longest` characters."""
    grammar = _Grammar(longest)
    return grammar.text([grammar.value(schema, schema)])


def call_grammar(tools: Sequence[ToolSchema], longest: int) -> str:
    """Return the grammar of one tool call: {"tool": NAME, "arguments": {...}}, with that tool's arguments."""
    grammar = _Grammar(longest)
    calls = []
    for tool in tools:
        head = _text(f'{{"tool": {json.dumps(tool.name)}, "arguments": ')
        calls.append(f'{head} {grammar.value(tool.parameters, tool.parameters)} "}}"')
    return grammar.text(calls)


class _Grammar:
    """The rules of a grammar, named by their order, without duplicates."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._names: dict[str, str] = {}

    def text(self, roots: Sequence[str]) -> str:
        rules = {"root": " | ".join(roots)} | COMMON | {name: body for body, name in self._names.items()}
        return "\n".join(f"{name} ::= {body}" for name, body in rules.items()) + "\n"

    def value(self, schema: Mapping[str, Any], whole: Mapping[str, Any], depth: int = 0) -> str:
        """Return the name of the rule for `schema`, a part of `whole`. Raises ValueError if it is recursive."""
        if depth > NESTED:
            raise ValueError(f"schema: nested more than {NESTED} levels deep, or recursive")
        if "$ref" in schema:
            return self.value(resolve(schema, whole), whole, depth + 1)
        options = schema.get("anyOf") or schema.get("oneOf")
        if options:
            tag = schema.get("discriminator", {}).get("propertyName")
            options = [_with_tag(resolve(option, whole), tag) for option in options]
            return self._name(" | ".join(self.value(option, whole, depth + 1) for option in options))
        if "const" in schema or "enum" in schema:
            values = schema["enum"] if "enum" in schema else [schema["const"]]
            return self._name(" | ".join(_text(json.dumps(value, ensure_ascii=False)) for value in values))
        kind = schema.get("type", "object")
        if kind == "object":
            return self._object(schema, whole, depth)
        if kind == "array":
            return self._array(schema, whole, depth)
        if kind == "string":
            return self._string(schema)
        if kind in ("integer", "number"):
            return self._number(kind, schema)
        return str(kind)  # boolean, null

    def _object(self, schema: Mapping[str, Any], whole: Mapping[str, Any], depth: int) -> str:
        properties = schema.get("properties", {})
        if not properties:
            return self._free(schema.get("additionalProperties"), whole, depth)
        required = schema.get("required", ())
        fields = {
            name: f"{_text(json.dumps(name) + ': ')} {self.value(part, whole, depth + 1)}"
            for name, part in properties.items()
        }
        must = COMMA.join(fields[name] for name in properties if name in required)
        may = [fields[name] for name in properties if name not in required]
        if must:
            return self._name(f'"{{" {must} {_each_perhaps(may)} "}}"')
        # The first field present has no comma before it.
        starts = " | ".join(f"{first} {_each_perhaps(may[number + 1 :])}" for number, first in enumerate(may))
        return self._name(f'"{{" ({starts})? "}}"')

    def _free(self, values: Any, whole: Mapping[str, Any], depth: int) -> str:
        """Return the rule for an object with any keys; values of any kind are nested at most two levels deep."""
        if isinstance(values, Mapping):
            value = self.value(values, whole, depth + 1)
        elif values is False:
            return self._name('"{}"')
        else:
            plain = self._name(f"{self._string({})} | number | boolean | null")
            flat = self._name(f"{plain} | {self._list(plain)} | {self._pairs(plain)}")
            value = self._name(f"{plain} | {self._list(flat)} | {self._pairs(flat)}")
        return self._pairs(value)

    def _pairs(self, value: str) -> str:
        pair = self._name(f'"\\"" [a-zA-Z0-9_.]{{1,{KEY}}} "\\": " {value}')
        return self._name(f'"{{" ({pair} (", " {pair}){{0,{ITEMS - 1}}})? "}}"')

    def _array(self, schema: Mapping[str, Any], whole: Mapping[str, Any], depth: int) -> str:
        if "prefixItems" in schema:
            parts = [self.value(part, whole, depth + 1) for part in schema["prefixItems"]]
            return self._name(f'"[" {COMMA.join(parts)} "]"')
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        item = self.value(schema["items"], whole, depth + 1) if schema.get("items") else self._string({})
        return self._list(item, least, max(ITEMS, least) if most is None else most)

    def _list(self, item: str, least: int = 0, most: int = ITEMS) -> str:
        if most == 0:
            return self._name('"[]"')
        some = f'{item} (", " {item}){{{max(least - 1, 0)},{most - 1}}}'
        return self._name(f'"[" {some} "]"' if least else f'"[" ({some})? "]"')

    def _string(self, schema: Mapping[str, Any]) -> str:
        body = _pattern(schema.get("pattern", ""))
        if body is None:
            least = schema.get("minLength", 0)
            most = max(least, min(schema.get("maxLength", self._longest), self._longest))
            body = f"char{{{least},{most}}}"
        return self._name(f'"\\"" {body} "\\""')

    def _number(self, kind: str, schema: Mapping[str, Any]) -> str:
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        not_negative = low is not None and low >= 0
        if kind == "number":
            if not_negative and high is not None and high <= 1:  # a probability, a fraction
                return self._name('"0" ("." digits)? | "1" | [1-9] ("." digits)? "e-" [0-9]{1,2}')
            return "positive" if not_negative else "number"
        sign = "" if not_negative else '"-"? '
        if high is None:
            return self._name(f"{sign}whole")
        more = len(str(int(high))) - 1
        return self._name(f'{sign}("0" | [1-9] [0-9]{{0,{more}}})')

    def _name(self, body: str) -> str:
        return self._names.setdefault(body, f"r{len(self._names)}")


def resolve(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """Resolve a reference within `whole`; return any other schema unchanged."""
    if "$ref" not in schema:
        return schema
    found: Any = whole
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return resolve(found, whole)


def _with_tag(option: Mapping[str, Any], tag: str | None) -> Mapping[str, Any]:
    """Make the tag of a tagged option required, although it has a default: validation needs it."""
    return option if tag is None else {**option, "required": [tag, *option.get("required", ())]}


def _each_perhaps(fields: Sequence[str]) -> str:
    return " ".join(f'(", " {field})?' for field in fields)


def _pattern(pattern: str) -> str | None:
    """Convert a simple regular expression, anchored at both ends, to a rule's body; None if it is not simple."""
    if not (pattern.startswith("^") and pattern.endswith("$")) or '"' in pattern:
        return None
    rest, parts = pattern[1:-1], []
    while rest:
        unit = UNIT.match(rest)
        if unit is None or unit[1] == r"\\":
            return None
        what = unit[1] if unit[1].startswith("[") else _text(unit[1].removeprefix("\\"))
        times = {"*": f"{{0,{KEY}}}", "+": f"{{1,{KEY}}}", None: ""}.get(unit[2], unit[2])
        parts.append((what, times))
        rest = rest[unit.end() :]
    return " ".join("".join(part) for part in parts)


def _text(text: str) -> str:
    """Return a literal of the grammar."""
    return json.dumps(text)
