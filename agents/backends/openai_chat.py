"""Any OpenAI-compatible service: bounded retries, and failures put in words an operator can act on.

The only file that imports openai. The key appears in no message, repr or log.
"""

from __future__ import annotations

import difflib
import email.utils
import random
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import openai
from pydantic import ValidationError

from agents.backends.base import DEFAULT_URL, SHORTEST_SECRET, Backend, BackendLost, Reply, Request
from agents.backends.chat_format import Dialect, from_text, to_body
from agents.budget import Price

LONGEST_WAIT = 60.0  # seconds between two tries, whatever the service asks for
WORDS = 300  # characters kept of what a service says


class OpenAIChat(Backend):
    """A model behind chat completions. Without a key, only services that want none will answer.

    `timeout` bounds each silence of the service, `max_retries` the tries after the first one.
    `api_key_env` is only named in messages: where the operator puts the key.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key: str | None = None,
        price: Price | None = None,
        timeout: float = 120.0,
        max_retries: int = 4,
        *,
        api_key_env: str = "OPENAI_API_KEY",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.model = model
        self.base_url = _checked_url(base_url or DEFAULT_URL)
        self.price = price
        self.max_retries = max_retries
        self._key = _checked_key(api_key, api_key_env)
        self._key_env = api_key_env
        self._sleep = sleep
        self._dialect = Dialect()
        self._client = openai.OpenAI(
            api_key=self._key or "none", base_url=self.base_url, timeout=timeout, max_retries=0
        )

    def __repr__(self) -> str:
        return f"OpenAIChat({self.model!r}, {self.base_url!r})"

    @property
    def name(self) -> str:
        return f"openai:{self.model}"

    @property
    def is_llm(self) -> bool:
        return True

    def complete(self, request: Request) -> Reply:
        """One reply; what the service was found not to understand is remembered for the next."""
        dialect, failures = self._dialect, 0
        while True:
            body = to_body(request, self.model, dialect)
            answer = self._send(body)
            if isinstance(answer, str):
                self._dialect = dialect
                return self._read(answer, request)
            simpler = dialect.without(_complaint(answer), body)
            if simpler is not None:
                dialect = simpler
            elif _may_pass(answer) and failures < self.max_retries:
                failures += 1
                self._sleep(_wait(answer, failures))
            else:
                raise self._lost(self._explain(answer) + (f", after {failures + 1} tries" if failures else ""))

    def models(self) -> list[str]:
        """Models the service says it has; none where it does not say."""
        try:
            page = self._client.with_options(timeout=20.0).models.list()
            return [model.id for model in page.data]
        except (openai.OpenAIError, ValueError, AttributeError, TypeError):
            return []

    def _send(self, body: dict[str, Any]) -> str | openai.OpenAIError:
        # The error is returned: raising BackendLost in its handler would chain it, and it holds the key.
        try:
            create: Callable[..., Any] = self._client.chat.completions.with_raw_response.create
            text: str = create(**body).text
            return text
        except openai.OpenAIError as error:
            return error

    def _read(self, text: str, request: Request) -> Reply:
        try:
            return from_text(text, request, self.model, self.price)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        raise self._lost(
            f"the reply is no chat completion ({place}: {first['msg']}); is this the base address of the API, "
            f"often ending in /v1? It said: {self._words(text)}"
        )

    def _lost(self, text: str) -> BackendLost:
        return BackendLost(self._scrub(f"{self.name} at {self.base_url}: {text}"))

    def _scrub(self, text: str) -> str:
        return text.replace(self._key, "[key]") if len(self._key) >= SHORTEST_SECRET else text

    def _words(self, text: str) -> str:
        """A service's own words, scrubbed before they are cut."""
        words = " ".join(self._scrub(text).split())
        return words if len(words) <= WORDS else words[:WORDS] + " ..."

    def _explain(self, error: openai.OpenAIError) -> str:
        """What happened and what to do about it."""
        if isinstance(error, openai.APITimeoutError):
            return "no answer in time; the service is overloaded or the address is wrong"
        if isinstance(error, openai.APIConnectionError):
            return f"cannot connect ({self._words(str(error.__cause__))}); is the service up, the address right?"
        if not isinstance(error, openai.APIStatusError):
            return self._words(str(error))
        said = f"(HTTP {error.status_code}: {self._words(_said(error))})"
        if error.status_code in (401, 403):
            fault = "the key was refused" if self._key else "a key is wanted and none was given"
            return f"{fault}: put a valid one in {self._key_env} {said}"
        if error.status_code == 402 or error.code == "insufficient_quota":
            return f"the account has no credit left: top it up {said}"
        if error.status_code == 404:
            return f"no model {self.model!r}, or no API at this address: {self._models_in_words()} {said}"
        if error.status_code == 429:
            return f"too many requests: wait, or raise the account's limits {said}"
        if error.status_code >= 500:
            return f"the service fails: try again later {said}"
        return f"the request was refused {said}"

    def _models_in_words(self) -> str:
        models = self.models()
        if not models:
            return "it lists no models; the address often ends in /v1"
        models.sort(key=lambda model: difflib.SequenceMatcher(None, model, self.model).ratio(), reverse=True)
        return "it has " + ", ".join(models[:10]) + (f" and {len(models) - 10} more" if len(models) > 10 else "")


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
        raise ValueError(f"api_key: the value of {env} has blanks or characters that are not ASCII")
    return key


def _said(error: openai.APIStatusError) -> str:
    """The message the protocol has a place for, or else the raw text."""
    message = error.body.get("message") if isinstance(error.body, dict) else None
    return message if isinstance(message, str) else error.response.text


def _complaint(error: openai.OpenAIError) -> str:
    """What a service says it does not understand; llama-cpp-python says so with status 500."""
    if isinstance(error, openai.APIStatusError) and error.status_code in (400, 422, 500):
        return f"{error.param} {_said(error)}"
    return ""


def _may_pass(error: openai.OpenAIError) -> bool:
    if isinstance(error, openai.APIStatusError):
        passing = error.status_code in (408, 409, 429) or error.status_code >= 500
        return passing and error.code != "insufficient_quota"
    return isinstance(error, openai.APIConnectionError)


def _wait(error: openai.OpenAIError, failures: int) -> float:
    """Seconds to wait: what the service asks for, else 1, 2, 4 ... with jitter."""
    asked = error.response.headers.get("retry-after", "") if isinstance(error, openai.APIStatusError) else ""
    if re.fullmatch(r"\d+(\.\d+)?", asked):
        return min(float(asked), LONGEST_WAIT)
    date = email.utils.parsedate_tz(asked)
    if date is not None:
        return min(max(email.utils.mktime_tz(date) - time.time(), 0.0), LONGEST_WAIT)
    return min(2.0 ** (failures - 1), LONGEST_WAIT) * random.uniform(0.5, 1.0)
