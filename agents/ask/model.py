"""An answer by a language model, which looks things up with tools, within a budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.ask.answers import Answer, cited, fork_command, kept
from agents.ask.desk import Desk, Reply, schemas
from agents.ask.material import Material
from agents.backends.base import Backend, BackendLost, Message, Request, Usage
from agents.backends.digest import compact, digest
from agents.backends.opening import opening
from agents.crew.budget import Budget, BudgetSpent
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


def by_model(material: Material, question: str, backend: Backend, budget: Budget) -> Answer:
    """Return the model's answer, or why there is none. Raises ValueError for a budget that cannot be enforced."""
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
