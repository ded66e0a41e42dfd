"""The contract of a typed tool: a pydantic request in, a pydantic result out, one kind of error.

A model reads the docstrings and field descriptions of requests: there is no other schema.
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, TypeVar, get_args, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError

from tools.journal import append

SEEDS = 2**31  # libraries take seeds below 2^32, and some are derived by adding to these


class ToolError(ValueError):
    """An invalid request: the field, its value and what is allowed. The caller can correct it and retry."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field, self.value, self.allowed = field, value, allowed
        super().__init__(f"{field}={_short(value)}: {allowed}")

    def __reduce__(self) -> tuple[type[ToolError], tuple[str, object, str]]:
        return ToolError, (self.field, self.value, self.allowed)  # so that it can be passed between processes

    def as_dict(self) -> dict[str, str]:
        return {"field": self.field, "value": _short(self.value), "allowed": self.allowed}


class Problem(NamedTuple):
    """One thing wrong with an input: where, the value there, and what the model or pydantic says about it."""

    place: tuple[int | str, ...]
    value: Any
    said: str
    unknown: bool  # there is no such field

    @property
    def field(self) -> str:
        return ".".join(map(str, self.place))

    def __str__(self) -> str:
        return f"{self.field}={self.value!r}: {self.said}" if self.place else self.said


def problems(error: ValidationError) -> list[Problem]:
    """Return all that is wrong with an input that pydantic refused."""
    return [
        Problem(e["loc"], e["input"], e["msg"].removeprefix("Value error, "), e["type"] == "extra_forbidden")
        for e in error.errors()
    ]


class Frozen(BaseModel):
    """A model whose values cannot be changed; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Request(Frozen):
    """Base of all requests."""


class Result(Frozen):
    """Base of all results: plain numbers, short text and ArrayRefs."""


Req = TypeVar("Req", bound=Request)
Res = TypeVar("Res", bound=Result)


@dataclass(frozen=True)
class Tool(Generic[Req, Res]):
    """A named function from Request to Result. A call validates, runs and writes a line to the journal."""

    name: str
    request: type[Req]
    result: type[Res]
    run: Callable[[Req], Res]
    description: str

    def __call__(self, /, **arguments: Any) -> Res:
        """Call the tool. Raises ToolError, and nothing else, for invalid arguments."""
        start = time.monotonic()
        try:
            result = self.run(self.parse(arguments))
        except ToolError as error:
            append(tool=self.name, request=arguments, error=error.as_dict(), seconds=time.monotonic() - start)
            raise
        append(
            tool=self.name, request=arguments, result=result.model_dump(mode="json"), seconds=time.monotonic() - start
        )
        return result

    def parse(self, arguments: dict[str, Any]) -> Req:
        """Return the request. Raises ToolError also for text with NUL bytes and outputs that would replace an input."""
        for name, text in _texts(arguments):
            if "\0" in text:
                raise ToolError(name, text, "text without NUL bytes")
        try:
            request = self.request.model_validate(arguments)
        except ValidationError as error:
            wrong = problems(error)[0]
            allowed = wrong.said
            if wrong.unknown:
                allowed = f"unknown field; allowed are {', '.join(_fields(self.request, wrong.place[:-1]))}"
            raise ToolError(wrong.field or self.name, wrong.value, allowed) from None
        _spare_inputs(request)
        return request

    def schema(self) -> dict[str, Any]:
        """Return name, description and JSON schema of the arguments, as they appear in prompts."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters": _allowed(_untitled(schema := self.request.model_json_schema()), schema.get("$defs", {})),
        }


def tool(name: str) -> Callable[[Callable[[Req], Res]], Tool[Req, Res]]:
    """Turn a function `f(request: SomeRequest) -> SomeResult` into a Tool; its docstring is the description."""

    def wrap(function: Callable[[Req], Res]) -> Tool[Req, Res]:
        hints = get_type_hints(function)
        return Tool(name, hints["request"], hints["return"], function, inspect.getdoc(function) or "")

    return wrap


def named(value: Any) -> Any:
    """Expand a bare kind to that kind with its defaults: "mlp" to {"kind": "mlp"}."""
    return {"kind": value} if isinstance(value, str) else value


def _texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield (field, text) for all text in nested arguments."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for k, item in enumerate(value):
            yield from _texts(item, f"{name}.{k}")


def _spare_inputs(request: BaseModel) -> None:
    """Raise ToolError if a field out* is the path of an existing file that another field names."""
    texts = dict(_texts(request.model_dump(mode="json")))
    outputs = [name for name in texts if name.rsplit(".", 1)[-1].startswith("out")]
    for out in outputs:
        for name, text in texts.items():
            if name not in outputs and Path(text).is_file() and os.path.realpath(text) == os.path.realpath(texts[out]):
                raise ToolError(out, texts[out], f"a file other than the input `{name}`, which it would replace")


def _seed(seed: int) -> int:
    if seed >= SEEDS:
        raise PydanticCustomError("seed", "a whole number from 0 to {most}", {"most": SEEDS - 1})
    return seed


# Checked by a function, because a bound in the schema would be in every prompt.
Seed = Annotated[int, AfterValidator(_seed)]


def _fields(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Return the field names of the object at `path` inside `model`; in a union, the path has the member's tag."""
    reached = [model]
    for part in path:
        fields = [m.model_fields[str(part)].annotation for m in reached if part in m.model_fields]
        tagged = [m for m in reached if any(field.default == part for field in m.model_fields.values())]
        inner = _models(fields[0]) if fields else tagged
        if not inner:
            break
        reached = inner
    return list(reached[0].model_fields)


def _untitled(schema: Any) -> Any:
    """Return a JSON schema without titles, which repeat the names: every word in a prompt costs."""
    if isinstance(schema, dict):
        return {k: _untitled(v) for k, v in schema.items() if not (k == "title" and isinstance(v, str))}
    return [_untitled(v) for v in schema] if isinstance(schema, list) else schema


def _allowed(schema: Any, definitions: dict[str, Any]) -> Any:
    """Return a JSON schema whose default objects have only fields that the schema shows: it would forbid the others."""
    if isinstance(schema, list):
        return [_allowed(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _allowed(part, definitions) for name, part in schema.items()}
    shown = definitions.get(str(schema.get("$ref", "")).removeprefix("#/$defs/"), {}).get("properties")
    if shown is not None and isinstance(schema.get("default"), dict):
        found["default"] = {name: value for name, value in schema["default"].items() if name in shown}
    return found


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that an annotation names: itself, or members of a union."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _short(value: object, limit: int = 200) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
