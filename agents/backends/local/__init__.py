"""A small language model in this process: real, free, without a key; a grammar ensures the form of every reply."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence

from jinja2 import TemplateError

from agents.backends.base import Backend, BackendLost, Message, Reply, Request, Usage
from agents.backends.local import grammar, prompt
from agents.backends.local.engine import Engine, load
from agents.backends.local.files import HELP, model_file
from agents.backends.price import Price

Turns = Sequence[dict[str, str]]
FREE = Price(prompt=0, completion=0)
ROOM = 64  # minimum tokens of a reply
BLOCK = 8  # messages left out at a time, so that prompts keep the same beginning for some turns
THREADS = 4  # more hardly help a model of this size


class Local(Backend):
    """`local:NAME`: a packaged model or a GGUF file. Raises ValueError for the operator when it is not available.

    At temperature 0 it gives the likeliest reply, else one sampled with the request's seed: the same on every call.
    """

    price = FREE

    def __init__(self, model: str, threads: int | None = None) -> None:
        if importlib.util.find_spec("llama_cpp") is None:
            raise ValueError(f"backend: local:{model} needs llama-cpp-python: {HELP}")
        self._name = f"local:{model}"
        path = model_file(model)
        self._file = path.name
        self._engine = load(path.resolve(), threads or default_threads())
        self._as_text = _chat_format(self._engine)

    @property
    def name(self) -> str:
        return self._name

    @property
    def is_llm(self) -> bool:
        return True

    def complete(self, request: Request) -> Reply:
        """Return one reply. If a conversation exceeds the context, earlier results are left out; if it still does not
        fit, the reply says so: this is the model's failure, since a larger one could have answered."""
        tokens = self._fitting(request)
        room = self._engine.context - len(tokens)
        if room < ROOM:
            text = f"the request has {len(tokens)} tokens; the context of this model has {self._engine.context}"
            return self._reply(Message(role="assistant", content=text), len(tokens), 0, "length")
        limit = min(request.max_tokens, room)
        said = prompt.last_words(request)
        form = _form(request, limit)
        try:
            done = self._engine.generate(tokens, form, limit, request.temperature, request.seed, said)
        except RuntimeError as error:  # from llama.cpp: most likely out of memory
            raise BackendLost(f"{self._name}: {error}") from None
        number = len(request.messages)
        message = prompt.read_call(done.text, number) if request.tools else Message(role="assistant", content=done.text)
        return self._reply(message, len(tokens), done.tokens, "stop" if done.ended else "length")

    def _reply(self, message: Message, read: int, written: int, finish: str) -> Reply:
        usage = Usage(prompt_tokens=read, completion_tokens=written)
        return Reply(message=message, model=self._file, usage=usage, finish=finish)

    def _fitting(self, request: Request) -> list[int]:
        """Return the prompt's tokens, with as much of the conversation as leaves room for a reply."""
        wanted = self._engine.context - min(request.max_tokens, self._engine.context // 8)
        tokens: list[int] = []
        for left_out in range(0, len(request.messages) + BLOCK, BLOCK):
            tokens = self._engine.tokens(self._as_text(prompt.turns(request, left_out)))
            if len(tokens) <= wanted:
                break
        return tokens


def _chat_format(engine: Engine) -> Callable[[Turns], str]:
    """Return the function that formats a conversation: the model's template, with or without a system message, or
    plain text."""
    if engine.template is None:
        return prompt.plain
    probe = [{"role": role, "content": role} for role in ("system", "user", "assistant", "user")]
    for arranged in (list, prompt.without_system):
        try:
            engine.chat(arranged(probe))
        except (ValueError, TemplateError):
            continue
        return lambda turns, arranged=arranged: engine.chat(arranged(turns))  # type: ignore[misc]
    return prompt.plain


def default_threads() -> int:
    """Return OMP_NUM_THREADS if it is set, else the number of available CPUs, at most THREADS."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else min(THREADS, len(os.sched_getaffinity(0)))


def _form(request: Request, max_tokens: int) -> str | None:
    """Return the grammar of the reply. A string has at most half as many characters as the reply has tokens: about an
    eighth of the reply, so that one string cannot use it up."""
    longest = max(max_tokens // 2, 16)
    if request.tools:
        return grammar.call_grammar(request.tools, longest)
    return None if request.response_schema is None else grammar.reply_grammar(request.response_schema, longest)
