"""Schemas rewritten for services: nothing that was allowed is shut out, and nothing is left that they refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.backends.schema import KEPT, CannotSay, Subset, resolve, restore, rewrite
from tasks.lhco.claims import SearchClaim, SearchSubmission
from tasks.plan import Plan
from tools.catalogue import CATALOGUE

Json = dict[str, Any]
STRUCTURE: dict[Subset, set[str]] = {
    "openapi": {"properties", "required", "items", "anyOf", "nullable", "enum"},
    "strict": {"properties", "required", "items", "anyOf", "additionalProperties"},
}
OURS = {
    **{name: tool.schema()["parameters"] for name, tool in CATALOGUE.items()},
    **{model.__name__: model.model_json_schema() for model in (Plan, SearchClaim, SearchSubmission)},
}


def subschemas(schema: Json) -> Iterator[Json]:
    """A schema and all in it."""
    yield schema
    parts = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    for part in [*parts, *([schema["items"]] if schema.get("items") else [])]:
        yield from subschemas(part)


def speaks(schema: Json, subset: Subset) -> None:
    """Every word of it is in the subset."""
    for part in subschemas(schema):
        assert part.keys() <= KEPT[subset] | STRUCTURE[subset], part
        if subset == "openapi":
            assert isinstance(part.get("type", ""), str)
            assert all(isinstance(value, str) for value in part.get("enum", ()))
        elif part.get("type") == "object":
            assert part["additionalProperties"] is False
            assert part["required"] == list(part["properties"])
        else:
            assert part.keys() & {"type", "anyOf"}, part


def as_json_schema(schema: Any) -> Any:
    """An OpenAPI schema as one of JSON: `nullable` is a union with null."""
    if isinstance(schema, list):
        return [as_json_schema(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: as_json_schema(part) for name, part in schema.items()}
    nullable = schema.pop("nullable", None)
    return {"anyOf": [schema, {"type": "null"}]} if nullable is True else schema


def filled(value: Any, schema: Json) -> Any:
    """What a strict service would write in place of a value: each object with all its keys."""
    options = schema.get("anyOf", [schema])
    for option in options:
        if isinstance(value, dict) and option.get("type") == "object":
            if not value.keys() <= option["properties"].keys():
                continue
            whole = {name: filled(value.get(name), part) for name, part in option["properties"].items()}
            if jsonschema.Draft202012Validator(option).is_valid(whole):
                return whole
        if isinstance(value, list) and option.get("type") == "array":
            return [filled(part, option["items"]) for part in value]
    return value


NAMES = st.sampled_from(["mass", "n", "kind", "window", "text"])
Pair = tuple[Json, Any]


def of_numbers(draw: Callable[..., Any], kind: str) -> Pair:
    number = draw(st.integers(-9, 9) if kind == "integer" else st.floats(-9, 9))
    bounds = {"minimum": number - 1, "exclusiveMaximum": number + 1, "exclusiveMinimum": number - 1, "maximum": number}
    kept = draw(st.sets(st.sampled_from(sorted(bounds))))
    return {"type": kind} | {name: bounds[name] for name in sorted(kept)}, number


@st.composite
def pairs(draw: Callable[..., Any], depth: int = 3) -> Pair:
    """A schema as pydantic writes them, and a value that it allows."""
    kind = draw(st.sampled_from(["number", "integer", "string", "const", "enum", "null", *["nested"] * (depth > 0)]))
    more = draw(st.sampled_from([{}, {"title": "T"}, {"description": "in TeV"}, {"default": None}]))
    if kind in ("number", "integer"):
        schema, value = of_numbers(draw, kind)
    elif kind == "string":
        value = draw(st.text("abc", max_size=5))
        schema = {"type": "string", "maxLength": len(value), "pattern": draw(st.sampled_from(["^[a-c]*$", "^(?!x)"]))}
    elif kind == "const":
        value = draw(st.sampled_from(["flow", 3, True]))
        schema = {"const": value}
    elif kind == "enum":
        values = draw(st.sampled_from([["a", "b"], [1, 2], ["a", 1]]))
        schema, value = {"enum": values}, draw(st.sampled_from(values))
    elif kind == "null":
        schema, value = draw(pairs(depth=0)), None
        schema = {"anyOf": [schema[0], {"type": "null"}]}
    else:
        schema, value = draw(nested(depth - 1))
    return more | schema, value


@st.composite
def nested(draw: Callable[..., Any], depth: int) -> Pair:
    kind = draw(st.sampled_from(["object", "array", "tuple", "union", "all"]))
    if kind == "object":
        schema, value = draw(objects(depth))
    elif kind == "array":
        schema, value = draw(pairs(depth))
        repeats = draw(st.integers(0, 2))
        schema, value = {"type": "array", "items": schema, "minItems": 0, "maxItems": 3}, [value] * repeats
    elif kind == "tuple":
        parts = draw(st.lists(pairs(depth), min_size=1, max_size=3))
        schema = {"type": "array", "prefixItems": [part for part, _ in parts], "minItems": len(parts)}
        value = [part for _, part in parts]
    elif kind == "union":
        (first, value), (second, _) = draw(pairs(depth)), draw(pairs(0))
        schema = {"anyOf": draw(st.permutations([first, second]))}
    else:
        first, value = draw(objects(depth))
        schema = {"allOf": [first]}
    return schema, value


@st.composite
def objects(draw: Callable[..., Any], depth: int, free: bool = False) -> Pair:
    """`free`: keys of any name are allowed, too."""
    members = draw(st.dictionaries(NAMES, pairs(depth), min_size=1, max_size=3))
    needed = draw(st.sets(st.sampled_from(sorted(members))))
    given_ = draw(st.sets(st.sampled_from(sorted(members)))) | needed
    schema = {"type": "object", "properties": {name: part for name, (part, _) in members.items()}}
    schema |= {"required": sorted(needed)} if needed else {}
    return schema | {"additionalProperties": free}, {name: members[name][1] for name in sorted(given_)}


@st.composite
def documents(draw: Callable[..., Any], free: bool = False) -> Pair:
    """A whole schema, some of it by reference."""
    schema, value = draw(objects(2, free=free))
    moved = draw(st.sets(st.sampled_from(sorted(schema["properties"]))))
    defs = {f"D{name}": schema["properties"][name] for name in sorted(moved)}
    for name in sorted(moved):
        schema["properties"][name] = {"$ref": f"#/$defs/D{name}", "description": "by reference"}
    return schema | ({"$defs": defs} if defs else {}), value


@given(st.booleans().flatmap(lambda free: documents(free=free)))
@settings(max_examples=150, deadline=None)
def test_openapi_shuts_nothing_out(pair: Pair) -> None:
    schema, value = pair
    jsonschema.validate(value, schema)
    written = rewrite(schema, "openapi")
    speaks(written, "openapi")
    jsonschema.validate(value, as_json_schema(written))


@given(documents())
@settings(max_examples=150, deadline=None)
def test_strict_shuts_nothing_out_and_comes_back_as_it_was(pair: Pair) -> None:
    schema, value = pair
    written = rewrite(schema, "strict")
    speaks(written, "strict")
    whole = filled(value, written)
    jsonschema.validate(whole, written)
    back = restore(whole, schema)
    jsonschema.validate(back, schema)
    # A key that may be null and may be left out says the same both ways.
    assert without_nulls(back) == without_nulls(value)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(part) for name, part in value.items() if part is not None}
    return [without_nulls(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", OURS)
def test_what_the_crew_asks_for_can_be_said_in_openapi(name: str) -> None:
    written = rewrite(OURS[name], "openapi")
    speaks(written, "openapi")
    assert written["properties"].keys() == OURS[name]["properties"].keys()


def test_a_submission_can_be_said_strictly_and_free_arguments_cannot() -> None:
    written = rewrite(OURS["SearchSubmission"], "strict")
    speaks(written, "strict")
    submission = {"scores": "scores.parquet", "window": [3.3, 3.7]}
    whole = filled(submission, written)
    jsonschema.validate(whole, written)
    back = restore(whole, OURS["SearchSubmission"])
    assert SearchSubmission.model_validate(back) == SearchSubmission.model_validate(submission)
    with pytest.raises(CannotSay, match="free keys"):
        rewrite(OURS["Plan"], "strict")


def test_what_is_left_out_is_said_in_words() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "exclusiveMinimum": 0, "default": 3}}}
    words = rewrite(schema, "openapi")["properties"]["n"]["description"]
    assert words == "default: 3; more than 0"


def test_a_schema_inside_itself_is_refused_in_words() -> None:
    schema = {"$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}}, "$ref": "#/$defs/A"}
    with pytest.raises(CannotSay, match="refers to itself"):
        rewrite(schema, "openapi")
    with pytest.raises(CannotSay, match="is not in the schema"):
        resolve({"$ref": "#/$defs/B"}, schema)
