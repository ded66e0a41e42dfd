"""Failures of a service, classified by what can be done about them. No network here."""

from __future__ import annotations

import email.utils
import json
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

LONGEST_WAIT = 60.0  # maximum seconds between two tries, whatever the service asks for
QUOTA_WAIT = 900.0  # seconds; no limit on the rate of requests asks to wait this long, so a quota is spent
TOO_LONG = re.compile(
    r"context.{0,20}(length|window|size|limit)|prompt is too long|too many (input |prompt )?tokens|input token count|"
    r"too large for model|maximum number of tokens allowed|exceed.{0,20}context|request too large|prompt too long",
    re.IGNORECASE,
)
FLAGGED = re.compile(
    r"content.?(filter|policy|management)|flagged|content exists risk|policy_violation|invalid_prompt|"
    r"violat\w+.{0,40}polic|prohibited_content|data_inspection",
    re.IGNORECASE,
)
SPENT = re.compile(
    r"per.?day|daily|insufficient.{0,3}(quota|balance|credit|funds)|out of credit|billing.{0,10}limit", re.I
)
IN_WORDS = re.compile(
    r"(?:try again|retry)\w* (?:in|after) (?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)(ms|s))?", re.IGNORECASE
)
DELAY = re.compile(r'"retryDelay":\s*"(\d+(?:\.\d+)?)s"')
Kind = Literal["status", "silent", "unreachable", "broken"]


@dataclass(frozen=True)
class Failure:
    """The reason why there is no reply. `status` is that of HTTP, or the one named by an error inside a 200."""

    kind: Kind
    words: str
    status: int = 0
    code: str = ""
    param: str = ""
    asked_wait: float | None = None

    @property
    def complaint(self) -> str:
        """The service's message about an unsupported feature ('' for other failures); some use 404, 405 or 500."""
        return f"{self.param} {self.words}" if self.status in (400, 404, 405, 413, 415, 422, 500, 501) else ""

    @property
    def too_long(self) -> bool:
        return self.status in (400, 413, 422, 500) and bool(TOO_LONG.search(self._said))

    @property
    def flagged(self) -> bool:
        """True if the service refuses the request because of its content."""
        return self.status in (400, 403, 422) and bool(FLAGGED.search(self._said))

    @property
    def spent(self) -> bool:
        """True if credit or the daily quota is used up: only money or hours help."""
        far = self.status == 429 and self.asked_wait is not None and self.asked_wait >= QUOTA_WAIT
        return far or self.status == 402 or (self.status in (403, 429) and bool(SPENT.search(self._said)))

    @property
    def _said(self) -> str:
        return f"{self.code} {self.words}"

    @property
    def may_pass(self) -> bool:
        if self.kind == "status":
            return (self.status in (408, 409, 425, 429) or self.status >= 500) and not self.spent
        return True

    def wait(self, failures: int) -> float:
        """Return the seconds to wait: as the service asks, else 1, 2, 4 ... with jitter."""
        if self.asked_wait is not None:
            return min(max(self.asked_wait, 0.0), LONGEST_WAIT)
        return min(2.0 ** (failures - 1), LONGEST_WAIT) * random.uniform(0.5, 1.0)


def of_status(status: int, body: Any, text: str, headers: Mapping[str, str]) -> Failure:
    """Return the failure for an answer with an error status."""
    error = _error(body)
    words = error.get("message")
    return Failure(
        "status",
        words if isinstance(words, str) else text,
        status,
        _name(error.get("code")) or _name(error.get("type")) or _name(error.get("status")),
        _name(error.get("param")),
        _wait(headers, text),
    )


def inside_an_answer(document: Any) -> Failure | None:
    """Return the error that an answer with a success status contains instead of a reply; None if there is none."""
    choices = document.get("choices") if isinstance(document, dict) else None
    holders = [document, *(choices if isinstance(choices, list) else [])]
    for holder in holders:
        error = _error(holder, wrapped=True)
        if error:
            status = error.get("code") if isinstance(error.get("code"), int) else error.get("status_code")
            known = status if isinstance(status, int) and status >= 400 else _status_of(error)
            return of_status(known, {"error": error}, json.dumps(error), {})
    return None


def _status_of(error: dict[str, Any]) -> int:
    """Return the HTTP status for an error without a number, from its kind."""
    kind = f"{error.get('code')} {error.get('type')} {error.get('status')}"
    if re.search(r"rate_?limit|RESOURCE_EXHAUSTED|too_many", kind, re.IGNORECASE):
        return 429
    return 400 if re.search(r"invalid|bad_?request|unsupported|not_supported", kind, re.IGNORECASE) else 500


def _error(body: Any, wrapped: bool = False) -> dict[str, Any]:
    """Return the error of a body: `{"error": {...}}`, the same in a list, or, unless `wrapped`, the body itself."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return {}
    error = body.get("error")
    if isinstance(error, str) and error:
        return {"message": error}
    if isinstance(error, dict):
        return error
    return {} if wrapped else body


def _name(value: Any) -> str:
    return str(value) if isinstance(value, str | int) and value else ""


def _wait(headers: Mapping[str, str], text: str) -> float | None:
    """Return the seconds that the service asks to wait, in a header, a field or its message; None if it does not."""
    milliseconds, asked = headers.get("retry-after-ms", ""), headers.get("retry-after", "")
    if re.fullmatch(r"\d+(\.\d+)?", milliseconds):
        return float(milliseconds) / 1000
    if re.fullmatch(r"\d+(\.\d+)?", asked):
        return float(asked)
    date = email.utils.parsedate_tz(asked)
    if date is not None:
        return email.utils.mktime_tz(date) - time.time()
    if found := DELAY.search(text):
        return float(found[1])
    found = IN_WORDS.search(text)
    if found and any(found.groups()):
        hours, minutes, seconds = (float(part or 0) for part in found.groups()[:3])
        return 3600 * hours + 60 * minutes + seconds * (0.001 if found[4] == "ms" else 1)
    return None
