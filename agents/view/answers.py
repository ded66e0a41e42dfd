"""The answers of the web view to addresses and to what is posted to them, without a socket."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import ValidationError

from agents.backends.base import BackendLost
from agents.backends.select import secrets
from agents.trace.blobs import Redactor, TraceError
from agents.trace.events import AnyEvent
from agents.view.blocks import blocks_of
from agents.view.compare import compare
from agents.view.desk import Desk, House, offer
from agents.view.handles import Handles
from agents.view.library import Library, Trace, UnknownRun
from agents.view.overview import Cards, overview_of, plots_of
from agents.view.pictures import is_png
from agents.view.rows import rows_of
from agents.view.standing import standing
from sandbox.driver import SandboxLost
from tools.contract import ToolError, problems

# No external content, no inline scripts, and no text may become mark-up even by mistake.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
NOTHING = "default-src 'none'; frame-ancestors 'none'; sandbox"  # text from models is shown but cannot do anything
STATIC = files("agents.view") / "static"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
RAW_MAX = 64 << 20  # bytes of the largest blob that is sent
FOREVER = "private, max-age=31536000, immutable"


@dataclass(frozen=True)
class Answer:
    """An HTTP response to the browser."""

    status: int
    type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):  # noqa: N818 - becomes an answer
    """The request is refused, with an HTTP status and a text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Answers:
    """The pages, their data, and the blobs of the runs below one folder."""

    def __init__(self, library: Library, house: House | None = None) -> None:
        """`house`: what the operator has decided for runs of the pages; without it they are read-only."""
        self._library, self._cards = library, Cards(library)
        self._handles, self._house = Handles(library, outlive=True), house
        self._desk = Desk(self._handles, house) if house else None
        self._drawing = threading.Lock()  # matplotlib's settings are shared by all threads

    def answer(self, target: str) -> Answer:
        """Return the answer to GET `target`. Errors in the data become answers too; bugs are raised."""
        try:
            address = urlsplit(target)
            parts = [unquote(part, errors="strict") for part in address.path.split("/")[1:]]
            query = {name: values[-1] for name, values in parse_qs(address.query, max_num_fields=9).items()}
            return self._route(parts, query)
        except Refused as refused:
            return _json({"error": str(refused)}, refused.status)
        except UnknownRun as error:
            return _json({"error": str(error)}, 404)
        except TraceError as error:
            return _json({"error": str(error)}, 422)
        except OSError as error:
            return _json({"error": f"cannot be read: {error.strerror}"}, 422)
        except ValueError:
            return _json({"error": "not an address"}, 400)

    def take(self, target: str, body: bytes) -> Answer:
        """Return the answer to POST `target`. Whatever the person can correct becomes an answer; bugs are raised."""
        if self._desk is None:
            return _json({"error": "this view is read-only"}, 403)
        try:
            parts = [unquote(part, errors="strict") for part in urlsplit(target).path.split("/")[1:]]
            done = self._desk.take(parts, body)
            return _json({"error": "nothing is done here"}, 404) if done is None else _json(done)
        except ValidationError as error:
            wrong = problems(error)[0]
            return _json({"error": f"{'.'.join(map(str, wrong.place)) or 'body'}: {wrong.said}"}, 422)
        except (ValueError, OSError, TraceError, BackendLost, SandboxLost) as error:
            return _json({"error": Redactor(secrets()).text(str(error))}, 422)

    def _route(self, parts: list[str], query: dict[str, str]) -> Answer:
        match parts:
            case [""] | ["compare"] | ["start"] | ["runs", _]:
                return _static("index.html", {"Content-Security-Policy": POLICY})
            case ["static", name]:
                return _static(name, {})
            case ["api", "runs"]:
                acts = self._desk is not None
                return _json({"folder": str(self._library.folder), "acts": acts, "runs": self._cards.all()})
            case ["api", "start"]:
                return _json(offer(self._house))
            case ["api", "runs", name, "desk"]:
                return self._standing(name)
            case ["api", "runs", name]:
                return self._run(name, query)
            case ["api", "runs", name, "events", index] if index.isascii() and index.isdecimal():
                return self._event(name, int(index))
            case ["api", "compare"]:
                left, right = (self._library.trace(query.get(side, "")) for side in ("a", "b"))
                return _json(compare(left, right))
            case ["runs", name, "events", index, "plots", plot] if index.isascii() and index.isdecimal():
                return self._plot(name, int(index), plot)
            case ["runs", name, "plots", plot]:
                return self._plot(name, None, plot)
            case ["runs", name, "blobs", sha]:
                return self._blob(name, sha)
        raise Refused(404, "no such page")

    def _run(self, name: str, query: dict[str, str]) -> Answer:
        """Return the overview and the rows from `after` on; only the stamp if the page has the current trace."""
        trace = self._library.trace(name)
        stamp = "-".join(map(str, trace.stamp))
        if query.get("stamp") == stamp:
            return _json({"stamp": stamp})
        rows = rows_of(trace.events)[max(0, int(query.get("after", "0"))) :]
        return _json({"stamp": stamp, "overview": overview_of(trace), "rows": rows, "total": len(trace.events)})

    def _standing(self, name: str) -> Answer:
        try:
            handle = self._handles.find(name)
        except ToolError:
            raise UnknownRun(f"there is no run {name!r}") from None
        return _json(standing(self._handles, handle) | {"offer": offer(self._house)})

    def _event(self, name: str, index: int) -> Answer:
        trace = self._library.trace(name)
        event = _found(trace, index)
        return _json({"n": index, "kind": event.kind, "time": event.time, "blocks": blocks_of(trace, event)})

    def _plot(self, name: str, index: int | None, plot: str) -> Answer:
        """Return a plot of the run's task: of one event, or of the whole run."""
        from tasks.plotting import png  # matplotlib takes half a second to import

        trace = self._library.trace(name)
        event = None if index is None else _found(trace, index)
        found = next((one for one in plots_of(trace, event) if f"{one.name}.png" == plot), None)
        with self._drawing:
            drawn = found.draw() if found else None
            picture = png(drawn) if drawn else None
        if picture is None:
            raise Refused(404, "no such plot")
        return Answer(200, "image/png", picture, {"Content-Security-Policy": NOTHING})

    def _blob(self, name: str, sha: str) -> Answer:
        blobs = self._library.trace(name).blobs
        size = blobs.size(sha)
        if size > RAW_MAX:
            raise Refused(413, f"{size} bytes: too big to send; it is in the run's folder")
        data = blobs.get(sha)
        headers = {"Content-Security-Policy": NOTHING, "Cache-Control": FOREVER}
        if is_png(data):
            return Answer(200, "image/png", data, headers)
        try:
            data.decode()
        except UnicodeDecodeError:
            headers |= {"Content-Disposition": f'attachment; filename="{sha}.bin"'}
            return Answer(200, "application/octet-stream", data, headers)
        return Answer(200, "text/plain; charset=utf-8", data, headers)


def locked() -> Answer:
    """Return the page for requests without the token."""
    policy = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    page = (STATIC / "locked.html").read_bytes()
    return Answer(403, "text/html; charset=utf-8", page, {"Content-Security-Policy": policy})


def _found(trace: Trace, index: int) -> AnyEvent:
    try:
        return trace.event(index)
    except LookupError as error:
        raise Refused(404, str(error)) from None


def _static(name: str, headers: Mapping[str, str]) -> Answer:
    there = {entry.name: entry for entry in STATIC.iterdir() if entry.is_file()}
    if name not in there:
        raise Refused(404, "no such page")
    kind = TYPES[name[name.rindex(".") :]]
    return Answer(200, f"{kind}; charset=utf-8", there[name].read_bytes(), headers)


def _json(value: Any, status: int = 200) -> Answer:
    text = json.dumps(_finite(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Answer(status, "application/json", text.encode())


def _finite(value: Any) -> Any:
    """Replace NaN and infinity by None: JSON in browsers has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


Answering = Callable[[str], Answer]
Taking = Callable[[str, bytes], Answer]
