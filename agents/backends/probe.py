"""Eleven short questions to a real service, to find out which features that the crew needs it supports, and how.

Only a live key can show this; everything else is tested against simulated services on loopback.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from agents.backends.base import BackendLost, Figure, Message, Reply, Request, ToolSchema, Usage
from agents.backends.openai_service import OpenAIService
from agents.backends.price import Price
from agents.backends.reading import bare_json

# Tokens of the questions, rounded up: most are in the long text that is sent twice.
PROMPT_TOKENS, COMPLETION_TOKENS = 12_000, 3_000
LONG = " ".join(f"Bin {number}: {number * 37 % 101} events." for number in range(600))
REPLY = 600  # tokens, with room for some reasoning
STRIPES = {"blue": (0, 0, 255), "yellow": (255, 255, 0), "red": (255, 0, 0)}  # of a picture, from left to right
LONGEST = 32_768  # tokens of a reply with a long program
WEIGHT = {
    "type": "object",
    "properties": {"weight": {"type": "number"}, "note": {"type": "string", "default": ""}},
    "required": ["weight"],
}
TOOLS = (
    ToolSchema(
        name="stones.count",
        description="Count the stones above a weight, in kg.",
        parameters={"type": "object", "properties": {"weight": {"type": "number"}}, "required": ["weight"]},
    ),
)


@dataclass(frozen=True)
class Finding:
    """One question: whether the service passed, and what was seen."""

    question: str
    ok: bool
    seen: str
    seconds: float
    usage: Usage


@dataclass
class Interview:
    """A conversation with a service. Findings of the first calls apply to the later ones."""

    backend: OpenAIService
    usage: Usage = field(default_factory=Usage)
    notes: list[str] = field(default_factory=list)
    called: Reply | None = None  # the reply with a tool call

    def ask(
        self, *said: str, figures: tuple[Figure, ...] = (), messages: tuple[Message, ...] = (), **more: object
    ) -> Reply:
        question = Message(role="user", content=" ".join(said), figures=figures)
        opening = (Message(role="system", content="Answer briefly."), question)
        settings = {"role": "worker", "messages": (*opening, *messages), "max_tokens": REPLY} | more
        reply = self.backend.complete(Request.model_validate(settings))
        self.usage += reply.usage
        self.notes += reply.notes
        return reply


Question = Callable[[Interview], tuple[bool, str]]


def _words(interview: Interview) -> tuple[bool, str]:
    reply = interview.ask("Say hello in one word.")
    return bool(reply.message.content), f"{reply.model}: {reply.message.content[:40]!r}"


def _json(interview: Interview) -> tuple[bool, str]:
    reply = interview.ask("A stone weighs 4.2 kg. Give its weight in kg.", response_schema=WEIGHT)
    try:
        weight = json.loads(bare_json(reply.message.content))["weight"]
    except (ValueError, KeyError, TypeError):
        return False, f"not the requested JSON: {reply.message.content[:60]!r}"
    return weight == 4.2, f"weight {weight}"


def _tool(interview: Interview) -> tuple[bool, str]:
    reply = interview.ask("How many stones weigh more than 4 kg? Use the tool.", tools=TOOLS)
    interview.called = reply if reply.message.tool_calls else None
    calls = ", ".join(f"{call.name}({call.arguments})" for call in reply.message.tool_calls)
    return bool(calls), calls or f"no call: {reply.message.content[:60]!r}"


def _second_turn(interview: Interview) -> tuple[bool, str]:
    if interview.called is None:
        return False, "there was no call to answer"
    calls = interview.called.message.tool_calls
    results = tuple(Message(role="tool", tool_call_id=call.id, content='{"stones": 137}') for call in calls)
    messages = (interview.called.message, *results)
    reply = interview.ask("How many stones weigh more than 4 kg? Use the tool.", messages=messages, tools=TOOLS)
    kept = "its extra data are sent back" if interview.called.message.opaque else "no extra data to send back"
    return "137" in reply.message.content, f"{reply.message.content[:40]!r}; {kept}"


def _several_calls(interview: Interview) -> tuple[bool, str]:
    reply = interview.ask("Count the stones above 3 and above 4 kg, both calls in one reply.", tools=TOOLS)
    return bool(reply.message.tool_calls), f"{len(reply.message.tool_calls)} calls in one reply"


def _settings(interview: Interview) -> tuple[bool, str]:
    interview.ask("Say yes.", temperature=0.7, seed=7)
    refused = {"temperature", "seed"} & interview.backend.dialect.refused
    return not refused, f"refused: {', '.join(sorted(refused))}" if refused else "temperature and seed accepted"


def _effort(interview: Interview) -> tuple[bool, str]:
    reply = interview.ask("Is 91 a prime number?", effort="low")
    taken = "effort" not in interview.backend.dialect.refused
    return taken, f"{reply.usage.reasoning_tokens} reasoning tokens" if taken else "effort refused"


def _long_reply(interview: Interview) -> tuple[bool, str]:
    interview.ask("Say yes.", max_tokens=LONGEST)
    most = interview.backend.dialect.most_tokens
    return most is None, f"replies of {most or LONGEST} tokens are {'the longest allowed' if most else 'allowed'}"


def _counting(interview: Interview) -> tuple[bool, str]:
    reply = interview.ask(LONG, "How many events has bin 7?")
    counted = reply.usage.estimated == 0
    return counted, f"{reply.usage.prompt_tokens} tokens sent" if counted else "tokens are not counted"


def _cache(interview: Interview) -> tuple[bool, str]:
    reply = interview.ask(LONG, "How many events has bin 8?")
    share = reply.usage.cached_tokens / max(reply.usage.prompt_tokens, 1)
    return share > 0, f"{share:.0%} of a repeated prompt came from the cache"


def _pictures(interview: Interview) -> tuple[bool, str]:
    asked = "The picture has three vertical stripes. Name their colours from left to right."
    reply = interview.ask(asked, figures=(_striped(),))
    if not interview.backend.dialect.pictures:
        return False, "refused: figures will only be named, as with --no-pictures"
    seen = bool(re.search(".*".join(STRIPES), reply.message.content, re.IGNORECASE | re.DOTALL))
    words = f"{reply.message.content[:60]!r}"
    return seen, words if seen else f"sent, but not seen: {words}; use --no-pictures"


def _striped() -> Figure:
    from PIL import Image  # imported only when there is something to show

    width, held = 30, io.BytesIO()
    picture = Image.new("RGB", (width * len(STRIPES), 60))
    for number, colour in enumerate(STRIPES.values()):
        picture.paste(colour, (number * width, 0, (number + 1) * width, 60))
    picture.save(held, "PNG")
    sha, png = hashlib.sha256(held.getvalue()).hexdigest(), base64.b64encode(held.getvalue()).decode()
    return Figure(name="stripes.png", width=picture.width, height=picture.height, sha256=sha, png=png)


QUESTIONS: dict[str, Question] = {
    "answers in text": _words,
    "JSON by a schema": _json,
    "a tool call": _tool,
    "its second turn": _second_turn,
    "several calls": _several_calls,
    "temperature and seed": _settings,
    "reasoning effort": _effort,
    "long replies": _long_reply,
    "counts tokens": _counting,
    "cache": _cache,
    "sees pictures": _pictures,
}


def price_of(price: Price | None) -> str:
    """State the estimated cost of the questions."""
    tokens = f"about {PROMPT_TOKENS:,} tokens sent and {COMPLETION_TOKENS:,} received"
    cost = f"${price.dollars(PROMPT_TOKENS, COMPLETION_TOKENS):.3f}" if price else "price unknown (--price IN,OUT)"
    return f"{len(QUESTIONS)} questions, {tokens}: {cost}"


def interview(backend: OpenAIService) -> Iterator[Finding]:
    """Yield the findings one after the other; stop if the service is lost."""
    talk = Interview(backend)
    for name, question in QUESTIONS.items():
        begun, before = time.monotonic(), talk.usage
        try:
            ok, seen = question(talk)
        except BackendLost as error:
            yield Finding(name, False, str(error), time.monotonic() - begun, Usage())
            return
        spent = Usage(**{n: getattr(talk.usage, n) - getattr(before, n) for n in Usage.model_fields})
        told = f"{seen}; {'; '.join(talk.notes)}" if talk.notes else seen
        talk.notes.clear()
        yield Finding(name, ok, told, time.monotonic() - begun, spent)
