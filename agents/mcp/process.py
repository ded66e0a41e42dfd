"""The process of one run: `python -m agents.mcp.process` reads its order from standard input and carries it out.

Standard input stays open as long as the server lives: when it closes, the run stops as by Ctrl-C, and can be resumed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from pydantic import ValidationError

from agents.backends.base import Backend
from agents.backends.price import Price
from agents.backends.select import choose_backend, secrets
from agents.runs.run import Settings, start
from agents.trace.blobs import Redactor, TraceError
from sandbox.driver import SandboxLost
from tools.contract import Frozen, problems


class Service(Frozen):
    """The backend of a run, as far as it is not a secret: keys come from the environment."""

    backend: str | None = None
    model: str | None = None
    base_url: str | None = None
    price: str | None = None

    def chosen(self) -> Backend:
        """Return the backend. Raises ValueError."""
        price = Price.parse(self.price) if self.price else None
        return choose_backend(self.backend, model=self.model, base_url=self.base_url, price=price)


class Order(Frozen):
    """What the process is to do."""

    run_dir: Path
    settings: Settings
    service: Service
    outlive: bool = False  # the server that ordered it


def main() -> int:
    order = Order.model_validate_json(sys.stdin.buffer.readline())
    if not order.outlive:
        threading.Thread(target=_watch, args=(sys.stdin.fileno(),), daemon=True).start()
    try:
        start(order.settings, order.service.chosen(), order.run_dir)
    except ValidationError as error:
        why = str(problems(error)[0])
    except (ValueError, OSError, SandboxLost, TraceError) as error:
        why = str(error)
    else:
        return 0
    print(Redactor(secrets()).text(" ".join(why.split())), file=sys.stderr)
    return 2


def _watch(descriptor: int) -> None:
    """Stop this process once the server is gone. Reads past Python's buffer, whose lock must be free at the end."""
    while os.read(descriptor, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
