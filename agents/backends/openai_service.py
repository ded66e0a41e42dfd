"""Client of any OpenAI-compatible service, by chat completions or the Responses API, whatever features it supports.

Refused requests are simplified, temporary failures retried, truncated replies recognised; only a service that cannot
answer at all is lost. This is the only file that imports openai. The key appears in no message, repr or log.
"""

from __future__ import annotations

import difflib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import openai
from pydantic import ValidationError

from agents.backends import chat_format, responses_format
from agents.backends.base import (
    DEFAULT_URL,
    SHORTEST_SECRET,
    Backend,
    BackendLost,
    Message,
    Quota,
    QuotaSpent,
    Reply,
    Request,
    Usage,
    Wire,
)
from agents.backends.dialect import Dialect, steps
from agents.backends.failures import Failure, inside_an_answer, of_status
from agents.backends.price import Price
from agents.backends.shorten import shortened
from agents.backends.streams import Cut, Stalled, Watch, events_of, whole_answer, with_limit
from tools.contract import problems

WORDS = 300  # characters kept of a service's message
MOST_ROOM = 16  # maximum factor on the reply limit for a model that reasons
EMPTY_TRIES = 2  # retries after empty replies
OPENAI = "api.openai.com"  # its recent models require the Responses API for tools
FORMATS = {"chat": chat_format, "responses": responses_format}


class OpenAIService(Backend):
    """A model behind a service. Without a key, only services that need none will answer.

    `timeout` limits the silence before the first text, `stall` each one after it, `max_retries` the number of retries.
    `api_key_env` is only named in messages, to tell the operator where to put the key. `watch` is called with each
    piece of text as it arrives. `pictures`: figures are shown until the service refuses one.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key: str | None = None,
        price: Price | None = None,
        timeout: float = 120.0,
        max_retries: int = 6,
        *,
        stall: float = 30.0,
        api_key_env: str = "OPENAI_API_KEY",
        pictures: bool = True,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.model = model
        self.base_url = _checked_url(base_url or DEFAULT_URL)
        self.price = price
        self.max_retries = max_retries
        self.watch: Watch | None = None
        self._key = _checked_key(api_key, api_key_env)
        self._key_env = api_key_env
        self._sleep = sleep
        self._timeout, self._stall = timeout, min(stall, timeout)
        host = urlsplit(self.base_url).hostname
        self._source = f"{host}/{model}"
        self._dialect = Dialect(wire="responses" if host == OPENAI else "chat", pictures=pictures)
        self._said: set[str] = set()
        self._lock = threading.Lock()
        self._client = openai.OpenAI(
            api_key=self._key or "none", base_url=self.base_url, timeout=timeout, max_retries=0
        )

    def __repr__(self) -> str:
        return f"OpenAIService({self.model!r}, {self.base_url!r})"

    @property
    def name(self) -> str:
        return f"openai:{self.model}"

    @property
    def is_llm(self) -> bool:
        return True

    @property
    def dialect(self) -> Dialect:
        """Features that the service was found to support."""
        return self._dialect

    def complete(self, request: Request) -> Reply:
        """Return one reply; features that the service turns out to lack are remembered for the next one."""
        dialect, notes, spent, failures, empty = self._dialect, list[str](), Usage(), 0, 0
        refused: set[str] = set()
        asked = request
        while True:
            body = FORMATS[dialect.wire].to_body(asked, self.model, dialect, self._source)
            try:
                answer = self._answer(dialect.wire, body, asked)
            except BackendLost as error:
                error.usage += spent
                raise
            if isinstance(answer, Reply):
                spent += answer.usage
                silent = not answer.message.content and not answer.message.tool_calls
                if silent and answer.finish == "length" and dialect.room < MOST_ROOM and dialect.most_tokens is None:
                    dialect = replace(dialect, room=4 * dialect.room)
                    notes.append(f"replies get {dialect.room} times the limit: reasoning used up all of it")
                elif silent and answer.finish != "length" and empty < EMPTY_TRIES:
                    empty += 1
                else:
                    return self._finished(answer, dialect, notes, spent)
                continue
            if answer.kind == "broken":  # what was written before the break is paid for, and unknown
                spent += chat_format.unread(None, body, self.price)
            if answer.flagged:
                return self._unanswered(answer, "content_filter", notes, spent)
            if answer.too_long:
                if asked is not request or (shorter := shortened(request, answer.words)) is None:
                    return self._unanswered(answer, "length", notes, spent)
                asked = shorter
                notes.append("older results or the reply were shortened: the conversation exceeds the model's context")
                continue
            refused.add(_fingerprint(dialect.wire, body))
            simpler = self._simpler(dialect, answer, body, asked, refused)
            if simpler is not None:
                dialect, given_up = simpler
                notes.append(f"gave up {given_up} ({self._words(answer.words) or 'no message'})")
            elif answer.may_pass and failures < self.max_retries:
                failures += 1
                self._sleep(answer.wait(failures))
            else:
                text = self._explain(answer) + (f", after {failures + 1} tries" if failures else "")
                raise self._lost(text, _quota(answer), spent)

    def models(self) -> list[str]:
        """Return the models that the service lists; empty if it lists none."""
        try:
            page = self._client.with_options(timeout=20.0).models.list()
            return [model.id for model in page.data]
        except (openai.OpenAIError, ValueError, AttributeError, TypeError):
            return []

    def _simpler(
        self, dialect: Dialect, failure: Failure, body: dict[str, Any], request: Request, refused: set[str]
    ) -> tuple[Dialect, str] | None:
        """Return the next fallback whose request has not been refused yet; None if there is none."""
        for step, given_up in steps(dialect, failure, body):
            lighter = FORMATS[step.wire].to_body(request, self.model, step, self._source)
            if _fingerprint(step.wire, lighter) not in refused:
                return step, given_up
        return None

    def _finished(self, reply: Reply, dialect: Dialect, notes: list[str], spent: Usage) -> Reply:
        with self._lock:
            self._dialect = dialect
        return reply.model_copy(update={"usage": spent, "notes": self._new(notes)})

    def _unanswered(self, failure: Failure, finish: str, notes: list[str], spent: Usage) -> Reply:
        """Return a failed reply: it is the model's failure, not a loss of the service, since another could answer."""
        text = f"The service gave no answer: {self._words(failure.words)}"
        message = Message(role="assistant", content=text)
        return Reply(message=message, model=self.model, usage=spent, finish=finish, notes=self._new(notes))

    def _new(self, notes: list[str]) -> tuple[str, ...]:
        """Return the notes that were not reported before."""
        with self._lock:
            new = [note for note in dict.fromkeys(notes) if note.split(" (")[0] not in self._said]
            self._said |= {note.split(" (")[0] for note in new}
        return tuple(new)

    def _answer(self, wire: Wire, body: dict[str, Any], request: Request) -> Reply | Failure:
        """Send a request body and parse the answer. Raises BackendLost if the answer is not from such an API."""
        sent = self._send(wire, body)
        if isinstance(sent, Failure):
            return sent
        said = _document(sent) if isinstance(sent, str) else sent
        if (failure := inside_an_answer(said)) is not None:
            return failure
        read = chat_format.from_answer if wire == "chat" else responses_format.from_answer
        try:
            return read(said, request, self.model, self._source, self.price, body)
        except ValidationError as error:
            wrong = problems(error)[0]
        kind = "chat completion" if wire == "chat" else "response"
        words = self._words(sent if isinstance(sent, str) else json.dumps(sent))
        raise self._lost(
            f"the reply is not a {kind} ({wrong.field or 'body'}: {wrong.said}); is this the base address of the API, "
            f"often ending in /v1? It said: {words}",
            usage=chat_format.unread(said, body, self.price),
        )

    def _send(self, wire: Wire, body: dict[str, Any]) -> str | dict[str, Any] | Failure:
        # Failures are returned: raising BackendLost in the handler would chain the error, which contains the key.
        create: Callable[..., Any] = (
            self._client.chat.completions.with_streaming_response.create
            if wire == "chat"
            else self._client.responses.with_streaming_response.create
        )
        try:
            with create(**body) as response:
                lines = with_limit(response.iter_lines(), self._timeout, self._stall)
                if "event-stream" in response.headers.get("content-type", ""):
                    return whole_answer(events_of(lines), wire, self.watch)
                return "\n".join(lines)
        except openai.APIStatusError as error:
            body_of = error.response.text
            return of_status(error.status_code, _document(body_of), body_of, error.response.headers)
        except (Stalled, openai.APITimeoutError):
            return Failure("silent", f"no answer within {self._timeout:g} s, or {self._stall:g} s of silence")
        except openai.APIConnectionError as error:
            return Failure("unreachable", str(error.__cause__))
        except openai.OpenAIError as error:
            return Failure("status", str(error))
        except (Cut, ValueError) as error:
            return Failure("broken", f"the answer broke off: {error}")

    def _lost(self, text: str, quota: Quota | None = None, usage: Usage | None = None) -> BackendLost:
        text = self._scrub(f"{self.name} at {self.base_url}: {text}")
        error = QuotaSpent(text, quota) if quota else BackendLost(text)
        error.usage = usage or Usage()
        return error

    def _scrub(self, text: str) -> str:
        return text.replace(self._key, "[key]") if len(self._key) >= SHORTEST_SECRET else text

    def _words(self, text: str) -> str:
        """Return a service's own message, scrubbed before it is cut."""
        words = " ".join(self._scrub(text).split())
        return words if len(words) <= WORDS else words[:WORDS] + " ..."

    def _explain(self, failure: Failure) -> str:
        """Explain what happened and what to do about it."""
        if failure.kind == "silent":
            return f"no answer in time; the service is overloaded or the address is wrong ({failure.words})"
        if failure.kind == "unreachable":
            return f"cannot connect ({self._words(failure.words)}); is the service running and the address right?"
        if failure.kind == "broken":
            return self._words(failure.words)
        said = f"(HTTP {failure.status}: {self._words(failure.words)})"
        if failure.spent:
            return f"the account has no credit or quota left: top it up, or wait until it refills {said}"
        if failure.status in (401, 403):
            fault = "the key was refused" if self._key else "a key is required but none was given"
            return f"{fault}: put a valid one in {self._key_env} {said}"
        if failure.status == 404:
            return f"no model {self.model!r}, or no API at this address: {self._models_in_words()} {said}"
        if failure.status == 429:
            return f"too many requests: wait, or raise the account's limits {said}"
        if failure.status >= 500:
            return f"the service has failed: try again later {said}"
        return f"the request was refused {said}"

    def _models_in_words(self) -> str:
        models = self.models()
        if not models:
            return "it lists no models; the address often ends in /v1"
        models.sort(key=lambda model: difflib.SequenceMatcher(None, model, self.model).ratio(), reverse=True)
        return "it has " + ", ".join(models[:10]) + (f" and {len(models) - 10} more" if len(models) > 10 else "")


def _quota(failure: Failure) -> Quota | None:
    """Return the quota that a failure says is spent; None for other failures."""
    if not failure.spent:
        return None
    return Quota(refills=time.time() + failure.asked_wait if failure.asked_wait else None)


def _fingerprint(wire: Wire, body: dict[str, Any]) -> str:
    return f"{wire} {json.dumps(body, sort_keys=True)}"


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
        raise ValueError(
            f"base_url: {parts.scheme}://{parts.hostname or ''} ... is not http(s)://host[:port]/path, "
            "without user, password or query"
        )
    return url.rstrip("/")


def _checked_key(key: str | None, env: str) -> str:
    key = (key or "").strip()
    if not re.fullmatch(r"[!-~]*", key):
        raise ValueError(f"api_key: the value of {env} contains spaces or non-ASCII characters")
    return key


def _document(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
