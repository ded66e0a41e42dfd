"""`ask`: a question to a run, answered by a model with tools or by rules, and kept beside the run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.ask.answers import Answer, cited, fork_command, keep, kept
from agents.ask.desk import Desk, Reply, schemas
from agents.ask.material import Material, open_run
from agents.ask.rules import by_rules
from agents.backends.base import Backend, BackendLost, Message, Request, Usage
from agents.backends.digest import compact, digest
from agents.backends.opening import opening
from agents.crew.budget import Budget, BudgetSpent
from agents.runs.answers import user
from agents.runs.session import meter_of
from agents.trace.words import visible

PROMPT = Path(__file__).with_name("ask.md").read_text()
MAX_TURNS = 12
EARLIER = 3  # questions before this one that the model is told
RESULT = {"trace_sha256", "troubles", "options", "sandbox", "approvals"}  # of result.json, left out: the digest has it


class _Asked:
    """A question to a model, with all that its answer cost."""

    def __init__(self, material: Material, question: str, backend: Backend, budget: Budget) -> None:
        self._material, self._question, self._backend = material, question, backend
        self._meter, self._budget = meter_of(budget, backend), budget
        self.usage, self.calls, self.looked_at = Usage(), 0, list[dict[str, Any]]()

    def reply(self) -> Reply | None:
        """Return the model's answer; None if it comes to none. Raises BudgetSpent and BackendLost."""
        messages = list(opening(PROMPT, "", self._context()))
        with Desk(self._material) as desk:
            for turn in range(MAX_TURNS):
                if turn == MAX_TURNS - 1:
                    messages.append(Message(role="user", content="Answer now, with what you have."))
                said = self._complete(messages)
                messages.append(said)
                if not said.tool_calls:
                    return Reply(text=said.content) if said.content else None
                for call in said.tool_calls:
                    result = desk.call(call)
                    if isinstance(result, Reply):
                        return result
                    self.looked_at.append({"tool": call.name, "arguments": call.arguments[:2000]})
                    messages.append(Message(role="tool", tool_call_id=call.id, content=compact(result)))
        return None

    def _complete(self, messages: list[Message]) -> Message:
        self._meter.check("reporter")
        request = Request(
            role="reporter", messages=tuple(messages), tools=schemas(), max_tokens=self._budget.reply_tokens
        )
        try:
            reply = self._backend.complete(request)
        except BackendLost as error:
            self.usage += error.usage
            raise
        self._meter.add(reply.usage)
        self.usage, self.calls = self.usage + reply.usage, self.calls + 1
        return reply.message

    def _context(self) -> dict[str, Any]:
        result = self._material.result.model_dump(mode="json", exclude=RESULT)
        earlier = [{"question": each.question, "answer": each.text} for each in kept(self._material.run_dir)]
        return {
            "trace": self._material.lines(),
            "result": digest(result),
            "planners": self._material.planners(),
            "earlier": earlier[-EARLIER:],
            "question": self._question,
        }


def ask(
    run_dir: Path,
    question: str,
    backend: Backend,
    budget: Budget | None = None,
    who: str = "",
    clock: Callable[[], float] = time.time,
) -> Answer:
    """Return the answer to a question about a run, after it is recorded in `questions.jsonl` of the run's folder.

    A backend without a language model, or a small local one, leaves it to rules. Raises ValueError for an empty
    question or a budget that cannot be enforced, TraceError for a run that cannot be read.
    """
    question = " ".join(question.split())
    if not question:
        raise ValueError("question: is empty")
    began, material = clock(), open_run(run_dir)
    if backend.is_llm and not backend.name.startswith("local:"):
        answer = _by_model(material, question, backend, budget or Budget())
    else:
        text, found, needs_work = by_rules(question, material)
        text, cites = cited(text, material)
        fork = fork_command(material, question) if needs_work else ""
        answer = Answer(
            question=question, text=text, answered=found, cites=cites, fork=fork, by="analyst", is_llm=False
        )
    answer = answer.model_copy(update={"who": who or user(), "when": began, "seconds": clock() - began})
    keep(run_dir, answer)
    return answer


def _by_model(material: Material, question: str, backend: Backend, budget: Budget) -> Answer:
    asked, reply, why = _Asked(material, question, backend, budget), None, "the model came to no answer"
    try:
        reply = asked.reply()
    except (BudgetSpent, BackendLost) as error:
        why = str(error)
    text, cites = cited(visible(reply.text), material) if reply else (f"No answer: {why}.", [])
    fork = fork_command(material, question, reply.step, reply.new_work) if reply and reply.new_work else ""
    return Answer(
        question=question,
        text=text,
        answered=reply is not None,
        cites=cites,
        fork=fork,
        by=backend.name,
        is_llm=True,
        model_calls=asked.calls,
        usage=asked.usage,
        looked_at=asked.looked_at,
    )
