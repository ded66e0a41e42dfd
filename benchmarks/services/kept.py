"""Services that need their extra output (other than text and calls) sent back, and some that refuse it."""

from __future__ import annotations

import json

from agents.backends.base import Message, ToolCall
from agents.backends.openai_service import OpenAIService
from benchmarks.services.scene import (
    LOOK,
    Behaviour,
    Played,
    always,
    expect,
    finished,
    pieces,
    results,
    say,
    step,
    wanted,
)
from benchmarks.services.server import Answer, Json, Respond, Stream, refusal

SIGNED = {"extra_content": {"google": {"thought_signature": "c2lnbmVk+/=="}}}
UNSIGNED = (
    "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, "
    "and missing thought_signature may lead to degraded model performance."
)
THOUGHT = "First the columns."
DETAILS = [
    {"type": "reasoning.text", "text": "First ", "index": 0, "format": "x"},
    {"type": "reasoning.encrypted", "data": "ZW5j", "index": 1, "format": "x"},
]


def said_before(body: Json) -> list[Json]:
    return [message for message in body["messages"] if message["role"] == "assistant"]


def gemini(body: Json) -> Answer:
    """Require each of its own calls to come back signed; the error comes in a list."""
    for message in said_before(body):
        for made in message.get("tool_calls", ()):
            if "extra_content" not in made:
                return Answer([{"error": {"code": 400, "message": UNSIGNED, "status": "INVALID_ARGUMENT"}}], 400)
            signature = made["extra_content"]["google"]["thought_signature"]
            if signature not in ("c2lnbmVk+/==", "skip_thought_signature_validator"):
                return Answer([{"error": {"code": 400, "message": "Corrupted thought signature."}}], 400)
    message = wanted(body)
    message["tool_calls"] = [made | SIGNED for made in message["tool_calls"]]
    return say(message)


def gemini_streamed(body: Json) -> Answer | Stream:
    whole = gemini(body)
    return Stream(pieces(whole.body["choices"][0]["message"], "tool_calls")) if whole.status == 200 else whole


def deepseek(body: Json) -> Answer:
    if any("reasoning_content" not in message for message in said_before(body)):
        return refusal(400, "The `reasoning_content` in the thinking mode must be passed back to the API.")
    return say(wanted(body) | {"reasoning_content": THOUGHT})


def deepseek_untouched(body: Json) -> Answer:
    if any(message.get("reasoning_content") != THOUGHT for message in said_before(body)):
        return refusal(400, "The `reasoning_content` in the thinking mode must be passed back to the API.")
    return say(wanted(body) | {"reasoning_content": THOUGHT})


def openrouter(body: Json) -> Answer | Stream:
    """Send reasoning in pieces with indices, which must go back whole."""
    whole = [DETAILS[0] | {"text": "First the columns."}, DETAILS[1]]
    if any(message.get("reasoning_details") != whole for message in said_before(body)):
        return refusal(400, "Provider returned error: reasoning_details are required for this model")
    chunks = pieces(wanted(body) | {"reasoning_details": DETAILS}, "tool_calls")
    more = {"reasoning_details": [DETAILS[0] | {"text": "the columns."}]}
    chunks.insert(1, {"choices": [{"index": 0, "delta": more, "finish_reason": None}]})
    return Stream([": OPENROUTER PROCESSING", ": OPENROUTER PROCESSING", *chunks])


def mistral(body: Json) -> Answer:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}, {"type": "text", "text": "I look."}]
    if any(message.get("content") != parts for message in said_before(body)):
        return refusal(400, "Thinking chunks of earlier turns must be sent back.")
    return say(wanted(body) | {"content": parts})


def interleaved(body: Json) -> Answer:
    content = f"<think>{THOUGHT}</think>\nI look."
    if any(message.get("content") != content for message in said_before(body)):
        return refusal(400, "thinking content of earlier turns was altered")
    return say(wanted(body) | {"content": content})


def groq(body: Json) -> Answer:
    """Send a field that it does not accept back."""
    for number, message in enumerate(body["messages"]):
        if "reasoning" in message:
            return refusal(400, f"'messages.{number}' : for 'role:assistant' the property 'reasoning' is unsupported")
    return say(wanted(body) | {"reasoning": THOUGHT})


def of_others(backend: OpenAIService, played: Played) -> None:
    """Play a step whose first turn came from another model."""
    made = ToolCall(id="a1", name="events.describe", arguments=json.dumps(LOOK))
    history = (Message(role="assistant", tool_calls=(made,)), Message(role="tool", tool_call_id="a1", content="{}"))
    played.carried_out.append(("events.describe", LOOK))
    step(backend, played, history=history)


REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}
UNSTORED = (
    "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false. Try again with `store` set "
    "to true, or remove this item from your input."
)


def item(made: Json) -> Json:
    function: Json = made["function"]
    return {"type": "function_call", "id": f"fc_{made['id']}", "call_id": made["id"], "status": "completed"} | function


def response(output: list[Json], status: str = "completed", **more: object) -> Answer:
    usage = {
        "input_tokens": 1000,
        "output_tokens": 90,
        "input_tokens_details": {"cached_tokens": 800},
        "output_tokens_details": {"reasoning_tokens": 64},
    }
    return Answer(
        {"id": "resp_1", "object": "response", "model": "m-1", "status": status, "output": output, "usage": usage}
        | more
    )


NO_CHAT = (
    "Function tools with reasoning_effort are not supported for m-1 in /v1/chat/completions. To use function tools, "
    "use /v1/responses or set reasoning_effort to 'none'."
)


def openai(strict_ids: bool = False, encrypted: bool = True, streamed: bool = False) -> Respond:
    """Return a service that refuses tools with reasoning on chat completions; its Responses are stateless."""

    def respond(path: str, body: Json, key: str | None) -> Answer | Stream:
        if path == "/chat/completions":
            effort = body.get("reasoning_effort")
            return say(wanted(body)) if effort == "none" else refusal(400, NO_CHAT, param="reasoning_effort")
        if not encrypted and "include" in body:
            return refusal(400, "Encrypted content is not supported with this model.", param="include")
        if "messages" in body or body.get("store") is not False:
            return refusal(400, "Unsupported parameter: 'messages'. Use 'input'.")
        if any(tool.get("strict") is not False for tool in body["tools"]):
            return refusal(400, "Invalid schema for function: 'additionalProperties' is required to be false.")
        if results(body):
            kept = [entry for entry in body["input"] if entry.get("type") == "reasoning"]
            if strict_ids and any("id" in entry for entry in kept):
                return refusal(404, UNSTORED)
            if encrypted and (not kept or any(entry["encrypted_content"] != "gAAAA" for entry in kept)):
                return refusal(
                    400, "Item 'fc_call_0' of type 'function_call' was provided without its required reasoning"
                )
        output = [*([REASONING] if encrypted else []), *map(item, wanted(body)["tool_calls"])]
        whole = response(output)
        if not streamed:
            return whole
        events: list[Json] = [{"type": "response.created", "response": {"status": "in_progress"}}]
        events += [
            {"type": "response.output_item.done", "output_index": k, "item": part} for k, part in enumerate(output)
        ]
        return Stream([*events, {"type": "response.completed", "response": whole.body | {"output": []}}], done=False)

    return respond


def on_responses(played: Played) -> None:
    finished(played)
    expect(played.bodies[-1][0] == "/responses", "chat completions were used to the end")
    expect(all(reply.usage.reasoning_tokens == 64 for reply in played.replies), "reasoning tokens were not counted")


def chat_without_reasoning(body: Json) -> Answer:
    return (
        say(wanted(body)) if body.get("reasoning_effort") == "none" else refusal(400, NO_CHAT, param="reasoning_effort")
    )


def dropped(played: Played) -> None:
    finished(played)
    expect("reasoning of earlier replies" in played.notes, "it was not reported what was given up")


BEHAVIOURS: tuple[Behaviour, ...] = (
    Behaviour("a signature inside each tool call", "Gemini", always(gemini), step),
    Behaviour("the same in a stream", "Gemini", always(gemini_streamed), step),
    Behaviour("a turn of another model, unsigned", "Gemini", always(gemini), of_others),
    Behaviour("reasoning_content must come back", "DeepSeek", always(deepseek_untouched), step),
    Behaviour("a turn of another model, without reasoning", "DeepSeek", always(deepseek), of_others),
    Behaviour("reasoning_details, in pieces of a stream", "OpenRouter", always(openrouter), step),
    Behaviour("thinking parts must come back", "Mistral", always(mistral), step),
    Behaviour("thinking between calls must come back", "vLLM", always(interleaved), step),
    Behaviour("a field it sends but does not accept", "Groq", always(groq), step, dropped),
    Behaviour("no tools with reasoning on chat", "OpenAI", openai, step, on_responses),
    Behaviour(
        "Responses as a stream without output at its end", "OpenAI", lambda: openai(streamed=True), step, on_responses
    ),
    Behaviour("items under names are not found", "OpenAI", lambda: openai(strict_ids=True), step, on_responses),
    Behaviour("no tools with reasoning, and no Responses", "a proxy", always(chat_without_reasoning), step),
    # A model that does not reason has no encrypted reasoning to carry along.
    Behaviour("no encrypted content with this model", "OpenAI", lambda: openai(encrypted=False), step),
)
