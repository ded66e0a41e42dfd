"""The tools by which a client makes out a card, and starts, follows and stops runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

from mcp import types

from agents.crew.budget import Budget
from agents.intake.card import Card
from agents.intake.rules import NotUnderstood, by_rules, told
from agents.mcp import resources
from agents.mcp.forms import (
    REFUSED,
    RUNNING,
    STARTING,
    CardRequest,
    CardResult,
    HandleRequest,
    ListRequest,
    ListResult,
    ResultResult,
    StartRequest,
    StatusRequest,
    StatusResult,
)
from agents.mcp.roots import Roots
from agents.mcp.toolbench import Places
from agents.runs.process import Order, Service, limited
from agents.runs.run import Settings, new_run_dir
from agents.trace.result import result_of
from agents.trace.store import trace_sha256
from agents.view.handles import Handle, Handles
from agents.view.overview import DAMAGED, Cards, result_from
from agents.view.rows import rows_of
from tasks.catalogue import make_task
from tools.contract import Tool, ToolError, tool
from tools.events.sight import Sight, look

MOMENT = 0.25  # seconds between two looks at a run that is waited for


class RunSettings(NamedTuple):
    """What the operator has decided for the runs of clients."""

    service: Service = Service()
    places: Places = Places()


class RunTools:
    """The tools of runs, bound to a folder of runs, the allowed folders, and the operator's decisions."""

    def __init__(self, handles: Handles, roots: Roots, settings: RunSettings) -> None:
        self._handles, self._roots, self._settings = handles, roots, settings
        self._cards = Cards(handles.library)

    def tools(self) -> list[tuple[Tool[Any, Any], types.ToolAnnotations]]:
        """Return the tools with what they can change."""
        harmless = types.ToolAnnotations(
            read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
        )
        starts = types.ToolAnnotations(
            read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True
        )
        ends = types.ToolAnnotations(
            read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
        )
        return [
            (tool("run_card")(self.card), harmless),
            (tool("run_start")(self.start), starts),
            (tool("run_status")(self.status), harmless),
            (tool("run_result")(self.result), harmless),
            (tool("run_cancel")(self.cancel), ends),
            (tool("run_list")(self.known), harmless),
        ]

    def card(self, request: CardRequest) -> CardResult:
        """Say how a request and data would be understood, and what has to be known first. Starts and spends nothing."""
        data, sight = self._seen(request.data)
        sees = sight.model_dump(exclude_defaults=True) if sight else None
        try:
            card = by_rules(request.request, sight).given(request.request, data, {})
        except NotUnderstood as error:
            return CardResult(ready=False, card=None, about=str(error), questions=[], sees=sees)
        ready = not card.questions
        document = card.document()
        return CardResult(ready=ready, card=document, about=told(card.task), questions=card.questions, sees=sees)

    def start(self, request: StartRequest) -> StatusResult:
        """Start a run in a process of its own and return its handle at once. A run takes minutes to hours: look at it
        by run_status. A backend that costs money needs a limit in dollars or tokens."""
        data, sight = self._seen(request.data)
        options = self._roots.checked("options", request.options)
        if "data" in options:
            raise ToolError("options", "data", "options other than the data, which have a field of their own")
        card = None
        if request.task is None:
            card = self._agreed(request.request, data, sight, options)
        given = card.arguments() if card else options | ({"data": str(data)} if data else {})
        task = make_task(card.task if card else str(request.task), given)
        service = self._service(request)
        settings = Settings(
            request=request.request,
            task=task.name,
            options=task.options(),
            sandbox=self._settings.places.kind,
            image=self._settings.places.image,
            gpu=self._settings.places.gpu,
            limits=self._settings.places.limits,
            budget=limited(Budget(**request.limits.model_dump()), service.chosen()),
            card=card and card.document(),
        )
        run_dir = new_run_dir(self._handles.library.folder, task.name)
        order = Order(run_dir=run_dir, settings=settings, service=service, outlive=self._handles.outlive)
        handle = self._handles.start(order)
        if card:
            (run_dir / "card.yaml").write_text(card.text())
        return self._standing(handle)

    def status(self, request: StatusRequest) -> StatusResult:
        """Say where a run stands; with `wait`, as soon as it has ended or that time is over."""
        deadline = time.monotonic() + request.wait
        while (handle := self._handles.find(request.handle)).alive and time.monotonic() < deadline:
            time.sleep(MOMENT)
        return self._standing(handle)

    def result(self, request: HandleRequest) -> ResultResult:
        """Return the result of a run that has ended: its answer, the claims with what the harness computed, metrics and
        cost. Card, plan and report are resources."""
        handle = self._handles.find(request.handle)
        if handle.alive or not handle.begun:
            raise ToolError(
                "handle", request.handle, f"a run that has ended; this one is {self._standing(handle).state}"
            )
        trace = self._handles.library.trace(handle.name)
        found = result_of(trace.events, trace_sha256(handle.run_dir)) if result_from(trace) else None
        parts = [part for part in resources.PARTS if part != "report" or (handle.run_dir / "report.md").is_file()]
        return ResultResult(result=found, resources=[resources.uri(handle.name, part) for part in parts])

    def cancel(self, request: HandleRequest) -> StatusResult:
        """Stop a run that run_start began. Its trace stays, and the operator can resume it."""
        if not self._handles.ours(request.handle):
            raise ToolError("handle", request.handle, "a run that run_start began")
        self._handles.cancel(request.handle)
        return self._standing(self._handles.find(request.handle))

    def known(self, request: ListRequest) -> ListResult:
        """List the runs of this machine's folder of runs, also those that others have started."""
        shown = ("name", "request", "task", "backend", "status", "metric_text", "dollars", "seconds")
        cards = sorted(self._cards.all(), key=lambda card: card.get("date", 0.0), reverse=True)
        new = [{"handle": each.name, "status": self._standing(each).state} for each in self._handles.starting()]
        known = [{"handle": c["name"]} | {name: c[name] for name in shown[1:] if name in c} for c in cards]
        return ListResult(runs=[*new, *known][: request.count])

    def _seen(self, data: str | None) -> tuple[Path | None, Sight | None]:
        path = self._roots.place("data", data) if data is not None else None
        return path, look(path) if path else None

    def _agreed(self, request: str, data: Path | None, sight: Sight | None, options: dict[str, Any]) -> Card:
        try:
            card = by_rules(request, sight).given(request, data, options)
        except NotUnderstood as error:
            raise ToolError("request", request, str(error)) from None
        if card.questions:
            about = "; ".join(f"{question.about}: {question.text}" for question in card.questions)
            raise ToolError("options", options, f"answers to these questions too: {about}")
        return card

    def _service(self, request: StartRequest) -> Service:
        """Return the backend to take. The client names neither address nor price: a key must not go elsewhere."""
        ours = self._settings.service
        if request.backend in (None, "openai"):
            return ours.model_copy(update={"backend": request.backend or ours.backend})
        return Service(backend=request.backend)

    def _standing(self, handle: Handle) -> StatusResult:
        trace = self._handles.library.trace(handle.name) if handle.begun else None
        result = result_from(trace) if trace else None
        if trace is None or result is None:
            if handle.alive:
                return StatusResult(handle=handle.name, state=STARTING, reason="its data are being prepared")
            if trace:
                return StatusResult(handle=handle.name, state=DAMAGED, reason="; ".join(trace.damage))
            said = self._handles.said(handle) or "it was stopped before it began"
            return StatusResult(handle=handle.name, state=REFUSED, reason=said)
        row, cost = rows_of(trace.events)[-1], result.cost
        steering = result.steering
        return StatusResult(
            handle=handle.name,
            state=RUNNING if handle.alive else result.status,
            reason="its process works on it" if handle.alive else result.reason,
            doing=": ".join(filter(None, (row["title"], row["note"]))),
            events=len(trace.events),
            iterations=len(result.iterations),
            metric=f"{steering.metric} = {steering.value:.4g}" if steering else "",
            headline=result.headline,
            model_calls=cost.model_calls,
            tokens=cost.prompt_tokens + cost.completion_tokens,
            dollars=cost.dollars,
            seconds=result.seconds,
        )
