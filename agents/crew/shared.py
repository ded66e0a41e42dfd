"""The objects that all agents of a run share: backend, bench, trace, meter and task."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from agents.backends.base import BackendLost, Effort, Message, Reply, Request
from agents.backends.reading import bare_json
from agents.crew.budget import Meter
from agents.crew.confirm import Again
from agents.trace.approval import Approval
from agents.trace.events import Event, Trouble
from agents.trace.outside import RecordedOutside
from agents.trace.record import Record, note
from agents.trace.recorders import RecordedBackend, RecordedGrader, RecordedWorkbench
from agents.trace.store import Store
from agents.trace.where import Where
from tasks.task import Task
from tools.contract import problems

A = TypeVar("A", bound=BaseModel)
RETRIES = 3
SHOWN = 2000  # characters of an invalid reply that are sent back: rambling would fill a small context


class ModelFailed(RuntimeError):  # noqa: N818 - the model failed, not the program
    """The model gave no usable answer within the retries. This is the model's failure and a result of the run."""


@dataclass(frozen=True)
class Crew:
    """The components of one run. `seed`, `temperature` and `effort` go into every request."""

    task: Task
    request: str
    facts: dict[str, Any]
    prompts: Mapping[str, str]  # file -> text
    backend: RecordedBackend
    bench: RecordedWorkbench
    grader: RecordedGrader
    outside: RecordedOutside
    again: Again  # the harness's part in confirmation and audit
    confirms: bool  # True if the task holds inputs out
    store: Store
    record: Record
    meter: Meter
    seed: int
    workers: int = 2  # steps that run at once
    temperature: float = 0.0
    effort: Effort | None = None
    reviews: bool = False  # plans and results are reviewed
    approve: Approval = field(default_factory=Approval)  # where a person is asked

    def note(self, event: Event) -> None:
        note(self.store, self.record, event)

    def complete(self, request: Request, where: Where) -> Reply:
        """Return one reply. Raises BudgetSpent."""
        self.meter.check(where)
        common = {"temperature": self.temperature, "effort": self.effort}
        request = request.model_copy(update=common | {"max_tokens": self.meter.budget.reply_tokens})
        try:
            reply = self.backend.complete(request, where)
        except BackendLost as error:
            self.meter.add(error.usage, 0)
            raise
        self.meter.add(reply.usage)
        return reply

    def ask(self, request: Request, answer: type[A], where: Where, objection: Callable[[A], str] = lambda _: "") -> A:
        """Return a reply that validates as `answer`; errors go back to the model, for RETRIES replies in all.

        `objection` returns what is wrong with a well-formed answer, or ''. Raises ModelFailed with the last error.
        """
        messages = list(request.messages)
        problem = ""
        for _ in range(RETRIES):
            reply = self.complete(request.model_copy(update={"messages": tuple(messages)}), where)
            try:
                found = answer.model_validate_json(bare_json(reply.message.content))
                problem = objection(found)
            except ValidationError as error:
                problem = explain(error)
            if not problem:
                return found
            if reply.finish == "length":
                problem = f"the reply was cut off at {self.meter.budget.reply_tokens} tokens. {problem}"
            self.note(Trouble(who="model", where=where, text=problem))
            messages += [
                reply.message.model_copy(update={"content": reply.message.content[:SHOWN], "tool_calls": ()}),
                Message(role="user", content=f"This reply is invalid: {problem}\nReply with the JSON only."),
            ]
        raise ModelFailed(f"{where}: no valid {answer.__name__} in {RETRIES} replies: {problem}")


def explain(error: ValidationError) -> str:
    """Describe the first few problems: field, value and what is allowed."""
    wrong = problems(error)[:3]
    return "; ".join(f"{p.field or 'reply'}={json.dumps(p.value, default=str)[:120]}: {p.said}" for p in wrong)
