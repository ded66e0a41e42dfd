"""A chat-completions service on loopback that answers from a script and keeps what it was asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.services.server import Answer, Json, Stream, completion, refusal, serving

__all__ = ["Answer", "Service", "Stream", "completion", "refusal", "running"]


class Service:
    """Answers come in order; the last one is repeated."""

    def __init__(self) -> None:
        self.answers: list[Answer | Stream] = [completion()]
        self.models: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.url = ""

    def respond(self, path: str, body: Json, key: str | None) -> Answer | Stream:
        if path == "/models":
            return Answer({"object": "list", "data": [{"id": m, "object": "model"} for m in self.models]})
        assert path == "/chat/completions"
        self.bodies.append(body)
        self.keys.append(key)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def running() -> Iterator[Service]:
    """A service that stops at the end of the block."""
    service = Service()
    with serving(service.respond) as service.url:
        yield service
