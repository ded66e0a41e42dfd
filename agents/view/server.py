"""The web server of the view: loopback only, with a host name of this machine and a session token.

Other users of the machine can reach loopback too. The operator is told an address with a token; the first answer to it
gives the browser a cookie, so that links and addresses without the token work from then on. Browsers send cookies to
all ports of this machine, so another user's server may see it. Therefore the kernel must also identify the process at
the other end of the connection as the operator's.

A POST acts, unless the view is read-only. It must also come from a page of this server: browsers say so in `Origin`,
which no page can choose, and a page from elsewhere can send JSON only after asking, which is refused. Its size is
bounded.
"""

from __future__ import annotations

import hmac
import logging
import os
import re
import secrets
import socket
import sys
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from agents.view.answers import NOTHING, Answer, Answering, Answers, Taking, locked
from agents.view.desk import House
from agents.view.library import Library

ADDRESS = "127.0.0.1"
BODY_MAX = 64 << 10  # bytes of a POST
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
        allowed = "GET, HEAD, POST" if self.server.takes else "GET, HEAD"
        self._send(Answer(405, "text/plain", f"only {allowed}\n".encode(), {"Allow": allowed}), with_body=True)

    def do_POST(self) -> None:
        takes = self.server.takes
        if takes is None:
            self._not_allowed()
            return
        refused = self._foreign() or self._not_from_our_page()
        if refused:
            self.close_connection = True
            self._send(refused, with_body=True)
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._send(self._guarded(lambda: takes(self.path, body)), with_body=True)

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _not_allowed  # noqa: N815

    def _reply(self, with_body: bool) -> None:
        refused = self._foreign()
        if refused:
            self.close_connection = True
            self._send(refused, with_body)
            return
        answer = self._guarded(lambda: self.server.answers(self.path)) if self._may_read() else locked()
        self._send(answer, with_body)

    def _guarded(self, answering: Callable[[], Answer]) -> Answer:
        try:
            return answering()
        except Exception:
            logging.getLogger(__name__).exception("%s", urlsplit(self.path).path)
            return Answer(500, "text/plain", b"a bug in the view; see the terminal\n")

    def _foreign(self) -> Answer | None:
        """Return the refusal of another user, or of a host name that is not of this machine."""
        hosts = self.headers.get_all("Host") or []
        if not is_ours(self.client_address, self.server.server_address):
            return Answer(403, "text/plain", b"this server answers only to the user who started it\n")
        if len(hosts) != 1 or not OWN_NAMES.fullmatch(hosts[0].strip()) or not self.path.startswith("/"):
            return Answer(403, "text/plain", b"this server answers only to names of this machine\n")
        return None

    def _not_from_our_page(self) -> Answer | None:
        """Return the refusal of a POST that no page of this server has sent, or that is not JSON of a bounded size."""
        origins, sites = self.headers.get_all("Origin") or [], self.headers.get_all("Sec-Fetch-Site") or ["same-origin"]
        if not self._is_token(self._cookie()):
            return locked()
        if origins != [f"http://{self.headers['Host'].strip()}"] or sites != ["same-origin"]:
            return Answer(403, "text/plain", b"only pages of this server may send this\n")
        if self.headers.get_content_type() != "application/json" or self.headers.get("Content-Encoding"):
            return Answer(415, "text/plain", b"must be application/json\n")
        length = self.headers.get_all("Content-Length") or []
        if len(length) != 1 or not re.fullmatch(r"\d{1,9}", length[0]) or self.headers.get("Transfer-Encoding"):
            return Answer(411, "text/plain", b"must have one Content-Length\n")
        if int(length[0]) > BODY_MAX:
            return Answer(413, "text/plain", f"at most {BODY_MAX} bytes\n".encode())
        return None

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

    def __init__(self, folder: Path, port: int, house: House | None = None) -> None:
        """`house`: what the operator has decided for runs of the pages; without it the view is read-only."""
        answers = Answers(Library(folder), house)
        self.answers: Answering = answers.answer
        self.takes: Taking | None = answers.take if house else None
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
