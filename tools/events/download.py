"""Downloads of the official data, resumed after interruptions and checked against the MD5 that Zenodo publishes.

fetch_official("events_anomalydetection_v2.features.h5", Path("data/lhco"))
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from tools.contract import ToolError

ZENODO = "https://zenodo.org"
# File name -> Zenodo record (Kasieczka, Nachman, Shih). Sizes and checksums come from the records themselves.
LHCO_FILES = {
    "events_anomalydetection_v2.features.h5": 4536377,  # R&D, jets
    "events_anomalydetection_v2.h5": 4536377,  # R&D, particles
    "events_anomalydetection_qcd_extra_inneronly_features.h5": 5759087,  # more QCD in the signal region, jets
    "events_anomalydetection_Z_XY_qqq.features.h5": 6466204,  # three-pronged signal, jets
    "events_anomalydetection_Z_XY_qqq.h5": 6466204,
    "events_LHCO2020_BlackBox1.h5": 4536624,
    "events_LHCO2020_BlackBox1.masterkey": 4536624,  # its truth labels
    "events_LHCO2020_BlackBox2.h5": 4536624,
    "events_LHCO2020_BlackBox3.h5": 4536624,
    "events_LHCO2020_BlackBox3.masterkey": 4536624,  # 0, or 1 and 2 for the two decays of its signal
}
ATTEMPTS = 5  # maximum attempts in a row without a new byte
TIMEOUT = httpx.Timeout(30.0)
RETRIED = (408, 425, 429, 500, 502, 503, 504)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server: its address, its size in bytes and its MD5 (hexadecimal)."""

    url: str
    size: int
    md5: str


def fetch_official(
    name: str,
    folder: Path,
    base_url: str = ZENODO,
    progress: Progress | None = None,
    pause: float = 1.0,
    records: Mapping[str, int] = LHCO_FILES,
) -> Path:
    """Download a file of `records` into `folder`.

    Raises ToolError for a name that is not in `records`, and as `zenodo_files` and `fetch` do.
    """
    if name not in records:
        raise ToolError("file", name, f"allowed are {', '.join(records)}")
    files = zenodo_files(records[name], base_url)
    if name not in files:
        raise ToolError("file", name, f"record {records[name]} has only {', '.join(files)}")
    remote = files[name]
    folder.mkdir(parents=True, exist_ok=True)
    fetch(remote.url, folder / name, remote.md5, progress, pause)
    return folder / name


def zenodo_files(record: int, base_url: str = ZENODO) -> dict[str, RemoteFile]:
    """Return the files of a Zenodo record by name, from `<base_url>/api/records/<record>`.

    Raises ToolError if the service cannot be reached or returns something else.
    """
    url = f"{base_url}/api/records/{record}"
    try:
        answer = httpx.get(url, timeout=TIMEOUT, follow_redirects=True)
        answer.raise_for_status()
        return {f["key"]: RemoteFile(f["links"]["self"], f["size"], _md5_of(f)) for f in answer.json()["files"]}
    except httpx.HTTPError as error:
        raise ToolError("url", url, f"the record cannot be read ({error or type(error).__name__})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError("url", url, f"not the description of a Zenodo record ({error!r})") from None


def _md5_of(entry: dict[str, str]) -> str:
    kind, _, digest = entry["checksum"].partition(":")
    if kind != "md5" or not re.fullmatch("[0-9a-f]{32}", digest):
        raise ValueError(f"checksum {entry['checksum']!r} is not an MD5")
    return digest


def fetch(url: str, path: Path, md5: str | None, progress: Progress | None = None, pause: float = 1.0) -> None:
    """Download `url` to `path`; `progress(done, total)` counts bytes, with total 0 while unknown.

    Bytes go to `path` + `.part`, from which a later call continues. A broken connection is reopened after pause,
    2 pause, 4 pause ... seconds; after ATTEMPTS in a row without a new byte, it gives up. The file gets its name only
    if the MD5 is right; None if none is published. Raises ToolError for no progress, a wrong MD5 (the part is removed),
    a refusal by the server, and an existing file that differs.
    """
    if path.exists():
        if md5 and (found := _md5(path)) != md5:
            raise ToolError("path", str(path), f"exists with MD5 {found} instead of {md5}; remove it to download again")
        return
    part = path.with_name(path.name + ".part")
    most = part.stat().st_size if part.exists() else -1
    failures = 0
    with httpx.Client(timeout=TIMEOUT, follow_redirects=True, headers={"Accept-Encoding": "identity"}) as client:
        while True:
            try:
                _append(client, url, part, progress)
                break
            except httpx.HTTPError as error:
                if isinstance(error, httpx.HTTPStatusError) and error.response.status_code not in RETRIED:
                    raise ToolError("url", url, f"the server refuses: HTTP {error.response.status_code}") from None
                size = part.stat().st_size if part.exists() else -1
                # Only bytes beyond the maximum so far count: a server that starts over each time would loop forever.
                failures = 0 if size > most else failures + 1
                most = max(most, size)
                if failures >= ATTEMPTS:
                    reason = str(error) or type(error).__name__
                    allowed = f"no progress in {ATTEMPTS} attempts ({reason}); call again to continue from byte {most}"
                    raise ToolError("url", url, allowed) from None
                time.sleep(pause * 2 ** max(failures - 1, 0))
    if md5 and (found := _md5(part)) != md5:
        part.unlink()
        raise ToolError("md5", found, f"{url} should have {md5}; the downloaded file has been removed")
    part.replace(path)


def _append(client: httpx.Client, url: str, part: Path, progress: Progress | None) -> None:
    """Append the rest of the file to `part`; raises httpx.HTTPError if the connection fails or the server refuses."""
    done = part.stat().st_size if part.exists() else 0
    with client.stream("GET", url, headers={"Range": f"bytes={done}-"} if done else {}) as answer:
        if answer.status_code == 416:
            # There is nothing beyond `done`, so the file is complete. If not, the MD5 will differ.
            return
        answer.raise_for_status()
        resumed = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {done}-")
        if answer.status_code == 206 and not resumed:
            raise httpx.RemoteProtocolError(f"asked for bytes from {done}, got {answer.headers.get('Content-Range')}")
        if not resumed:
            done = 0
        total = done + int(answer.headers.get("Content-Length", -done))
        with part.open("ab" if resumed else "wb") as file:
            for block in answer.iter_raw():  # unbuffered: larger blocks would be lost with the connection
                file.write(block)
                done += len(block)
                if progress:
                    progress(done, total)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
