"""What the numbers of a result mean: the descriptions of its fields, told once where they are first returned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel


def glossary(model: type[BaseModel], shown: Any) -> dict[str, str]:
    """Return the descriptions of the numbers that a result shows, those of its parts by dotted names.

    `shown`: the result as JSON. Fields that have no number in it are left out, as are those without a description.
    """
    return dict(_described(model, shown, ""))


def _described(model: type[BaseModel], shown: Any, inside: str) -> Iterator[tuple[str, str]]:
    entries = [entry for entry in (shown if isinstance(shown, list) else [shown]) if isinstance(entry, Mapping)]
    for name, field in model.model_fields.items():
        values = [entry[name] for entry in entries if entry.get(name) not in (None, [], {})]
        if not values:
            continue
        if field.description and _is_number(values[0]):
            yield f"{inside}{name}", field.description
        for part in _models(field.annotation):
            yield from _described(part, values[0], f"{inside}{name}.")


def _is_number(value: Any) -> bool:
    """Return True for a number or a pair of them."""
    pair = value if isinstance(value, list) and len(value) == 2 else [value]
    return all(isinstance(part, int | float) and not isinstance(part, bool) for part in pair)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that an annotation names: itself, or those of its arguments."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]
