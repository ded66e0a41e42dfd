"""Downloads against a loopback server that resumes, breaks, lies and refuses."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from tools.contract import ToolError
from tools.events import download

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()
OFFICIAL = "events_anomalydetection_v2.features.h5"
RECORD = download.LHCO_FILES[OFFICIAL]


class Unreliable(BaseHTTPRequestHandler):
    """The first word of the path says how it behaves; `Range` is honoured unless it says otherwise."""

    protocol_version = "HTTP/1.1"
    base = ""
    requests: ClassVar[Counter[str]] = Counter()
    starts: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        count = self.requests[kind]
        self.requests[kind] += 1
        if kind == "api":
            return self.record()
        if kind == "missing" or (kind == "busy" and count < 2):
            return self.answer(404 if kind == "missing" else 503, b"no")
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked and kind != "forgetful" else 0
        self.starts.append(start)
        if start >= len(CONTENT):
            return self.answer(416, b"")
        body = bytes(len(CONTENT)) if kind == "lying" else CONTENT
        body = body[start:]
        length = len(body)
        if kind == "cut":
            body = body[:100_000]
        if kind == "stuck" or (kind == "forgetful" and count < 99):
            body = body[: 50_000 - start]
        if kind == "short":
            body = body[:1000]
            length = len(body)
        self.send_response(206 if asked and kind != "forgetful" else 200)
        self.send_header("Content-Length", str(length))
        if asked and kind != "forgetful":
            shown = start + 1 if kind == "shifted" else start
            self.send_header("Content-Range", f"bytes {shown}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = len(body) < length
        return None

    def record(self) -> None:
        name = self.path.rsplit("/", 1)[1]
        if name != str(RECORD):
            return self.answer(200, b"<html>not json</html>")
        entry = {
            "key": OFFICIAL,
            "size": len(CONTENT),
            "checksum": f"md5:{MD5}",
            "links": {"self": f"{self.base}/good/x"},
        }
        return self.answer(200, json.dumps({"files": [entry]}).encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is part of the tests, not worth a traceback."""


@pytest.fixture
def server() -> Iterator[str]:
    Unreliable.requests.clear()
    Unreliable.starts.clear()
    with Server(("127.0.0.1", 0), Unreliable) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        Unreliable.base = f"http://127.0.0.1:{httpd.server_port}"
        yield Unreliable.base
        httpd.shutdown()
        thread.join()


def refused(url: str, path: Path, md5: str = MD5) -> ToolError:
    with pytest.raises(ToolError) as caught:
        download.fetch(url, path, md5, pause=0.0)
    return caught.value


def test_plain_download_reports_progress(server: str, tmp_path: Path) -> None:
    path, seen = tmp_path / "f.h5", []
    download.fetch(f"{server}/good/f", path, MD5, lambda done, total: seen.append((done, total)), pause=0.0)
    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]
    assert [total for _, total in seen] == [len(CONTENT)] * len(seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == len(CONTENT)


def test_broken_connections_are_resumed_where_they_broke(server: str, tmp_path: Path) -> None:
    path, seen = tmp_path / "f.h5", []
    download.fetch(f"{server}/cut/f", path, MD5, lambda *step: seen.append(step), pause=0.0)
    assert path.read_bytes() == CONTENT
    assert Unreliable.starts == [0, 100_000, 200_000]
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_partial_file_of_an_earlier_call_is_used(server: str, tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    path.with_name("f.h5.part").write_bytes(CONTENT[:123_456])
    download.fetch(f"{server}/good/f", path, MD5, pause=0.0)
    assert path.read_bytes() == CONTENT
    assert Unreliable.starts == [123_456]


def test_complete_partial_file_needs_no_more_bytes(server: str, tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    path.with_name("f.h5.part").write_bytes(CONTENT)
    download.fetch(f"{server}/good/f", path, MD5, pause=0.0)
    assert path.read_bytes() == CONTENT


def test_existing_file_is_checked_and_not_fetched_again(server: str, tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    path.write_bytes(CONTENT)
    download.fetch(f"{server}/good/f", path, MD5)
    assert not Unreliable.requests
    path.write_bytes(b"mine")
    error = refused(f"{server}/good/f", path)
    assert error.field == "path"
    assert MD5 in error.allowed
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("kind", ["lying", "short"])
def test_wrong_content_is_removed_and_named(server: str, tmp_path: Path, kind: str) -> None:
    error = refused(f"{server}/{kind}/f", tmp_path / "f.h5")
    assert error.field == "md5"
    assert error.value != MD5
    assert MD5 in error.allowed
    assert list(tmp_path.iterdir()) == []


def test_stale_partial_file_is_removed(server: str, tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    path.with_name("f.h5.part").write_bytes(b"x" * 1000)
    assert refused(f"{server}/good/f", path).field == "md5"
    download.fetch(f"{server}/good/f", path, MD5, pause=0.0)
    assert path.read_bytes() == CONTENT


def test_server_without_progress_is_given_up_and_the_part_kept(server: str, tmp_path: Path) -> None:
    error = refused(f"{server}/stuck/f", tmp_path / "f.h5")
    assert error.field == "url"
    assert "from byte 50000" in error.allowed
    assert Unreliable.requests["stuck"] == 1 + download.ATTEMPTS
    assert (tmp_path / "f.h5.part").stat().st_size == 50_000


def test_server_that_ignores_range_starts_over_but_not_for_ever(server: str, tmp_path: Path) -> None:
    assert "no progress" in refused(f"{server}/forgetful/f", tmp_path / "f.h5").allowed
    Unreliable.requests["forgetful"], seen = 99, []
    download.fetch(f"{server}/forgetful/f", tmp_path / "f.h5", MD5, lambda *step: seen.append(step), pause=0.0)
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert (tmp_path / "f.h5").read_bytes() == CONTENT


def test_wrong_range_is_not_appended(server: str, tmp_path: Path) -> None:
    part = tmp_path / "f.h5.part"
    part.write_bytes(CONTENT[:1000])
    assert "asked for bytes from 1000" in refused(f"{server}/shifted/f", tmp_path / "f.h5").allowed
    assert part.read_bytes() == CONTENT[:1000]


def test_busy_server_is_asked_again(server: str, tmp_path: Path) -> None:
    download.fetch(f"{server}/busy/f", tmp_path / "f.h5", MD5, pause=0.0)
    assert Unreliable.requests["busy"] == 3


def test_refusal_is_not_repeated(server: str, tmp_path: Path) -> None:
    error = refused(f"{server}/missing/f", tmp_path / "f.h5")
    assert (error.field, error.value) == ("url", f"{server}/missing/f")
    assert "HTTP 404" in error.allowed
    assert Unreliable.requests["missing"] == 1
    assert list(tmp_path.iterdir()) == []


def test_nobody_answers(tmp_path: Path) -> None:
    error = refused("http://127.0.0.1:9/f", tmp_path / "f.h5")
    assert "no progress in 5 attempts" in error.allowed


def test_official_file_is_checked_against_the_record(server: str, tmp_path: Path) -> None:
    assert download.zenodo_files(RECORD, server)[OFFICIAL] == download.RemoteFile(f"{server}/good/x", len(CONTENT), MD5)
    path = download.fetch_official(OFFICIAL, tmp_path / "deep" / "folder", server, pause=0.0)
    assert path == tmp_path / "deep" / "folder" / OFFICIAL
    assert path.read_bytes() == CONTENT


def test_official_names_and_records_are_checked(server: str, tmp_path: Path) -> None:
    for name, base, field, says in (
        ("nope.h5", server, "file", OFFICIAL),
        ("events_anomalydetection_v2.h5", server, "file", f"has only {OFFICIAL}"),
        ("events_LHCO2020_BlackBox1.h5", server, "url", "not the description of a Zenodo record"),
        (OFFICIAL, f"{server}/missing", "url", "404"),
        (OFFICIAL, "http://127.0.0.1:9", "url", "cannot be read"),
    ):
        with pytest.raises(ToolError) as caught:
            download.fetch_official(name, tmp_path, base, pause=0.0)
        assert caught.value.field == field
        assert says in caught.value.allowed


@pytest.mark.parametrize("checksum", ["sha256:" + "0" * 64, "md5:xyz", ""])
def test_record_without_md5_is_refused(checksum: str) -> None:
    with pytest.raises(ValueError, match="not an MD5"):
        download._md5_of({"checksum": checksum})
