"""The worker: carries out one step of a plan in a conversation in which the model calls tools and runs Python."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from agents.backends.base import Figure, Message, Request, ToolCall, ToolSchema
from agents.backends.digest import compact, digest
from agents.backends.opening import opening
from agents.crew.eyes import look, told
from agents.crew.glossary import glossary
from agents.crew.outside import told as told_of
from agents.crew.outside import too_long
from agents.crew.planner import observed
from agents.crew.shared import Crew, explain
from agents.crew.standing import LONG, rounded, standing
from agents.trace.bench import place, step_folder
from agents.trace.events import Executed, StepFinished, StepStarted, Trouble
from agents.trace.observation import Observation
from agents.trace.tool_calls import RECORDABLE, SHOWN, recordable, tails
from agents.trace.where import Where
from sandbox.driver import WORKSPACE
from sandbox.reader import UnsafeFile
from tasks.plan import Step
from tasks.score import Score
from tasks.submission import Submission
from tools.catalogue import find
from tools.contract import Frozen

MAX_TURNS = 16
STUCK = 3  # identical calls in a row: nothing changes between them, so the answer will not either


class RunPython(Frozen):
    """Write a Python file into the working directory and run it. What it prints comes back, cut if long."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,40}\.py$", description="file name, e.g. cut_study.py")
    code: str


class NullResult(Frozen):
    """Instead of `submit`: hand in that nothing was found, since no submission would be worth believing. Ends the step;
    the planner decides whether the run ends with it."""

    summary: str = Field(min_length=1, description="what was looked for, how sensitively, and that it was not found")


class Finish(Frozen):
    """The step is done."""

    summary: str = Field(description="what was found, in numbers, in a few sentences")
    ok: bool = Field(True, description="false when the step's goal was not reached")


OWN: dict[str, type[BaseModel]] = {"run_python": RunPython, "finish": Finish}
NAMES = (*OWN, "submit", "null_result")  # of a worker's tools besides those of the task


class Worker:
    """Carries out one step; keeps its submission and the results of its tool calls."""

    def __init__(
        self,
        crew: Crew,
        iteration: int,
        step: Step,
        scores: Sequence[Score] = (),
        earlier: Sequence[dict[str, Any]] = (),
        review: Mapping[str, Any] | None = None,
    ) -> None:
        """`scores`, `earlier`: the verdicts on the previous iterations, and their outcomes; `review`: what the
        reviewer sent back, with its reasons."""
        self._crew, self._iteration, self._step = crew, iteration, step
        self._scores, self._earlier, self._review = scores, list(earlier), dict(review or {})
        self._where = Where("worker", iteration, step.id)
        self._cwd = f"{WORKSPACE}/{step_folder(iteration, step.id)}"
        self._results: list[dict[str, Any]] = []
        self._submission: Submission | None = None
        self._null = ""
        self._end: Finish | None = None
        self._calls = 0
        self._figures: list[Figure] = []  # that the call in progress made
        self._explained: set[str] = set()  # tools whose results have been explained
        # Tools that only some steps have come last: all requests begin alike, so a service can cache them.
        self._outside = {tool.name for tool in crew.outside.tools}
        self._own = OWN | ({"submit": crew.task.submission, "null_result": NullResult} if step.submits else {})

    def work(self, done: Mapping[str, Observation]) -> Observation:
        """Carry out the step and return its outcome; a model that gets nowhere yields a failed observation.

        `done`: the outcomes of the steps that this one depends on.
        """
        self._crew.note(StepStarted(iteration=self._iteration, step=self._step.id))
        start = time.monotonic()
        messages = list(opening(self._crew.prompts["worker.md"], self._crew.task.brief(), self._context(done)))
        made: deque[tuple[str, str]] = deque(maxlen=STUCK)
        empty = False
        for _ in range(MAX_TURNS):
            request = Request(role="worker", messages=tuple(messages), tools=self._schemas(), seed=self._crew.seed)
            reply = self._crew.complete(request, self._where)
            messages.append(reply.message)
            if not reply.message.tool_calls:
                # Text without a call ends the step; a step that should have submitted then fails.
                if reply.message.content or empty:
                    self._end = Finish(summary=reply.message.content[:SHOWN] or "no answer", ok=True)
                else:
                    empty = True
                    messages.append(Message(role="user", content="Your reply was empty: call a tool, or `finish`."))
            for number, call in enumerate(reply.message.tool_calls, 1):
                # The last call of a truncated reply may look complete, since some services close open brackets.
                cut = reply.finish == "length" and number == len(reply.message.tool_calls)
                result = self._cut(call) if cut else self._call(call)
                content, figures = compact(digest(result)), tuple(self._figures)
                messages.append(Message(role="tool", tool_call_id=call.id, content=content, figures=figures))
                self._figures.clear()
                made.append((call.name, call.arguments))
            if len(made) == STUCK and len(set(made)) == 1:
                self._end = self._end or Finish(summary=f"made the same call {STUCK} times in a row", ok=False)
            if self._end:
                break
        end = self._end or Finish(summary=f"gave up after {MAX_TURNS} turns", ok=False)
        missing = self._step.submits and self._submission is None and not self._null
        if missing:
            text = f"the step should have submitted and did not. {end.summary}"
            self._crew.note(Trouble(who="model", where=self._where, text=text))
            end = Finish(summary=text, ok=False)
        observation = Observation(
            iteration=self._iteration,
            step=self._step.id,
            ok=end.ok,
            summary=end.summary,
            results=self._results,
            submission=self._submission and self._submission.model_dump(mode="json"),
            null_result=self._null,
        )
        self._crew.note(StepFinished(observation=observation, seconds=time.monotonic() - start))
        return observation

    def _context(self, done: Mapping[str, Observation]) -> dict[str, Any]:
        return {
            "request": self._crew.request,
            "facts": self._crew.facts,
            "earlier": self._earlier,
            "step": self._step.model_dump(mode="json"),
            "folder": self._cwd,
            "done": {
                name: observed(o) | {"folder": f"{WORKSPACE}/{step_folder(o.iteration, name)}"}
                for name, o in done.items()
            },
            **({"review": self._review} if self._review else {}),
            "now": {"replies_at_most": MAX_TURNS} | standing(self._crew, self._where, self._scores),
        }

    def _schemas(self) -> tuple[ToolSchema, ...]:
        offered = [*(ToolSchema(**find(name).schema()) for name in self._crew.task.tools), *self._crew.outside.tools]
        for name, model in self._own.items():
            offered.append(ToolSchema(name=name, description=model.__doc__ or "", parameters=model.model_json_schema()))
        return tuple(offered)

    def _call(self, call: ToolCall) -> dict[str, Any]:
        """Execute a call; return a result, or an error that the model can act on."""
        names = [schema.name for schema in self._schemas()]
        if call.name not in names:
            return self._error("tool", call.name, f"not a tool of this step; select from {', '.join(names)}")
        try:
            arguments = json.loads(call.arguments or "{}")
        except (ValueError, RecursionError) as error:
            return self._error("arguments", call.arguments[:200], f"must be a JSON object ({error})")
        if not recordable(arguments):
            return self._error("arguments", call.arguments[:200], f"must be {RECORDABLE}")
        try:
            if call.name in self._outside:
                return self._ask_outside(call.name, arguments)
            if call.name not in self._own:
                return self._tool(call.name, arguments)
            try:
                action = self._own[call.name].model_validate(arguments)
            except ValidationError as error:
                return self._error("arguments", call.name, explain(error))
            return self._carry_out(action)
        except UnsafeFile as error:  # this step's code has put an obstacle in place of a file
            return self._error("folder", self._cwd, str(error))

    def _cut(self, call: ToolCall) -> dict[str, Any]:
        limit = self._crew.meter.budget.reply_tokens
        text = f"the reply was cut off at {limit} tokens, so the call was not made; write less in one reply"
        return self._error("arguments", call.name, text)

    def _carry_out(self, action: BaseModel) -> dict[str, Any]:
        if isinstance(action, RunPython):
            self._crew.meter.check(self._where, model_call=False)
            files = {action.name: action.code.encode()}
            event = self._crew.bench.script(self._where, ["python", action.name], files, cwd=self._cwd)
            result = self._crew.bench.result(event)
            ended = {"exit_code": result.exit_code, "ended": result.ended, **duration(result.seconds)}
            return ended | tails(result) | self._look(event)
        if isinstance(action, Submission):
            try:
                self._submission = action.placed(self._placed)
            except ValueError as error:
                return self._error("submit", ", ".join(action.files().values()), str(error))
            self._null = ""
            return {"submitted": self._submission.model_dump(mode="json")}
        if isinstance(action, NullResult):
            self._submission, self._null = None, action.summary
            action = Finish(summary=f"Null result: {action.summary}", ok=True)
        assert isinstance(action, Finish)
        self._end = action
        return {"finished": True}

    def _tool(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self._calls += 1
        self._crew.meter.check(self._where, model_call=False)
        event = self._crew.bench.call(self._where, name, arguments, self._calls, cwd=self._cwd)
        if event.result is not None:
            self._results.append({"tool": name, "arguments": arguments, "result": event.result})
        said: dict[str, Any] = {"result": event.result} if event.error is None else {"error": event.error}
        if event.error is None and name not in self._explained:
            self._explained.add(name)
            said["fields"] = glossary(find(name).result, event.result)
        return said | duration(event.seconds) | self._look(event)

    def _ask_outside(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call an outside tool; what it says stays with this worker, who may report it in its own words."""
        if why := too_long(arguments):
            return self._error("arguments", name, why)
        self._crew.meter.check(self._where, model_call=False)
        event = self._crew.outside.call(self._where, name, arguments)
        return told_of(self._crew.outside, event) | duration(event.seconds)

    def _look(self, event: Executed) -> dict[str, Any]:
        """Keep a command's figures, to be shown with its result, and return them in words."""
        seen = look(self._crew, event)
        self._figures += seen.figures if seen else []
        return told(seen) if seen else {}

    def _placed(self, path: str) -> str:
        """Return a path relative to the workspace, however the model wrote it. Raises ValueError outside it."""
        try:
            return place(str(PurePosixPath(self._cwd, path)))
        except ValueError:
            raise ValueError(f"must lie in {WORKSPACE}") from None

    def _error(self, field: str, value: str, allowed: str) -> dict[str, Any]:
        self._crew.note(Trouble(who="model", where=self._where, text=f"{field}={value}: {allowed}"))
        return {"error": {"field": field, "value": value, "allowed": allowed}}


def duration(seconds: float) -> dict[str, float]:
    """Return a long call's duration for the model, to one digit; short ones fluctuate and would change requests."""
    return {"seconds": rounded(seconds)} if seconds >= LONG else {}
