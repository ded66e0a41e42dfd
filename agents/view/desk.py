"""What a person does to runs in the browser: start, answer, stop, resume, fork and ask.

Runs are processes of their own, which outlive the server. Keys come from the server's environment alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.ask.asking import ask
from agents.backends.select import secrets
from agents.crew.budget import Budget
from agents.intake.card import Card
from agents.intake.rules import by_rules, told
from agents.outside.servers import Servers
from agents.runs import answers
from agents.runs.at_work import worker_of
from agents.runs.fork import branch
from agents.runs.process import Order, Service, limited
from agents.runs.run import Settings, beginning, check_backend, check_servers, new_run_dir
from agents.runs.session import meter_of
from agents.trace.approval import pending
from agents.trace.blobs import Redactor
from agents.trace.result import ENDED
from agents.trace.store import at_work, read_trace
from agents.view import forms
from agents.view.handles import GRACE, Handle, Handles
from sandbox.driver import Kind
from tasks.catalogue import catalogue, make_task
from tools.contract import Frozen
from tools.events.sight import look

MOMENT = 0.05  # seconds between two looks at a process that ends
Said = dict[str, Any]


class House(Frozen):
    """What the operator has decided for the runs of the page."""

    service: Service = Service()
    sandbox: Kind = "auto"
    servers: Servers | None = None


def offer(house: House | None) -> Said:
    """Return what the pages offer to choose from; `acts`: false if they are read-only."""
    if house is None:
        return {"acts": False}
    try:
        backend = house.service.chosen()
        name, model, why = backend.name, backend.is_llm, ""
    except ValueError as error:
        name, model, why = "", False, Redactor(secrets()).text(str(error))
    tasks = [[name, told(name)] for name in catalogue()]
    outside = list(house.servers.servers) if house.servers else []
    return {"acts": True, "backend": name, "is_llm": model, "why": why, "tasks": tasks, "outside": outside}


class Desk:
    """Carries out what the pages send. Raises ValueError and what it derives for whatever the person can correct."""

    def __init__(self, handles: Handles, house: House) -> None:
        self._handles, self._house = handles, house
        self._on_runs: dict[str, Callable[[Handle, bytes], Said]] = {
            "answer": lambda run, body: self.answer(run, forms.AnswerForm.model_validate_json(body)),
            "stop": lambda run, body: self.stop(run, forms.StopForm.model_validate_json(body)),
            "resume": lambda run, body: self.resume(run, forms.ResumeForm.model_validate_json(body)),
            "fork": lambda run, body: self.fork(run, forms.ForkForm.model_validate_json(body)),
            "ask": lambda run, body: self.ask(run, forms.AskForm.model_validate_json(body)),
        }

    def take(self, parts: list[str], body: bytes) -> Said | None:
        """Do what was posted to an address, and return what came of it; None for one at which nothing is done."""
        match parts:
            case ["api", "card"]:
                return self.card(forms.CardForm.model_validate_json(body))
            case ["api", "runs"]:
                return self.start(forms.StartForm.model_validate_json(body))
            case ["api", "runs", name, what] if what in self._on_runs:
                return self._on_runs[what](self._handles.find(name), body)
        return None

    def card(self, form: forms.CardForm) -> Said:
        """Return how a request would be understood, as YAML, and what has to be known first. Spends nothing."""
        data = Path(form.data).expanduser().absolute() if form.data else None
        if data and not data.exists():
            raise ValueError(f"data={form.data}: no such file or folder on the machine of the server")
        if form.task:
            card = Card(request=form.request, task=form.task, data=data and str(data), options=form.options)
        else:
            card = by_rules(form.request, look(data) if data else None).given(form.request, data, form.options)
        if not card.questions:
            make_task(card.task, card.arguments())
        questions = [question.model_dump() for question in card.questions]
        return {"card": card.text(), "about": told(card.task), "questions": questions}

    def start(self, form: forms.StartForm) -> Said:
        """Begin a run, and return its name."""
        card = Card.of(form.card)
        if card.questions:
            raise ValueError(f"card: {'; '.join(question.text for question in card.questions)}: answer this first")
        service = self._service(form.choice)
        backend, task = service.chosen(), make_task(card.task, card.arguments())
        meter_of(form.budget, backend, form.approve)
        settings = Settings(
            request=card.request,
            task=task.name,
            options=task.options(),
            sandbox=self._house.sandbox,
            budget=limited(form.budget, backend),
            card=card.document(),
            approve=form.approve,
        )
        run_dir = new_run_dir(self._handles.library.folder, task.name)
        servers = self._house.servers
        self._begin(Order(run_dir=run_dir, service=service, settings=settings, servers=servers, outlive=True))
        (run_dir / "card.yaml").write_text(card.text())
        return {"name": run_dir.name}

    def answer(self, run: Handle, form: forms.AnswerForm) -> Said:
        """Answer a run that waits, and go on with it unless a process at a terminal does."""
        asked = answers.open_question(run.run_dir)
        given = answers.say(asked, form.answer, form.words, "browser").model_copy(update={"asked": form.asked})
        self._ended(run)  # it asks, and ends; one at a terminal reads the answer
        if at_work(run.run_dir):
            answers.give(run.run_dir, given)
            return {"name": run.name}
        service, servers = self._same(run), self._servers(run)
        answers.give(run.run_dir, given)
        return self._begin(Order(run_dir=run.run_dir, service=service, servers=servers, outlive=True))

    def stop(self, run: Handle, form: forms.StopForm) -> Said:
        """Stop a run as by Ctrl-C, and wait for its end."""
        if run.begun and not run.alive and not at_work(run.run_dir):
            raise ValueError(f"{run.name}: no process works on it")
        self._handles.cancel(run.name)
        return {"name": run.name}

    def resume(self, run: Handle, form: forms.ResumeForm) -> Said:
        """Go on with a run that stopped before its end."""
        begun, ended = beginning(run.run_dir)
        if ended and ended.status in ENDED:
            raise ValueError(f"{run.name}: has ended ({ended.status}); a fork can go on")
        if asked := pending(read_trace(run.run_dir)):
            raise ValueError(f"{run.name}: waits for an answer: {asked.text}")
        if run.alive or at_work(run.run_dir):
            raise ValueError(f"{run.name}: a process works on it")
        service, servers = self._same(run), self._servers(run)
        limited(form.budget or Budget.model_validate(begun.budget), service.chosen())
        order = Order(run_dir=run.run_dir, service=service, budget=form.budget, servers=servers, outlive=True)
        return self._begin(order)

    def fork(self, run: Handle, form: forms.ForkForm) -> Said:
        """Begin a run with the past of another, and return its name."""
        begun, _ = beginning(run.run_dir)
        service = self._service(form.choice) if form.choice else self._house.service.of_run(begun.backend)
        given = form.budget.model_dump(exclude_unset=True, exclude_none=True) if form.budget else {}
        backend, servers = service.chosen(), self._servers(run)
        limited(Budget.model_validate(begun.budget | given), backend)
        child = new_run_dir(self._handles.library.folder, begun.task)
        branch(run.run_dir, form.step, child, backend, request=form.request or None, budget=given)
        return self._begin(Order(run_dir=child, service=service, servers=servers, outlive=True))

    def ask(self, run: Handle, form: forms.AskForm) -> Said:
        """Return the answer to a question about a run."""
        backend = self._service(form.choice).chosen()
        return ask(run.run_dir, form.question, backend, limited(form.budget, backend)).model_dump(mode="json")

    def _begin(self, order: Order) -> Said:
        self._handles.start(order)
        return {"name": order.run_dir.relative_to(self._handles.library.folder).as_posix()}

    def _service(self, choice: forms.Choice) -> Service:
        if choice.backend not in (None, "openai"):
            return Service(backend=choice.backend)
        ours = self._house.service
        return ours.with_model(choice.backend or ours.backend, choice.model, choice.price)

    def _same(self, run: Handle) -> Service:
        """Return the backend with which a run began. Raises ValueError if it is not to be had here."""
        begun, _ = beginning(run.run_dir)
        service = self._house.service.of_run(begun.backend)
        check_backend(begun, service.chosen())
        return service

    def _servers(self, run: Handle) -> Servers | None:
        """Return the outside servers with which a run began. Raises ValueError if they are not to be had here."""
        begun, _ = beginning(run.run_dir)
        servers = self._house.servers if begun.outside else None
        check_servers(begun, servers)
        return servers

    def _ended(self, run: Handle) -> None:
        """Wait for the end of a process that has asked and ends; one at a terminal stays."""
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and self._handles.find(run.name).alive:
            if (worker := worker_of(run.run_dir)) is None or not worker.alone:
                return
            time.sleep(MOMENT)
