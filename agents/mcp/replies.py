"""What a client is told: documents without secrets and without characters that deceive, short enough to be read.

Text of models and files is data and stays data: it is a JSON string, in which what is invisible is escaped.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

from mcp import types
from pydantic import ValidationError

from agents.backends.digest import compact, digest, ends
from agents.backends.select import secrets
from agents.trace.blobs import Redactor
from agents.trace.words import visible
from tasks.task import TaskError
from tools.contract import ToolError, problems

INLINE = 32_000  # characters of JSON; a longer result is linked
TOLD = 8_000  # characters of the text copy
JSON = "application/json"


def harmless(value: Any) -> Any:
    """Return a JSON document in which keys are redacted and hidden characters escaped."""
    return _visible(Redactor(secrets()).tree(value))


def fits(value: Any) -> bool:
    """Return whether a result can be handed over as it is: it is short, and JSON has all its numbers."""
    try:
        return len(json.dumps(value, allow_nan=False)) <= INLINE
    except ValueError:
        return False


def written(value: Any) -> str:
    """Return a document as JSON, with null for numbers that are not finite."""
    return json.dumps(_finite(harmless(value)), indent=1, allow_nan=False)


def answered(structured: dict[str, Any], told: dict[str, Any], links: list[types.ResourceLink]) -> types.CallToolResult:
    """Return the result of a call: `structured` as its schema says, `told` shortened as text, and links."""
    text = ends(compact(digest(_finite(harmless(told)))), TOLD)
    content: list[types.ContentBlock] = [types.TextContent(text=text), *links]
    return types.CallToolResult(content=content, structured_content=_finite(harmless(structured)))


def refused(error: dict[str, Any]) -> types.CallToolResult:
    """Return an error that the client can act on: field, value and what is allowed."""
    said = {"error": harmless(error)}
    return types.CallToolResult(
        content=[types.TextContent(text=ends(compact(said), TOLD))], structured_content=said, is_error=True
    )


def of_exception(name: str, error: Exception) -> dict[str, Any]:
    """Return field, value and what is allowed of an exception that a request or the machine is to blame for."""
    if isinstance(error, ToolError):
        return error.as_dict()
    if isinstance(error, TaskError):
        return ToolError(error.field, error.value, error.allowed).as_dict()
    if isinstance(error, ValidationError):
        wrong = problems(error)[0]
        return ToolError(wrong.field or name, wrong.value, wrong.said).as_dict()
    return {"field": name, "value": "", "allowed": str(error) or repr(error)}


def _visible(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(name): _visible(item) for name, item in value.items()}
    return [_visible(item) for item in value] if isinstance(value, list | tuple) else value


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value
