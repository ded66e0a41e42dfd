"""Rewriting of JSON schemas in the subsets that services accept; the rest is put into descriptions.

`openapi` is the subset of OpenAPI 3.0 that Gemini reads and all other services accept; `strict` is OpenAI's, with
closed objects that have all keys. A schema never becomes narrower: what validates against the original also validates
against its `openapi` form, and against its `strict` form with null for missing keys, which `restore` removes again.
Arguments and replies are validated by the caller.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

Subset = Literal["strict", "openapi"]
Schema = dict[str, Any]

KEPT: dict[Subset, frozenset[str]] = {
    "openapi": frozenset({"type", "description", "pattern", "minimum", "maximum", "minItems", "maxItems"}),
    "strict": frozenset(
        [
            "type",
            "description",
            "enum",
            "pattern",
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "multipleOf",
            "minItems",
            "maxItems",
            "format",
        ]
    ),
}
FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
# Text for keywords that are left out. Titles and references mean nothing to a model.
WORDS = {
    "default": "default: {}",
    "const": "always {}",
    "enum": "one of {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "uniqueItems": "no duplicate items",
    "minProperties": "at least {} keys",
    "maxProperties": "at most {} keys",
    "propertyNames": "its keys follow {}",
    "additionalProperties": "each of its values follows {}",
    "patternProperties": "keys that match follow {}",
    "format": "format: {}",
    "pattern": "matches {}",
    "not": "not {}",
    "contains": "one of its items follows {}",
    "examples": "for example {}",
}


class CannotSay(ValueError):  # noqa: N818 - a property of the schema, not an error
    """The subset cannot express this schema: free keys, values of any type, or a recursive schema."""


def rewrite(schema: Mapping[str, Any], subset: Subset) -> Schema:
    """Return the schema rewritten in a subset. Raises CannotSay."""
    written = _Writer(schema, subset).write(schema, ())
    if subset == "strict" and "properties" not in written:
        raise CannotSay("strict: the root must be an object with named keys")
    return written


def restore(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return a reply in the strict form of a schema without the keys whose null means that they are missing."""
    return _restored(value, schema, schema)


def resolve(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Schema:
    """Replace a reference by its schema; keywords beside the reference stay. Raises CannotSay."""
    found, seen = dict(schema), set[str]()
    while "$ref" in found:
        target: Any = whole
        if (name := str(found.pop("$ref"))) in seen:
            raise CannotSay(f"{name} refers to itself")
        seen.add(name)
        for part in name.removeprefix("#").strip("/").split("/"):
            target = target.get(part) if isinstance(target, Mapping) else None
        if not isinstance(target, Mapping):
            raise CannotSay(f"{schema['$ref']} is not in the schema")
        found = dict(target) | found
    return found


class _Writer:
    def __init__(self, whole: Mapping[str, Any], subset: Subset) -> None:
        self._whole, self._subset = whole, subset

    def write(self, schema: Mapping[str, Any], inside: tuple[str, ...]) -> Schema:
        """Return the rewritten schema. `inside`: references that led here; a repeated one would never end."""
        if (name := schema.get("$ref")) in inside:
            raise CannotSay(f"{name} refers to itself")
        inside = (*inside, name) if name else inside
        schema = _merged(resolve(schema, self._whole), self._whole)
        options = [dict(option) for key in ("anyOf", "oneOf") for option in schema.get(key, ())]
        if isinstance(schema.get("type"), list):
            options = [{**schema, "type": kind} for kind in schema["type"]]
            schema = {key: schema[key] for key in ("description", "default") if key in schema}
        if (kinds := _by_kind(schema.get("enum", ()))) and not options:
            options = [{"enum": values} for values in kinds]
            schema = {key: schema[key] for key in ("description", "default") if key in schema}
        if options:
            return self._union(schema, options, inside)
        return self._plain(schema, inside)

    def _union(self, schema: Mapping[str, Any], options: list[Schema], inside: tuple[str, ...]) -> Schema:
        given = [resolve(option, self._whole) for option in options]
        written = [
            self.write(option, inside) for option, full in zip(options, given, strict=True) if not _is_null(full)
        ]
        null = any(map(_is_null, given))
        said = self._said(schema, ())
        if self._subset == "strict":
            return {"anyOf": [*written, *([{"type": "null"}] if null else [])]} | said
        nullable = {"nullable": True} if null or any(option.pop("nullable", False) for option in written) else {}
        if not written:
            return nullable | said
        if len(written) == 1:
            return written[0] | nullable | _joined(said, written[0])
        return {"anyOf": written} | nullable | said

    def _plain(self, schema: Mapping[str, Any], inside: tuple[str, ...]) -> Schema:
        schema = dict(schema)
        if "const" in schema:
            schema["enum"] = [schema.pop("const")]
        kept = set(KEPT[self._subset])
        if schema.get("format") not in FORMATS:
            kept.discard("format")
        if "(?" in str(schema.get("pattern", "")):  # strict modes refuse lookaround
            kept.discard("pattern")
        if "enum" in schema:
            schema.setdefault("type", _type_of(schema["enum"]))
            if self._subset == "openapi" and all(isinstance(value, str) for value in schema["enum"]):
                kept.add("enum")
        if self._subset == "openapi":
            for name, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
                if name in schema:
                    schema.setdefault(bound, schema[name])
        out: Schema = {name: schema[name] for name in schema if name in kept and schema[name] is not None}
        if schema.get("type") == "object" or "properties" in schema:
            out |= self._object(schema, inside)
        elif schema.get("type") == "array":
            out |= self._array(schema, inside)
        elif "type" not in out and self._subset == "strict":
            raise CannotSay("a value of any type")
        return out | self._said(schema, kept)

    def _object(self, schema: Mapping[str, Any], inside: tuple[str, ...]) -> Schema:
        properties = schema.get("properties", {})
        free = schema.get("additionalProperties", not properties)
        if self._subset == "openapi":
            written = {name: self.write(part, inside) for name, part in properties.items()}
            required = {"required": list(schema["required"])} if schema.get("required") and properties else {}
            return {"type": "object"} | ({"properties": written} if properties else {}) | required
        if free is not False:
            raise CannotSay("an object with free keys")
        needed = set(schema.get("required", ()))
        strict = {
            name: self.write(part, inside) if name in needed else _nullable(self.write(part, inside))
            for name, part in properties.items()
        }
        return {"type": "object", "properties": strict, "required": list(strict), "additionalProperties": False}

    def _array(self, schema: Mapping[str, Any], inside: tuple[str, ...]) -> Schema:
        parts = [*schema.get("prefixItems", ()), *([schema["items"]] if schema.get("items") else [])]
        written: list[Schema] = []
        for part in parts:
            if (item := self.write(part, inside)) not in written:
                written.append(item)
        if not written:
            if self._subset == "strict":
                raise CannotSay("items of any type")
            return {"items": {}}
        return {"items": written[0] if len(written) == 1 else {"anyOf": written}}

    def _said(self, schema: Mapping[str, Any], kept: Any) -> Schema:
        """Return the description, with text for keywords that are not kept."""
        words = [
            text.format(json.dumps(self._inlined(schema[name])))
            for name, text in WORDS.items()
            if schema.get(name) is not None and name not in kept
            if name != "additionalProperties" or isinstance(schema[name], Mapping)
        ]
        parts = schema.get("prefixItems", ())
        if any(part.get("description") for part in parts):
            words.append("in this order: " + ", ".join(str(part.get("description")) for part in parts))
        text = ". ".join(part.rstrip(". ") for part in (schema.get("description", ""), "; ".join(words)) if part)
        return {"description": text} if text else {}

    def _inlined(self, value: Any) -> Any:
        """Return a value for a description: without references and titles."""
        if isinstance(value, Mapping):
            return {n: self._inlined(part) for n, part in resolve(value, self._whole).items() if n != "title"}
        return [self._inlined(part) for part in value] if isinstance(value, list) else value


def _merged(schema: Schema, whole: Mapping[str, Any]) -> Schema:
    """Merge `allOf` into the schema; if two parts give the same key, the first one wins."""
    if "allOf" not in schema:
        return schema
    out: Schema = {}
    for part in [{name: schema[name] for name in schema if name != "allOf"}, *schema["allOf"]]:
        part = _merged(resolve(part, whole), whole)
        properties = part.get("properties", {}) | out.get("properties", {})
        required = list(dict.fromkeys([*out.get("required", ()), *part.get("required", ())]))
        out = (
            part
            | out
            | ({"properties": properties} if properties else {})
            | ({"required": required} if required else {})
        )
    return out


def _is_null(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "null"


def _joined(said: Schema, option: Schema) -> Schema:
    """Join the descriptions of a union and of its only option."""
    texts = [part["description"] for part in (said, option) if "description" in part]
    return {"description": ". ".join(text.rstrip(". ") for text in dict.fromkeys(texts))} if texts else {}


def _by_kind(values: Sequence[Any]) -> list[list[Any]]:
    """Group values by type; return an empty list if all have the same type."""
    kinds: dict[type, list[Any]] = {}
    for value in values:
        kinds.setdefault(type(value), []).append(value)
    return list(kinds.values()) if len(kinds) > 1 else []


def _type_of(values: Sequence[Any]) -> str:
    kinds = {bool: "boolean", str: "string", int: "integer", float: "number", type(None): "null"}
    return kinds[type(values[0])]


def _nullable(schema: Schema) -> Schema:
    if "anyOf" in schema:
        null = {"type": "null"}
        return schema if null in schema["anyOf"] else schema | {"anyOf": [*schema["anyOf"], null]}
    said = {"description": schema.pop("description")} if "description" in schema else {}
    return {"anyOf": [schema, {"type": "null"}]} | said


def _restored(value: Any, schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Any:
    schema = next((option for option in _options(schema, whole) if _fits(value, option, whole)), {})
    if isinstance(value, dict):
        properties, needed = schema.get("properties", {}), schema.get("required", ())
        return {
            name: _restored(part, properties.get(name, {}), whole)
            for name, part in value.items()
            if part is not None or name in needed or name not in properties
        }
    if isinstance(value, list):
        first = list(schema.get("prefixItems", ()))
        rest = schema.get("items") or {}
        return [_restored(part, first[n] if n < len(first) else rest, whole) for n, part in enumerate(value)]
    return value


def _options(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[Schema]:
    """Yield the alternatives of a schema, with unions and references resolved."""
    schema = _merged(resolve(schema, whole), whole)
    options = [option for key in ("anyOf", "oneOf") for option in schema.get(key, ())]
    if not options:
        yield schema
    for option in options:
        yield from _options(option, whole)


def _fits(value: Any, schema: Mapping[str, Any], whole: Mapping[str, Any]) -> bool:
    """Return True if a value in the strict form can match this schema: type, keys and fixed values."""
    if isinstance(value, list):
        return schema.get("type") == "array"
    if not isinstance(value, dict):
        return schema.get("type") not in ("array", "object")
    properties = schema.get("properties", {})
    if value.keys() != properties.keys():
        return False
    return all(
        any(_may_be(value[name], option, whole, name in schema.get("required", ())) for option in _options(part, whole))
        for name, part in properties.items()
    )


def _may_be(value: Any, schema: Mapping[str, Any], whole: Mapping[str, Any], needed: bool) -> bool:
    if value is None:
        return not needed or _is_null(schema)
    fixed = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(value, list | dict):
        return _fits(value, schema, whole)
    return value in fixed if fixed is not None else _is_of(value, schema.get("type"))


def _is_of(value: Any, kind: Any) -> bool:
    kinds: dict[str, Any] = {"string": str, "boolean": bool, "integer": int, "number": int | float}
    return kind is None or (kind in kinds and isinstance(value, kinds[kind]))
