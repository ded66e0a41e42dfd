"""Has a language model fill the card. Its options are checked by the task; one that does not fit is sent back once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agents.backends.base import Backend, Message, Request, Usage
from agents.backends.reading import bare_json
from agents.intake.card import Card
from agents.intake.rules import NotUnderstood
from tasks.catalogue import catalogue, make_task
from tools.events.sight import Sight

PROMPT = Path(__file__).with_name("intake.md").read_text()
NONE = "none"
TRIES = 2
OURS = ("request", "data", "model_calls", "usage")  # fields that the model does not fill


def by_model(request: str, sight: Sight | None, backend: Backend) -> Card:
    """Return the card that the model fills. Raises NotUnderstood if it finds no task, or its card stays wrong."""
    context = {"request": request, "data": sight and sight.model_dump(exclude_defaults=True), "tasks": _tasks()}
    messages = [Message(role="system", content=PROMPT), Message(role="user", content=json.dumps(context))]
    wrong, usage = "", Usage()
    for calls in range(1, TRIES + 1):
        reply = backend.complete(
            Request(role="planner", messages=tuple(messages), response_schema=_schema(), max_tokens=2000)
        )
        usage += reply.usage
        try:
            card = _card(reply.message.content, request, sight)
        except ValueError as error:
            wrong = str(error)
            messages += [Message(role="assistant", content=reply.message.content), Message(role="user", content=wrong)]
            continue
        if card.task == NONE:
            raise NotUnderstood("; ".join(card.remarks) or "no task answers this request")
        spent = {name: value for name, value in usage.model_dump().items() if value}
        return card.model_copy(update={"usage": spent, "model_calls": calls})
    raise NotUnderstood(f"the model's card is wrong: {wrong}")


def _card(text: str, request: str, sight: Sight | None) -> Card:
    """Return the card in a reply. Raises ValueError for one that the task does not take."""
    try:
        given = {name: value for name, value in json.loads(bare_json(text)).items() if name not in OURS}
        card = Card.model_validate(given | {"request": request, "data": sight and sight.path})
    except (AttributeError, TypeError, ValidationError, json.JSONDecodeError) as error:
        raise ValueError(f"not a card: {error}") from None
    if card.task != NONE and not card.questions:
        make_task(card.task, card.arguments())
    return card


def _tasks() -> list[dict[str, Any]]:
    """Return what a model has to know of each task."""
    return [
        {"name": name, "about": task.__doc__, "options": task.model_json_schema()["properties"]}
        for name, task in catalogue().items()
    ]


def _schema() -> dict[str, Any]:
    schema = Card.model_json_schema()
    schema["properties"] = {n: p for n, p in schema["properties"].items() if n not in OURS}
    schema["properties"]["task"]["enum"] = [*catalogue(), NONE]
    schema["required"] = list(schema["properties"])
    return schema
