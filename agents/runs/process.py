"""The process of one run: `python -m agents.runs.process` reads its order from standard input and carries it out.

Standard input stays open as long as the server lives: when it closes, the run stops as by Ctrl-C, and can be resumed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from pydantic import Field, ValidationError

from agents.backends.base import Backend
from agents.backends.built_in import FOLLOWS
from agents.backends.price import Price
from agents.backends.select import choose_backend, secrets
from agents.crew.budget import Budget
from agents.outside.servers import Servers
from agents.runs.run import Settings, resume, start
from agents.runs.session import meter_of
from agents.trace.blobs import Redactor, TraceError
from sandbox.driver import SandboxLost
from tools.contract import Frozen, ToolError, problems


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

    def of_run(self, backend: str) -> Service:
        """Return the backend with which a run goes on that was made with `backend`; the address stays ours.

        A price is that of one model, so that another model has none.
        """
        if backend in FOLLOWS or backend.startswith("local:"):
            return Service(backend=backend)
        return self.with_model("openai", backend.removeprefix("openai:"))

    def with_model(self, backend: str | None, model: str | None, price: str | None = None) -> Service:
        """Return the backend with another model; the address stays, and our price if it is the model that we have."""
        ours = self.model or os.environ.get("BEAMCREW_MODEL")
        price = price or (self.price if model in (None, ours) else None)
        return self.model_copy(update={"backend": backend, "model": model or self.model, "price": price})


class Order(Frozen):
    """What the process is to do: to begin a run with `settings`, or without them to go on with the one in `run_dir`."""

    run_dir: Path
    service: Service
    settings: Settings | None = None
    budget: Budget | None = Field(None, description="of a run that goes on: limits that replace all it had")
    servers: Servers | None = None
    outlive: bool = False  # the server that ordered it


def limited(budget: Budget, backend: Backend) -> Budget:
    """Return the budget of a run that nobody watches. Raises ToolError for a service without a limit in dollars or
    tokens, ValueError for dollars without a price."""
    if backend.is_llm and not backend.name.startswith("local:") and not (budget.dollars or budget.tokens):
        given = budget.model_dump(exclude_none=True, exclude={"reply_tokens"})
        raise ToolError("limits", given, f"dollars or tokens, for {backend.name} costs")
    meter_of(budget, backend)
    return budget


def main() -> int:
    order = Order.model_validate_json(sys.stdin.buffer.readline())
    if not order.outlive:
        threading.Thread(target=_watch, args=(sys.stdin.fileno(),), daemon=True).start()
    try:
        if order.settings:
            start(order.settings, order.service.chosen(), order.run_dir, servers=order.servers)
        else:
            resume(order.run_dir, order.service.chosen(), order.budget, servers=order.servers)
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
