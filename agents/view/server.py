"""The web server of the view: loopback only, GET and HEAD only, with a host name of this machine and a session token.

Other users of the machine can reach loopback too. The operator is told an address with a token; the first answer to it
gives the browser a cookie, so that links and addresses without the token work from then on. Browsers send cookies to
all ports of this machine, so another user's server may see it. Therefore the kernel must also identify the process at
the other end of the connection as the operator's.
"""

from __future__ import annotations

import hmac
import logging
import os
import re
import secrets
import socket
import sys
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from agents.view.answers import NOTHING, Answer, Answering, Answers, locked
from agents.view.library import Library

ADDRESS = "127.0.0.1"
CONNECTIONS = Path("/proc/net/tcp")
# Any port, since a tunnel may use another one. Other host names are refused, against DNS rebinding.
OWN_NAMES = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
BY_DEFAULT = {"Content-Security-Policy": NOTHING, "Cache-Control": "no-store"}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "beamcrew", ""
    timeout = 60
    server: Server

    def do_GET(self) -> None:
        self._reply(with_body=True)

    def do_HEAD(self) -> None:
        self._reply(with_body=False)

    def _not_allowed(self) -> None:
        self.close_connection = True  # the request's body is not read
        self._send(Answer(405, "text/plain", b"only GET and HEAD\n", {"Allow": "GET, HEAD"}), with_body=True)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _not_allowed  # noqa: N815

    def _reply(self, with_body: bool) -> None:
        hosts = self.headers.get_all("Host") or []
        if not is_ours(self.client_address, self.server.server_address):
            self.close_connection = True
            self._send(Answer(403, "text/plain", b"this server answers only to the user who started it\n"), with_body)
            return
        if len(hosts) != 1 or not OWN_NAMES.fullmatch(hosts[0].strip()) or not self.path.startswith("/"):
            self.close_connection = True
            self._send(Answer(403, "text/plain", b"this server answers only to names of this machine\n"), with_body)
            return
        try:
            answer = self.server.answers(self.path) if self._may_read() else locked()
        except Exception:
            logging.getLogger(__name__).exception("%s", urlsplit(self.path).path)
            answer = Answer(500, "text/plain", b"a bug in the view; see the terminal\n")
        self._send(answer, with_body)

    def _may_read(self) -> bool:
        """Return True with the token or its cookie, or for static files, which the page without a token needs."""
        return self.path.startswith("/static/") or self._named() or self._is_token(self._cookie())

    def _named(self) -> bool:
        """Return True if the address has the token."""
        try:
            named = parse_qs(urlsplit(self.path).query, max_num_fields=9).get("token", [""])
        except ValueError:
            return False
        return self._is_token(named[-1])

    def _cookie(self) -> str:
        try:
            found = SimpleCookie(self.headers.get("Cookie", "")).get(self.server.cookie)
        except CookieError:
            return ""
        return found.value if found else ""

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(errors="replace"), self.server.token.encode())

    def _send(self, answer: Answer, with_body: bool) -> None:
        self.send_response(answer.status)
        headers = {"Content-Type": answer.type, "Content-Length": str(len(answer.body))}
        for name, value in (headers | ALWAYS | BY_DEFAULT | dict(answer.headers)).items():
            self.send_header(name, value)
        if answer.status == 200 and self._named():
            # Lax: reports, which have another origin, link here.
            cookie = f"{self.server.cookie}={self.server.token}; Path=/; HttpOnly; SameSite=Lax"
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        if with_body:
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a polling page would fill the terminal."""


def is_ours(client: tuple[Any, ...], server: tuple[Any, ...]) -> bool:
    """Return True if the process at the other end of a loopback connection belongs to this user or to root.

    The kernel's table has addresses in native byte order, and the user of each end.
    """
    here, there = (
        f"{int.from_bytes(socket.inet_aton(a), sys.byteorder):08X}:{port:04X}" for a, port in (client, server)
    )
    for line in CONNECTIONS.read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1:3] == [here, there]:
            return int(fields[7]) in (os.geteuid(), 0)
    return False


class Server(ThreadingHTTPServer):
    """The view of one folder of runs. Raises OSError when the port is taken."""

    daemon_threads = True

    def __init__(self, folder: Path, port: int) -> None:
        self.answers: Answering = Answers(Library(folder)).answer
        self.token = secrets.token_urlsafe(24)
        super().__init__((ADDRESS, port), Handler)

    @property
    def cookie(self) -> str:
        """Name of the cookie, with the port: ports share cookies, and two views need two names."""
        return f"beamcrew-{self.server_port}"

    def address(self, path: str = "/") -> str:
        """Return the address of a page, with the token."""
        return f"http://{ADDRESS}:{self.server_port}{path}?token={self.token}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore browsers that disconnect in the middle of an answer."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)
