"""A chat-completions service on loopback that answers from a script and keeps what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What the service says to one request; `body` goes out as JSON unless it is text."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


def completion(content: str | None = "hello", finish: str = "stop", **more: Any) -> Answer:
    """A completion as the API documents it; `more` goes into its message, or replaces `usage`."""
    usage = more.pop("usage", {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200})
    message = {"role": "assistant", "content": content, **more}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    return Answer(
        {"id": "c1", "object": "chat.completion", "created": 1, "model": "m-1", "choices": [choice], "usage": usage}
    )


def refusal(status: int, message: str, headers: dict[str, str] | None = None, **more: Any) -> Answer:
    """An error as the API documents it."""
    error = {"message": message, "type": "error", "param": None, "code": None, **more}
    return Answer({"error": error}, status, headers or {})


class Service:
    """Answers come in order; the last one is repeated."""

    def __init__(self) -> None:
        self.answers: list[Answer] = [completion()]
        self.models: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.url = ""

    def next(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def running() -> Iterator[Service]:
    """A service that stops at the end of the block."""
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/chat/completions"
            service.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            service.keys.append(self.headers["Authorization"])
            self._reply(service.next())

        def do_GET(self) -> None:
            assert self.path == "/v1/models"
            self._reply(Answer({"object": "list", "data": [{"id": m, "object": "model"} for m in service.models]}))

        def _reply(self, answer: Answer) -> None:
            time.sleep(answer.delay)
            text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
            self.send_response(answer.status)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(text.encode()))} | answer.headers
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that timed out has hung up."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
