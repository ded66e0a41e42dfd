"""Backends without a language model: they follow the policy that the task itself provides.

All use a model's protocol and get exactly the requests that a model gets. `analyst` follows the policy. The other two
are controls in a study, to separate what a model adds from what the tools do: `script` carries out the analyst's first
plan once, whatever the outcome, and submits the same again as long as the convergence rule continues; `random` makes
random plans, as many as the rule allows.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from agents.backends.base import Message, Reply, Request, ToolCall
from agents.backends.opening import read_context
from sandbox.driver import WORKSPACE
from tasks.catalogue import find_task
from tasks.plan import Plan, Step
from tasks.policy import Answer, Call, Context, Policy, finish, submit
from tasks.task import TaskBase

AGAIN = "again"
CONTROLS = ("script", "random")


class Script:
    """The analyst's first plan; later plans submit the same again."""

    def __init__(self, task: type[TaskBase]) -> None:
        self._task, self.claim = task, task.policy.claim

    def plan(self, context: Context, seed: int) -> Plan:
        handed_in = [o["submission"] for o in context["observations"] if o["submission"]]
        if not handed_in:
            return self._task.policy.plan(context | {"iteration": 0, "history": [], "observations": []}, seed)
        again = self._task.submission.model_validate(handed_in[-1]).placed(lambda path: f"{WORKSPACE}/{path}")
        step = Step(id=AGAIN, goal=again.model_dump_json(), submits=True)
        return Plan(reasoning="The script has finished.", steps=[step])

    def act(self, context: Context, answers: Sequence[Answer]) -> Call:
        if context["step"]["id"] != AGAIN:
            return self._task.policy.act(context, answers)
        return finish("the same again") if answers else submit(**json.loads(context["step"]["goal"]))


class RandomSearch:
    """Works and claims like the analyst, with random plans that depend only on seed and iteration."""

    def __init__(self, task: type[TaskBase]) -> None:
        self._policy, self.act, self.claim = task.policy, task.policy.act, task.policy.claim

    def plan(self, context: Context, seed: int) -> Plan:
        return self._policy.draw(context, random.Random(f"{seed}/{context['iteration']}"))


FOLLOWS: dict[str, Callable[[type[TaskBase]], Policy | Script | RandomSearch]] = {
    "analyst": lambda task: task.policy,
    "script": Script,
    "random": RandomSearch,
}


class BuiltIn:
    """A built-in backend by name: analyst, script or random."""

    is_llm = False

    def __init__(self, name: str) -> None:
        self.name = name

    def complete(self, request: Request) -> Reply:
        context = read_context(request.messages[1])
        policy = FOLLOWS[self.name](find_task(context["facts"]["task"]))
        if request.role == "planner":
            message = _words(policy.plan(context, request.seed))
        elif request.role == "worker":
            answers = [json.loads(message.content) for message in request.messages[2:] if message.role == "tool"]
            message = _call(policy.act(context, answers), len(answers))
        elif request.role == "reviewer":
            message = _words(find_task(context["facts"]["task"]).policy.review(context))
        else:
            message = _words(policy.claim(context))
        return Reply(message=message, model=self.name)


def _words(answer: Any) -> Message:
    return Message(role="assistant", content=answer.model_dump_json())


def _call(call: Call, number: int) -> Message:
    made = ToolCall(id=f"call_{number}", name=call.name, arguments=json.dumps(call.arguments, sort_keys=True))
    return Message(role="assistant", tool_calls=(made,))
