"""The server of the view answers who began it, on this machine, to GET and HEAD, and tells browsers to be strict."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import webbrowser
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from report_runs import converged
from test_structure import MAX_LINES
from typer.testing import CliRunner

from agents.cli.main import app
from agents.cli.view import opened
from agents.view import server as serving
from agents.view.server import ADDRESS, Server, is_ours

STATIC = files("agents.view") / "static"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    converged(tmp_path / "one")
    with Server(tmp_path, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    server: Server, target: str, method: str = "GET", host: str | None = None, cookie: str | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Asked by a browser that has the cookie, unless another one is given."""
    connection = http.client.HTTPConnection(ADDRESS, server.server_port, timeout=20)
    connection.putrequest(method, target, skip_host=True)
    connection.putheader("Host", f"127.0.0.1:{server.server_port}" if host is None else host)
    connection.putheader("Cookie", f"{server.cookie}={server.token}" if cookie is None else cookie)
    connection.endheaders()
    reply = connection.getresponse()
    found = reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    connection.close()
    return found


def test_it_listens_on_loopback_only(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("target", ["/", "/runs/one", "/compare?a=one&b=one"])
def test_pages_forbid_inline_scripts_and_anything_from_elsewhere(server: Server, target: str) -> None:
    status, headers, body = ask(server, target)
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert status == 200
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
    assert policy["require-trusted-types-for"] == "'script'"
    assert headers["x-content-type-options"] == "nosniff"
    assert not re.search(rb"<script(?![^>]*\bsrc=)|\bon\w+=|style=|https?:|<style", body)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost@evil", "", "0"]
)
def test_another_name_is_refused(server: Server, host: str) -> None:
    status, _, body = ask(server, "/api/runs", host=host)
    assert status == 403
    assert b"one" not in body.replace(b"only", b"")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9000", "[::1]:1", "127.0.0.1"])
def test_names_of_this_machine_are_fine(server: Server, host: str) -> None:
    assert ask(server, "/api/runs", host=host)[0] == 200


def raw(server: Server, text: str) -> bytes:
    with socket.create_connection((ADDRESS, server.server_port), timeout=20) as connection:
        connection.sendall(text.encode())
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_requests_without_a_host_with_two_or_with_an_absolute_address_are_refused(server: Server) -> None:
    for text in (
        "GET /api/runs HTTP/1.0\r\n\r\n",
        "GET /api/runs HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        "GET http://evil.example/api/runs HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ):
        assert b" 403 " in raw(server, text).split(b"\r\n")[0]


@pytest.mark.parametrize("target", ["/", "/runs/one", "/compare?a=one&b=one", "/api/runs", "/api/runs/one", "/nowhere"])
def test_without_the_token_nothing_is_shown(server: Server, target: str) -> None:
    name, token = server.cookie, server.token
    wrong = [
        "",
        "x",
        f"{name}=",
        f"{name}={token[:-1]}",
        f"{name}={token}x",
        f"other={token}",
        f"{name}=\xff",
        f"={token}",
    ]
    for cookie in wrong:
        status, headers, body = ask(server, target, cookie=cookie)
        assert (status, b"printed an address that ends with a token" in body) == (403, True), cookie
        assert "set-cookie" not in headers
        assert token.encode() not in body
    joint = "&" if "?" in target else "?"
    for query in (
        "token=",
        "token=x",
        f"token={token}x",
        f"tokens={token}",
        f"token={token}&token=x",
        "&".join("abcdefghijkl"),
    ):
        assert ask(server, f"{target}{joint}{query}", cookie="")[0] == 403, query


def test_the_address_with_the_token_hands_out_the_cookie_by_which_links_work(server: Server) -> None:
    assert server.address("/runs/one") == f"http://127.0.0.1:{server.server_port}/runs/one?token={server.token}"
    status, headers, body = ask(server, f"/runs/one?token={server.token}", cookie="")
    assert (status, server.token.encode() in body) == (200, False)
    cookie, *attributes = headers["set-cookie"].split("; ")
    assert set(attributes) == {"HttpOnly", "SameSite=Lax", "Path=/"}
    for target in ("/", "/runs/one", "/api/runs/one", "/compare?a=one&b=one"):
        status, headers, _ = ask(server, target, cookie=f"a=b; {cookie}; c=d")
        assert (status, "set-cookie" in headers) == (200, False)
    assert ask(server, "/static/base.css", cookie="")[0] == 200


def test_each_start_has_a_token_of_its_own_and_two_at_a_time_do_not_share_a_cookie(tmp_path: Path) -> None:
    with Server(tmp_path, 0) as one, Server(tmp_path, 0) as two:
        assert one.token != two.token
        assert len(one.token) >= 32
        assert one.cookie != two.cookie


def test_a_bug_does_not_print_the_token(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "answers", lambda target: 1 / 0)
    assert ask(server, f"/runs/one?token={server.token}")[0] == 500
    assert "/runs/one" in caplog.text
    assert server.token not in caplog.text


def test_a_browser_is_opened_without_the_token_in_its_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(webbrowser, "open", asked.append)
    with opened("http://127.0.0.1:1/?token=hidden"):
        assert "hidden" not in asked[0]
        page = Path(asked[0].removeprefix("file://"))
        assert 'url=http://127.0.0.1:1/?token=hidden"' in page.read_text()
        assert page.parent.stat().st_mode & 0o077 == 0
    assert not page.exists()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_only_reading(server: Server, method: str) -> None:
    status, headers, _ = ask(server, "/api/runs", method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_head_is_get_without_the_body(server: Server) -> None:
    got, headed = ask(server, "/api/runs"), ask(server, "/api/runs", "HEAD")
    assert headed[2] == b""
    assert headed[1]["content-length"] == got[1]["content-length"] == str(len(got[2]))


def test_an_answer_can_be_embedded_nowhere(server: Server) -> None:
    for target in ("/", "/api/runs", "/static/app.js", "/nowhere"):
        _, headers, _ = ask(server, target)
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


def test_a_bug_is_one_page_and_does_not_end_the_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(target: str) -> None:
        raise RuntimeError(target)

    with monkeypatch.context() as patched:
        patched.setattr(server, "answers", broken)
        assert ask(server, "/")[0] == 500
    assert ask(server, "/")[0] == 200


def test_files_of_the_page_are_small_and_take_nothing_from_elsewhere() -> None:
    files = list(STATIC.iterdir())
    assert {"app.js", "index.html"} <= {file.name for file in files}
    for file in files:
        text = file.read_text()
        assert len(text.splitlines()) <= MAX_LINES
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function", text), (
            file.name
        )
        assert not re.search(r"replaceChildren\((?!\))", text), f"{file.name}: texts go through h and put"
        assert not [url for url in re.findall(r"https?://\S+", text) if "www.w3.org/2000/svg" not in url], file.name


def luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_all_text_can_be_read_by_day_and_by_night() -> None:
    themes = re.findall(r":root \{(.*?)\}", (STATIC / "base.css").read_text(), re.DOTALL)
    assert len(themes) == 2
    for theme in themes:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", theme))
        pairs = [(ink, paper) for ink in ("ink", "soft", "accent") for paper in ("paper", "sheet", "wash")]
        pairs += [(ink, f"{ink}-wash") for ink in ("good", "bad", "warn")] + [("bad", "sheet"), ("ink", "tint")]
        for ink, paper in pairs:
            dark, light = sorted(luminance(colours[name]) for name in (ink, paper))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, paper)  # WCAG 2, level AA


def test_a_port_that_is_taken_and_a_folder_that_is_not_there_are_one_line(server: Server, tmp_path: Path) -> None:
    taken = CliRunner().invoke(app, ["view", str(tmp_path), "--port", str(server.server_port)])
    assert (taken.exit_code, "--port 0 takes a free one" in taken.output) == (2, True)
    missing = CliRunner().invoke(app, ["view", str(tmp_path / "nothing")])
    assert (missing.exit_code, "no such folder" in missing.output) == (2, True)


def test_only_processes_of_this_user_are_answered(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_connection((ADDRESS, server.server_port)) as connection:
        client = connection.getsockname()
        assert is_ours(client, server.server_address)
        assert not is_ours((ADDRESS, 1), server.server_address)
        # Somebody else's server has got the cookie from the browser, and uses it.
        table = serving.CONNECTIONS.read_text().splitlines()
        lines = [line.split() for line in table[1:]]
        for fields in lines:
            fields[7] = "54321"
        (tmp_path / "tcp").write_text("\n".join([table[0], *(" ".join(fields) for fields in lines)]))
        monkeypatch.setattr(serving, "CONNECTIONS", tmp_path / "tcp")
        assert not is_ours(client, server.server_address)
    status, headers, body = ask(server, "/")
    assert status == 403
    assert b"the user who started it" in body
    assert "set-cookie" not in headers
