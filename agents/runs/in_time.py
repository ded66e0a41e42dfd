"""A backend within the time of a run: a reply that takes longer than what is left is not waited for."""

from __future__ import annotations

import math
import queue
import threading

from agents.backends.base import Backend, Reply, Request
from agents.crew.budget import GO_ON, BudgetSpent, Meter


class InTime:
    """Passes requests on; raises BudgetSpent when the run's time is over before the reply."""

    def __init__(self, backend: Backend, meter: Meter) -> None:
        self._backend, self._meter = backend, meter
        self.name, self.is_llm = backend.name, backend.is_llm

    def complete(self, request: Request) -> Reply:
        left = self._meter.seconds_left()
        if left == math.inf:
            return self._backend.complete(request)
        came: queue.Queue[Reply | BaseException] = queue.Queue()

        def work() -> None:
            try:
                came.put(self._backend.complete(request))
            except BaseException as error:
                came.put(error)

        # A daemon: neither the run nor the end of the process waits for a reply that nobody wants any more.
        threading.Thread(target=work, daemon=True).start()
        try:
            reply = came.get(timeout=min(max(0.0, left), threading.TIMEOUT_MAX))
        except queue.Empty:
            text = (
                f"budget spent: the {request.role}'s reply was given up after {left:.3g} seconds, its cost is unknown"
            )
            raise BudgetSpent(f"{text}; {GO_ON}") from None
        if isinstance(reply, BaseException):
            raise reply
        return reply
