"""A Chromium that tests drive by its DevTools protocol, over the pipe that it offers: no port, and no other package."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.page_load import CHROMIUM

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync", "--remote-debugging-pipe")
MOMENT = 0.2  # seconds between two looks at a page


class Driven:
    """One page of a browser."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # The browser reads from its descriptor 3 and writes to 4.
        script = f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$0" "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", script, CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._n, self._rest, self._session = 0, b"", ""
        target = self._ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]

    def open(self, address: str) -> None:
        self._ask("Page.navigate", {"url": address})

    def run(self, script: str) -> Any:
        """The value of an expression in the page. Raises RuntimeError for what the page throws."""
        found = self._ask("Runtime.evaluate", {"expression": script, "awaitPromise": True, "returnByValue": True})
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    def until(self, script: str, seconds: float = 60) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.run(f"!!({script})"):
            assert time.monotonic() < deadline, f"never: {script}\n{self.run('document.body.innerText')}"
            time.sleep(MOMENT)

    def press(self, label: str, within: str = "body") -> None:
        """Press the button of that label once it is there."""
        buttons = f"[...document.querySelectorAll({json.dumps(within + ' button')})]"
        find = f"{buttons}.find((b) => b.textContent === {json.dumps(label)})"
        self.until(find)
        self.run(f"{find}.click()")

    def fill(self, selector: str, text: str) -> None:
        """Type into a field once it is there."""
        self.until(f"document.querySelector({json.dumps(selector)})")
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        self._ask("Input.insertText", {"text": text})

    def picture(self, path: Path, width: int, height: int, dark: bool = False) -> None:
        """Write a picture of the page at a width, in a theme."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._ask("Emulation.setEmulatedMedia", {"features": scheme})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._ask("Emulation.setDeviceMetricsOverride", size)
        self.run("scrollTo(0, 0)")
        shot = self._ask("Page.captureScreenshot", {"captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(shot["data"]))

    def _ask(self, method: str, parameters: dict[str, Any]) -> Any:
        self._n += 1
        message = {"id": self._n, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            line, end, self._rest = self._rest.partition(b"\0")
            if not end:
                self._rest = line + (more := os.read(self._in, 1 << 20))
                assert more, "the browser has ended"
                continue
            found = json.loads(line)
            if found.get("id") == self._n:
                assert "error" not in found, found
                return found["result"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(30)
        os.close(self._out)
        os.close(self._in)
