"""Services that fail: temporarily, permanently, in the middle of a reply, or because the conversation is too long."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from agents.backends.base import Message, Request, ToolCall
from agents.backends.openai_service import OpenAIService
from benchmarks.services.scene import (
    LOOK,
    RESULT,
    TOOLS,
    Behaviour,
    Played,
    always,
    answer,
    answered,
    expect,
    finished,
    in_turn,
    opening,
    pieces,
    say,
    step,
    wanted,
)
from benchmarks.services.server import Answer, Json, Stream, refusal

ROOM = 12_000  # characters allowed in a conversation


def long_conversation(backend: OpenAIService, played: Played) -> None:
    """Play a step that has already looked ten times: 17,000 characters of results."""
    messages = opening()
    for number in range(10):
        made = ToolCall(id=f"old{number}", name="events.describe", arguments=json.dumps(LOOK))
        messages.append(Message(role="assistant", tool_calls=(made,)))
        messages.append(Message(role="tool", tool_call_id=made.id, content=RESULT))
    played.replies.append(
        backend.complete(Request(role="worker", messages=tuple(messages), tools=TOOLS, max_tokens=512))
    )


def too_long(words: str, status: int = 400, **more: Any) -> Callable[[], Any]:
    """Return a service that refuses a conversation longer than ROOM, in these words."""

    def respond(body: Json) -> Answer:
        if len(json.dumps(body["messages"])) > ROOM:
            return refusal(status, words, **more)
        return say(wanted(body))

    return always(respond)


def shortened(played: Played) -> None:
    expect([made.name for made in played.replies[-1].message.tool_calls] == ["finish"], "no answer")
    expect("shortened" in played.notes, "it was not reported")
    expect(len(played.bodies) == 2, f"{len(played.bodies)} requests for one reply")
    results = [m["content"] for m in played.bodies[-1][1]["messages"] if m["role"] == "tool"]
    expect(results[-1] == RESULT, "the latest result was cut")


def too_long_for_good(body: Json) -> Answer:
    return refusal(400, "This model's maximum context length is 512 tokens.", code="context_length_exceeded")


def given_up(played: Played) -> None:
    expect(played.replies[-1].finish == "length", "not recognised as too long")
    expect("maximum context length" in played.replies[-1].message.content, "the reason is not given")


def counts_the_reply(body: Json) -> Answer:
    """Refuse because prompt and reply together are too long."""
    if body["max_tokens"] > 400:
        words = (
            "This model's maximum context length is 4096 tokens. However, you requested 4208 tokens (3696 in the "
            "messages, 512 in the completion). Please reduce the length of the messages or completion."
        )
        return refusal(400, words)
    return say(wanted(body))


def waits(*seconds: float) -> Callable[[Played], None]:
    def check(played: Played) -> None:
        answered(played)
        expect(played.slept == list(seconds), f"slept {played.slept}")

    return check


def once(failure: Answer | Stream) -> Callable[[], Any]:
    return in_turn(failure, lambda body: say(wanted(body)))


def retried(played: Played) -> None:
    answered(played)
    expect(len(played.slept) == 1, f"slept {played.slept}")


def half(body: Json, silence: float = 0.0, error: Json | None = None) -> Stream:
    """Return the beginning of an answer."""
    events: list[Any] = pieces(wanted(body))[:3]
    return Stream([*events, *([error] if error else [])], done=False, silence=silence)


def spent(played: Played) -> None:
    expect("credit or quota left" in played.lost, played.lost)
    expect(not played.slept and len(played.bodies) == 1, "a spent quota was asked again")


def failed_in_words(played: Played) -> None:
    expect(played.replies[-1].finish == "content_filter", "not recognised as refused for its content")


RATE = "Rate limit reached for m-1 on tokens per min (TPM): Limit 30000, Used 29000. Please try again in 1.5s."
RETRY_INFO = [
    {
        "error": {
            "code": 429,
            "message": "You exceeded your current quota.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}],
        }
    }
]
PER_DAY = [
    {
        "error": {
            "code": 429,
            "message": "You exceeded your current quota. Quota exceeded for metric: GenerateRequestsPerDayPerProject",
            "status": "RESOURCE_EXHAUSTED",
        }
    }
]
INSIDE = {"error": {"message": "Provider returned error", "code": 502}}
IN_CHOICE = {
    "choices": [{"error": {"code": 429, "message": "busy"}, "finish_reason": "error", "message": {"content": ""}}]
}
MIDSTREAM = {"error": {"message": "overloaded", "code": 529}, "choices": []}
WORDS = {
    "OpenAI": "This model's maximum context length is 8192 tokens. Please reduce the length of the messages.",
    "Anthropic": "prompt is too long: 205104 tokens > 200000 maximum",
    "Gemini": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    "vLLM": "This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens.",
    "Mistral": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
    "llama.cpp": "the request exceeds the available context size. try increasing the context size",
}
BEHAVIOURS: tuple[Behaviour, ...] = (
    *(
        Behaviour(f"too long, in the words of {like}", like, too_long(words), long_conversation, shortened)
        for like, words in WORDS.items()
    ),
    Behaviour(
        "too long, refused with 413",
        "Groq",
        too_long("Request too large for model `m-1`", 413),
        long_conversation,
        shortened,
    ),
    Behaviour("too long whatever is left out", "OpenAI", always(too_long_for_good), long_conversation, given_up),
    Behaviour("too long with the requested reply", "vLLM", always(counts_the_reply), step, finished),
    Behaviour(
        "busy: a header says how long",
        "OpenAI",
        once(refusal(429, "slow down", {"Retry-After": "7"})),
        answer,
        waits(7),
    ),
    Behaviour(
        "busy: words say how long", "OpenAI", once(refusal(429, RATE, code="rate_limit_exceeded")), answer, waits(1.5)
    ),
    Behaviour("busy: a field says how long", "Gemini", once(Answer(RETRY_INFO, 429)), answer, waits(34)),
    Behaviour("a page of HTML with 502", "a proxy", once(Answer("<h1>bad gateway</h1>", 502)), answer, retried),
    Behaviour("an error inside a 200", "OpenRouter", once(Answer(INSIDE)), answer, retried),
    Behaviour("an error inside a choice", "OpenRouter", once(Answer(IN_CHOICE)), answer, retried),
    Behaviour(
        "an error inside a stream",
        "OpenRouter",
        in_turn(lambda b: half(b, error=MIDSTREAM), lambda b: say(wanted(b))),
        answer,
        retried,
    ),
    Behaviour("a stream that breaks off", "a proxy", in_turn(half, lambda b: say(wanted(b))), answer, retried),
    Behaviour(
        "a stream that stalls",
        "vLLM",
        in_turn(lambda b: half(b, silence=3.0), lambda b: say(wanted(b))),
        answer,
        retried,
        stall=0.5,
    ),
    Behaviour(
        "no credit left",
        "OpenAI",
        always(lambda b: refusal(429, "You exceeded your current quota", code="insufficient_quota")),
        answer,
        spent,
        lost=True,
    ),
    Behaviour("the day's quota is spent", "Gemini", always(lambda b: Answer(PER_DAY, 429)), answer, spent, lost=True),
    Behaviour(
        "a prompt that is flagged",
        "OpenAI",
        always(lambda b: refusal(400, "Invalid prompt: your prompt was flagged", code="invalid_prompt")),
        answer,
        failed_in_words,
    ),
)
