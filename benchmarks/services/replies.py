"""Services whose replies have odd forms: the model's output is found in them, and truncated calls are not run."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.services.scene import (
    LIMIT,
    LOOK,
    Behaviour,
    Played,
    always,
    answer,
    answered,
    call,
    expect,
    finished,
    in_turn,
    pieces,
    results,
    say,
    step,
    wanted,
)
from benchmarks.services.server import Answer, Json, Stream, completion

MASS = '{"mass": 3.5, "note": "a ``` fence"}'
DECOY = '{"mass": 0}'


def reply(content: object, finish: str = "stop", **more: Any) -> Answer:
    return completion(content, finish, **more)


def cut(finish: str, tokens: int) -> object:
    """Return a call that ends in the middle of a path but is valid JSON, as some servers repair it."""
    half = say(
        {"content": None, "tool_calls": [call("finish", {"summary": "20"})]},
        finish,
        usage={"prompt_tokens": 1000, "completion_tokens": tokens},
    )
    return in_turn(half, lambda body: say(_after_the_cut(body)))


def _after_the_cut(body: Json) -> Json:
    if results(body) == 1:
        return {"content": None, "tool_calls": [call("events__describe", LOOK)]}
    return {"content": None, "tool_calls": [call("finish", {"summary": "20,000 rows"})]}


def not_carried_out(played: Played) -> None:
    finished(played)
    expect(played.replies[0].finish == "length", "the truncation was not noticed")
    expect(("finish", {"summary": "20"}) not in played.carried_out, "a truncated call was carried out")


def thinking_takes_all(body: Json) -> Answer:
    """Play a model that spends 1,500 tokens on thinking before its first word."""
    if body["max_tokens"] < 2000:
        used = {"prompt_tokens": 1000, "completion_tokens": body["max_tokens"]}
        return completion(
            "", "length", usage=used | {"completion_tokens_details": {"reasoning_tokens": body["max_tokens"]}}
        )
    return say(wanted(body))


def paid_for(played: Played) -> None:
    answered(played)
    expect(played.replies[-1].usage.completion_tokens > LIMIT, "tokens of the truncated reply were not counted")


def three_calls(body: Json) -> Json:
    if results(body):
        return wanted(body)
    calls = [call("events__describe", LOOK, number) for number in range(3)]
    return {"content": None, "tool_calls": calls}


def all_answered(played: Played) -> None:
    finished(played)
    expect(len(played.carried_out) == 4, f"{len(played.carried_out)} calls were carried out, not 4")
    sent = played.bodies[1][1]["messages"]
    expect([m["role"] for m in sent[-3:]] == ["tool"] * 3, "not every call was answered")


def without_ids(body: Json) -> Json:
    """Return two calls without ids, which a stream gives the same index."""
    calls = [call("events__describe", LOOK), call("finish", {"summary": "20,000 rows"})]
    return {"content": None, "tool_calls": [{n: v for n, v in made.items() if n != "id"} for made in calls]}


def told_apart(played: Played) -> None:
    finished(played)
    ids = [made.id for made in played.replies[0].message.tool_calls]
    expect(len(set(ids)) == 2 and all(ids), f"calls cannot be told apart: {ids}")


def same_index(body: Json) -> Stream:
    calls = [call("events__describe", LOOK, 0), call("finish", {"summary": "20,000 rows"}, 1)]
    deltas = [{"tool_calls": [made | {"index": 0}]} for made in calls]
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    return Stream([*chunks, {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}])


def arguments_as(form: str) -> object:
    def respond(body: Json) -> Answer:
        message = wanted(body)
        for made in message["tool_calls"]:
            text = made["function"]["arguments"]
            made["function"]["arguments"] = json.loads(text) if form == "object" else json.dumps(text)
        return say(message)

    return always(respond)


def named_as(form: str) -> object:
    def respond(body: Json) -> Answer:
        message = wanted(body)
        for made in message["tool_calls"]:
            made["function"]["name"] = form.format(made["function"]["name"].replace("__", "."))
        return say(message)

    return always(respond)


def in_tags(body: Json) -> Answer:
    made = wanted(body)["tool_calls"][0]["function"]
    text = json.dumps({"name": made["name"], "arguments": json.loads(made["arguments"])})
    return say({"content": f"<think>I call it.</think>\nNow:\n<tool_call>\n{text}\n</tool_call>"})


def unasked_stream(body: Json) -> Answer | Stream:
    """Refuse to stream, and stream all the same."""
    if "stream" in body:
        return Answer({"error": {"message": "stream is not supported", "param": "stream"}}, 400)
    return Stream(pieces(wanted(body), "tool_calls"))


def no_usage(body: Json) -> Answer:
    return say(wanted(body), usage=None)


def marked(played: Played) -> None:
    finished(played)
    usage = [made.usage for made in played.replies]
    expect(all(u.estimated == 1 and u.prompt_tokens > 50 for u in usage), "tokens were neither counted nor marked")
    expect(all(u.dollars > 0 for u in usage), "estimated tokens cost nothing")


def cached(field: Json) -> tuple[object, object]:
    def check(played: Played) -> None:
        answered(played)
        usage = played.replies[-1].usage
        expect(usage.cached_tokens == 900, f"{usage.cached_tokens} cached tokens")
        expect(abs(usage.dollars - (100 * 2 + 900 * 0.2 + 10 * 8) / 1e6) < 1e-12, f"{usage.dollars} dollars")

    counted = {"prompt_tokens": 1000, "completion_tokens": 10} | field
    return always(lambda body: reply(MASS, usage=counted)), check


def reasoned(played: Played) -> None:
    answered(played)
    expect(played.replies[-1].usage.reasoning_tokens == 60, "reasoning tokens were not counted separately")


def refused_in_words(played: Played) -> None:
    expect(played.replies[-1].message.content == "I cannot help with that.", "the model's refusal was lost")


def of(content: object, **more: Any) -> object:
    return always(lambda body: reply(content, **more))


def _b(name: str, like: str, respond: object, check: object = answered, scene: object = answer) -> Behaviour:
    return Behaviour(name, like, respond, scene, check)  # type: ignore[arg-type]


PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": DECOY}]},
    {"type": "text", "text": MASS[:9]},
    {"type": "text", "text": MASS[9:]},
]
BEHAVIOURS: tuple[Behaviour, ...] = (
    _b("content as parts, some of them thinking", "Mistral", of(PARTS)),
    _b("thinking tags before the JSON", "vLLM", of(f"<think>\n{DECOY}\n</think>\n\n{MASS}")),
    _b("thinking with only an end tag", "llama.cpp", of(f"Maybe {DECOY}?\n</think>\n{MASS}")),
    _b("a fence around the whole reply", "Anthropic", of(f"```json\n{MASS}\n```\n")),
    _b("a refusal, and no content", "OpenAI", of(None, refusal="I cannot help with that."), refused_in_words),
    _b("two empty replies", "Gemini", in_turn(reply(""), reply(None), reply(MASS))),
    _b("a call cut at the limit", "OpenAI", cut("length", LIMIT), not_carried_out, step),
    _b("the same, labelled as complete", "Ollama", cut("tool_calls", LIMIT), not_carried_out, step),
    _b("thinking uses up the limit", "DeepSeek", always(thinking_takes_all), paid_for),
    _b("three calls though one was asked for", "Gemini", always(lambda b: say(three_calls(b))), all_answered, step),
    _b("calls without ids", "Gemini", always(lambda b: say(without_ids(b))), told_apart, step),
    _b("two calls with one index in a stream", "a proxy", always(same_index), told_apart, step),
    _b("arguments as an object", "Ollama", arguments_as("object"), finished, step),
    _b("arguments as text in text", "a proxy", arguments_as("text"), finished, step),
    _b("names with a prefix", "Gemini", named_as("default_api:{}"), finished, step),
    _b("names as we write them", "OpenAI", named_as("functions.{}"), finished, step),
    _b("a call in tags within the text", "vLLM", always(in_tags), finished, step),
    _b("a stream that nobody asked for", "a proxy", always(unasked_stream), finished, step),
    _b("tokens are not counted", "llama.cpp", always(no_usage), marked, step),
    _b("cached tokens", "OpenAI", *cached({"prompt_tokens_details": {"cached_tokens": 900}})),
    _b("cached tokens under another name", "DeepSeek", *cached({"prompt_cache_hit_tokens": 900})),
    _b(
        "reasoning tokens",
        "OpenAI",
        of(
            MASS,
            usage={"prompt_tokens": 9, "completion_tokens": 70, "completion_tokens_details": {"reasoning_tokens": 60}},
        ),
        reasoned,
    ),
)
