"""Shortening of a conversation that is longer than a model's context, where it hurts least: in older results."""

from __future__ import annotations

import re

from agents.backends.base import Message, Request

KEPT = 2  # latest results, which stay complete
SHOWN = 300  # characters kept of each older result
LEAST = 256  # tokens; shorter replies are not worth asking for
CONTEXT = re.compile(r"(?:context|maximum)\D{0,30}?(\d[\d,]{2,})|(\d[\d,]{2,}) maximum", re.IGNORECASE)
PROMPT = re.compile(
    r"(\d[\d,]*) (?:tokens )?(?:in|from|of) (?:the|your)? ?(?:messages|prompt|input)|"
    r"(\d[\d,]*) input tokens|(\d[\d,]*) \+ \d"
)
LEFT_OUT = " ... [the rest was left out: the conversation is longer than your context]"


def shortened(request: Request, words: str) -> Request | None:
    """Return the request with older tool results cut, or with a shorter reply limit; None if nothing can be cut.

    `words`: the service's message. Some services count the requested reply: "maximum context length is 8192 tokens ...
    you requested 9000 tokens (5000 in the messages, 4000 in the completion)".
    """
    results = [number for number, message in enumerate(request.messages) if message.role == "tool"]
    old = {
        n
        for n in results[:-KEPT]
        if len(request.messages[n].content) > SHOWN + len(LEFT_OUT) or request.messages[n].figures
    }
    messages = tuple(_cut(m) if number in old else m for number, m in enumerate(request.messages))
    limit = _fitting_reply(words, request.max_tokens)
    if not old and limit == request.max_tokens:
        return None
    return request.model_copy(update={"messages": messages, "max_tokens": limit})


def _cut(message: Message) -> Message:
    content = message.content
    short = content if len(content) <= SHOWN + len(LEFT_OUT) else content[:SHOWN] + LEFT_OUT
    return message.model_copy(update={"content": short, "figures": ()})


def _fitting_reply(words: str, asked: int) -> int:
    """Return the reply length that fits into the context, if the message gives the context's and prompt's lengths."""
    length, prompt = CONTEXT.search(words), PROMPT.search(words)
    if not length or not prompt:
        return asked
    whole, read = (int(next(g for g in found.groups() if g).replace(",", "")) for found in (length, prompt))
    room = whole - read - 16
    return min(asked, room) if room >= LEAST else asked
