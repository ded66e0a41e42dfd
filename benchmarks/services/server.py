"""A loopback service whose answers come from a function: in one piece, or as a stream with pauses and breaks."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


@dataclass
class Answer:
    """Answer of a service to one request; `body` is sent as JSON unless it is text."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


@dataclass
class Stream:
    """Server-sent events: JSON, or raw lines. `silence` seconds pass after them before the connection ends."""

    events: Sequence[Any]
    done: bool = True
    silence: float = 0.0


Respond = Callable[[str, Json, str | None], Answer | Stream]


@contextmanager
def serving(respond: Respond) -> Iterator[str]:
    """Yield the address, ending in /v1, of a service that stops at the end of the block.

    `respond` gets the path after /v1, the body ({} for a GET) and the authorization header.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._reply(respond(self.path.removeprefix("/v1"), body, self.headers["Authorization"]))

        def do_GET(self) -> None:
            self._reply(respond(self.path.removeprefix("/v1"), {}, self.headers["Authorization"]))

        def _reply(self, answer: Answer | Stream) -> None:
            if isinstance(answer, Stream):
                return self._stream(answer)
            time.sleep(answer.delay)
            text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
            self.send_response(answer.status)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(text.encode()))} | answer.headers
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def _stream(self, stream: Stream) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for event in [*stream.events, *(["data: [DONE]"] if stream.done else [])]:
                line = event if isinstance(event, str) else f"data: {json.dumps(event)}"
                self.wfile.write(f"{line}\n\n".encode())
                self.wfile.flush()
            time.sleep(stream.silence)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False  # a silent connection must not delay the end

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Ignore clients that timed out and hung up."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def completion(content: Any = "hello", finish: str | None = "stop", **more: Any) -> Answer:
    """Return a completion as the API documents it; `more` goes into its message, or replaces `usage`."""
    usage = more.pop("usage", {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200})
    message = {"role": "assistant", "content": content, **more}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    return Answer(
        {"id": "c1", "object": "chat.completion", "created": 1, "model": "m-1", "choices": [choice], "usage": usage}
    )


def refusal(status: int, message: str, headers: dict[str, str] | None = None, **more: Any) -> Answer:
    """Return an error as the API documents it."""
    error = {"message": message, "type": "error", "param": None, "code": None, **more}
    return Answer({"error": error}, status, headers or {})
