"""Scenes that the battery plays with a backend: a worker's step of two turns, and an answer in JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agents.backends.base import BackendLost, Message, Reply, Request, ToolSchema
from agents.backends.openai_service import OpenAIService
from agents.backends.price import Price
from agents.backends.reading import bare_json
from benchmarks.services.server import Answer, Json, Respond, Stream, completion, serving

TURNS = 5
LIMIT = 512  # tokens of a reply
LOOK = {"events": "/inputs/events.parquet"}
SHAPE: Json = {
    "type": "object",
    "properties": {"mass": {"type": "number", "exclusiveMinimum": 0}, "note": {"type": "string", "default": "none"}},
    "required": ["mass"],
}
TOOLS = (
    ToolSchema(
        name="events.describe",
        description="columns and ranges",
        parameters={
            "type": "object",
            "properties": {
                "events": {"type": "string"},
                "rows": {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "null"}], "default": None},
                "window": {"$ref": "#/$defs/Window"},
            },
            "$defs": {"Window": {"type": "object", "properties": {"kind": {"const": "flat"}}}},
            "additionalProperties": False,
            "required": ["events"],
        },
    ),
    ToolSchema(
        name="finish",
        description="the step is done",
        parameters={"type": "object", "properties": {"summary": {"type": "string"}}, "required": ["summary"]},
    ),
)
RESULT = json.dumps({"result": {"rows": 20000, "columns": ["mjj", "mj1"], "sample": list(range(400))}})


class Failed(AssertionError):  # noqa: N818 - a finding of the battery
    """The client did not get from the service what it could have."""


@dataclass
class Played:
    """Outcome of a scene: replies, calls carried out, bodies sent, seconds slept."""

    bodies: list[tuple[str, Json]] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    carried_out: list[tuple[str, Json]] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    lost: str = ""

    @property
    def notes(self) -> str:
        return " | ".join(note for reply in self.replies for note in reply.notes)

    @property
    def total_tokens(self) -> int:
        return sum(reply.usage.prompt_tokens + reply.usage.completion_tokens for reply in self.replies)


Scene = Callable[[OpenAIService, Played], None]
Check = Callable[[Played], None]


def expect(held: bool, what: str) -> None:
    if not held:
        raise Failed(what)


def finished(played: Played) -> None:
    """Expect that the step finished: it looked at the events, and ended with what it saw."""
    expect(played.carried_out[-1:] != [] and played.carried_out[-1][0] == "finish", f"no end: {played.carried_out}")
    expect(("events.describe", LOOK) in played.carried_out, f"it did not look: {played.carried_out}")


def answered(played: Played) -> None:
    """Expect that the answer is JSON with the mass."""
    content = bare_json(played.replies[-1].message.content)
    try:
        mass = json.loads(content)["mass"]
    except (ValueError, KeyError, TypeError):
        raise Failed(f"no answer: {content[:80]!r}") from None
    expect(mass == 3.5, f"mass {mass}")


@dataclass(frozen=True)
class Behaviour:
    """A behaviour. `like`: the service that has it; `respond` makes a new service for each play, as they have state."""

    name: str
    like: str
    respond: Callable[[], Respond]
    scene: Scene
    check: Check = finished
    lost: bool = False  # no answer is possible, and the client has to say so
    stall: float = 5.0
    effort: str | None = None


def play(behaviour: Behaviour) -> Played:
    """Play a behaviour. Raises Failed if the client fell short."""
    played = Played()
    respond = behaviour.respond()

    def listened(path: str, body: Json, key: str | None) -> Answer | Stream:
        if body:
            played.bodies.append((path, body))
        return respond(path, body, key)

    with serving(listened) as url:
        backend = OpenAIService(
            "m-1",
            url,
            "sk-battery-0123456789",
            Price(prompt=2, completion=8, cached=0.2),
            timeout=20,
            max_retries=4,
            stall=behaviour.stall,
            sleep=played.slept.append,
        )
        try:
            behaviour.scene(backend, played)
        except BackendLost as error:
            played.lost = str(error)
    expect(bool(played.lost) == behaviour.lost, played.lost or "it should have been lost")
    sent = [json.dumps(sent, sort_keys=True) for sent in played.bodies]
    again = {text for text in sent if sent.count(text) > 1}
    expect(len(again) == 0 or bool(played.slept) or behaviour.check is not finished, "the same request was sent again")
    behaviour.check(played)
    return played


def opening() -> list[Message]:
    return [Message(role="system", content="You work."), Message(role="user", content="Look at the events; finish.")]


def step(backend: OpenAIService, played: Played, effort: Any = None, history: tuple[Message, ...] = ()) -> None:
    """Play a worker's step as the crew does: truncated calls are never carried out."""
    messages = [*opening(), *history]
    for _ in range(TURNS):
        request = Request(role="worker", messages=tuple(messages), tools=TOOLS, max_tokens=LIMIT, effort=effort)
        reply = backend.complete(request)
        played.replies.append(reply)
        messages.append(reply.message)
        if not reply.message.tool_calls:
            messages.append(Message(role="user", content="Call a tool."))
        for number, call in enumerate(reply.message.tool_calls):
            last = number == len(reply.message.tool_calls) - 1
            result = "cut" if reply.finish == "length" and last else _carry_out(call.name, call.arguments, played)
            messages.append(Message(role="tool", tool_call_id=call.id, content=result))
        if played.carried_out[-1:] and played.carried_out[-1][0] == "finish":
            return


def _carry_out(name: str, arguments: str, played: Played) -> str:
    try:
        given = json.loads(arguments)
    except ValueError:
        return "no JSON"
    played.carried_out.append((name, given))
    return RESULT


def answer(backend: OpenAIService, played: Played) -> None:
    """Ask for one reply in JSON."""
    request = Request(role="planner", messages=tuple(opening()), response_schema=SHAPE, max_tokens=LIMIT)
    played.replies.append(backend.complete(request))


def call(name: str, arguments: Any, number: int = 0, **more: Any) -> Json:
    """Return a tool call in wire format."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": text}} | more


def results(body: Json) -> int:
    """Count the tool results in a request, in any form."""
    messages: list[Json] = body.get("messages") or body.get("input") or []
    return sum(m.get("role") == "tool" or m.get("type") == "function_call_output" for m in messages)


def wanted(body: Json) -> Json:
    """Return the message of a model that does what is asked: looks, finishes; or gives the mass in JSON."""
    if "tools" not in body:
        return {"role": "assistant", "content": json.dumps({"mass": 3.5, "note": None})}
    if results(body) == 0:
        return {"role": "assistant", "content": None, "tool_calls": [call("events__describe", LOOK)]}
    done = call("finish", {"summary": "20,000 rows"}, results(body))
    return {"role": "assistant", "content": None, "tool_calls": [done]}


def say(message: Json, finish: str | None = None, **more: Any) -> Answer:
    """Return a message as a whole completion."""
    kind = finish or ("tool_calls" if message.get("tool_calls") else "stop")
    fields = {name: value for name, value in message.items() if name not in ("role", "content")}
    return completion(message.get("content"), kind, **fields, **more)


def always(respond: Callable[[Json], Answer | Stream]) -> Callable[[], Respond]:
    """Return a stateless service with chat completions only."""

    def chat_only(path: str, body: Json, key: str | None) -> Answer | Stream:
        if path != "/chat/completions":
            return Answer("Not Found", 404, {"Content-Type": "text/plain"})
        return respond(body)

    return lambda: chat_only


def in_turn(*answers: Answer | Stream | Callable[[Json], Answer | Stream]) -> Callable[[], Respond]:
    """Return a service that answers from a list, and repeats the last answer."""

    def made() -> Respond:
        left = list(answers)

        def respond(path: str, body: Json, key: str | None) -> Answer | Stream:
            if path != "/chat/completions":
                return Answer("Not Found", 404, {"Content-Type": "text/plain"})
            found = left.pop(0) if len(left) > 1 else left[0]
            return found(body) if callable(found) else found

        return respond

    return made


def pieces(message: Json, finish: str | None = "stop", usage: Json | None = None) -> list[Json]:
    """Return a message as chunks of a stream: text and arguments in pieces, all else in the first chunk."""
    first = {name: value for name, value in message.items() if name not in ("content", "tool_calls")}
    deltas: list[Json] = [first | {"content": ""}]
    words = message.get("content") or ""
    deltas += [{"content": words[k : k + 7]} for k in range(0, len(words), 7)]
    for index, made in enumerate(message.get("tool_calls", ())):
        arguments = made["function"]["arguments"]
        head = made | {"index": index, "function": {"name": made["function"]["name"], "arguments": ""}}
        deltas.append({"tool_calls": [head]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": arguments[k : k + 9]}}]}
            for k in range(0, len(arguments), 9)
        ]
    chunks: list[Json] = [_chunk(delta, None) for delta in deltas]
    chunks.append(_chunk({}, finish))
    counted = usage if usage is not None else {"prompt_tokens": 1000, "completion_tokens": 20}
    return [*chunks, {"object": "chat.completion.chunk", "model": "m-1", "choices": [], "usage": counted}]


def _chunk(delta: Json, finish: str | None) -> Json:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"object": "chat.completion.chunk", "model": "m-1", "choices": [choice]}
