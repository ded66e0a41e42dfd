"""One step of the plan: a conversation in which the model calls tools, runs Python, submits and finishes."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from agents.backends.base import Message, Request, ToolCall, ToolSchema
from agents.context import opening
from agents.crew import Crew, explain
from agents.digest import compact, digest, ends
from agents.planner import observed
from agents.state import Frozen, Observation, Step
from agents.trace.events import StepFinished, StepStarted, ToolCalled, Trouble
from sandbox.driver import WORKSPACE, ExecResult
from sandbox.reader import UnsafeFile
from tasks.score import Submission
from tools.catalogue import CATALOGUE

MAX_TURNS = 16
STUCK = 3  # times the same call in a row: nothing changes between them, so no answer will
MAX_DEPTH = 20  # of nested arguments: no tool needs more, and what is too deep cannot be recorded
SHOWN = 4000  # characters of output that go back to the model

LONG = 10.0  # seconds of a call that are worth telling


class RunPython(Frozen):
    """Write a Python file into the working directory and run it. What it prints comes back, cut if long."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,40}\.py$", description="file name, e.g. cut_study.py")
    code: str


class Finish(Frozen):
    """The step is done."""

    summary: str = Field(description="what was found, in numbers, in a few sentences")
    ok: bool = Field(True, description="false when the step's goal was not reached")


# What not every step has comes last: prompts of all steps begin alike then, and a service's cache holds them.
OWN: dict[str, type[BaseModel]] = {"run_python": RunPython, "finish": Finish, "submit": Submission}


class Worker:
    """Carries out one step; keeps what it submitted and what tools returned."""

    def __init__(self, crew: Crew, iteration: int, step: Step, earlier: Sequence[dict[str, Any]] = ()) -> None:
        """`earlier`: what came of the iterations before this one."""
        self._crew, self._iteration, self._step, self._earlier = crew, iteration, step, list(earlier)
        self._where = f"worker/{iteration}/{step.id}"
        self._cwd = f"{WORKSPACE}/i{iteration}/{step.id}"
        self._results: list[dict[str, Any]] = []
        self._submission: Submission | None = None
        self._end: Finish | None = None
        self._calls = 0

    def work(self, done: Mapping[str, Observation]) -> Observation:
        """`done`: how the steps this one depends on ended. A model that gets nowhere makes a failed observation."""
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
                # Words without a call end the step; one that should have submitted has failed then.
                if reply.message.content or empty:
                    self._end = Finish(summary=reply.message.content[:SHOWN] or "no answer", ok=True)
                else:
                    empty = True
                    messages.append(Message(role="user", content="Your reply was empty: call a tool, or `finish`."))
            for number, call in enumerate(reply.message.tool_calls, 1):
                # The last call of a reply that was cut may look whole, where a service closes what was open.
                cut = reply.finish == "length" and number == len(reply.message.tool_calls)
                result = self._cut(call) if cut else self._call(call)
                messages.append(Message(role="tool", tool_call_id=call.id, content=compact(digest(result))))
                made.append((call.name, call.arguments))
            if len(made) == STUCK and len(set(made)) == 1:
                self._end = self._end or Finish(summary=f"made the same call {STUCK} times in a row", ok=False)
            if self._end:
                break
        end = self._end or Finish(summary=f"gave up after {MAX_TURNS} turns", ok=False)
        missing = self._step.submits and self._submission is None
        if missing:
            text = f"the step should have submitted scores and did not. {end.summary}"
            self._crew.note(Trouble(who="model", where=self._where, text=text))
            end = Finish(summary=text, ok=False)
        observation = Observation(
            iteration=self._iteration,
            step=self._step.id,
            ok=end.ok,
            summary=end.summary,
            results=self._results,
            submission=self._submission,
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
            "done": {name: observed(o) | {"folder": f"{WORKSPACE}/i{o.iteration}/{name}"} for name, o in done.items()},
        }

    def _schemas(self) -> tuple[ToolSchema, ...]:
        offered = [ToolSchema(**CATALOGUE[name].schema()) for name in self._crew.task.tools]
        for name, model in OWN.items():
            if name != "submit" or self._step.submits:
                offered.append(
                    ToolSchema(name=name, description=model.__doc__ or "", parameters=model.model_json_schema())
                )
        return tuple(offered)

    def _call(self, call: ToolCall) -> dict[str, Any]:
        """What goes back to the model: a result, or an error it can act on."""
        names = [schema.name for schema in self._schemas()]
        if call.name not in names:
            return self._error("tool", call.name, f"not a tool of this step; select from {', '.join(names)}")
        try:
            arguments = json.loads(call.arguments or "{}")
            json.dumps(arguments, ensure_ascii=False).encode()  # half characters fit into no file
        except (ValueError, RecursionError) as error:
            return self._error("arguments", call.arguments[:200], f"must be a JSON object ({error})")
        if not isinstance(arguments, dict) or _depth(arguments) > MAX_DEPTH:
            return self._error(
                "arguments", call.arguments[:200], f"must be a JSON object, nested {MAX_DEPTH} deep at most"
            )
        try:
            if call.name not in OWN:
                return self._tool(call.name, arguments)
            try:
                action = OWN[call.name].model_validate(arguments)
            except ValidationError as error:
                return self._error("arguments", call.name, explain(error))
            return self._own(action)
        except UnsafeFile as error:  # code of this step has put something in the way of a file
            return self._error("folder", self._cwd, str(error))

    def _cut(self, call: ToolCall) -> dict[str, Any]:
        limit = self._crew.meter.budget.reply_tokens
        text = f"the reply was cut off at {limit} tokens: the call was not made; write less in one reply"
        return self._error("arguments", call.name, text)

    def _own(self, action: BaseModel) -> dict[str, Any]:
        if isinstance(action, RunPython):
            result = self._run(["python", action.name], {action.name: action.code.encode()})
            ended = {"exit_code": result.exit_code, "ended": result.ended, **duration(result.seconds)}
            return ended | _tails(result)
        if isinstance(action, Submission):
            try:
                self._submission = self._placed(action)
            except ValueError as error:
                return self._error("scores", action.scores, str(error))
            return {"submitted": self._submission.model_dump(mode="json")}
        assert isinstance(action, Finish)
        self._end = action
        return {"finished": True}

    def _tool(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self._calls += 1
        file = f"call_{self._calls}.json"
        content = json.dumps(arguments, indent=1, sort_keys=True).encode()
        # -P: a file that the model named tools.py or json.py must not stand in for ours.
        ran = self._run(["python", "-P", "-m", "tools.call", name, file], {file: content})
        answer = _last_json(ran.stdout)
        if ran.ended != "exit" or answer is None or not ({"result", "error"} & answer.keys()):
            answer = {
                "error": {
                    "field": "tool",
                    "value": name,
                    "allowed": f"it ended by {ran.ended}, exit code {ran.exit_code}",
                }
            }
            answer["error"] |= _tails(ran)
        result, error = answer.get("result"), answer.get("error")
        self._crew.note(
            ToolCalled(
                where=self._where, tool=name, arguments=arguments, result=result, error=error, seconds=ran.seconds
            )
        )
        if result is not None:
            self._results.append({"tool": name, "arguments": arguments, "result": result})
        return answer | duration(ran.seconds)

    def _run(self, argv: list[str], files: dict[str, bytes]) -> ExecResult:
        self._crew.meter.check(self._where, model_call=False)
        return self._crew.bench.run(self._where, argv, cwd=self._cwd, files=files)

    def _placed(self, submission: Submission) -> Submission:
        """Paths relative to the workspace, whatever way the model wrote them."""

        def place(path: str) -> str:
            full = PurePosixPath(self._cwd, path)
            if ".." in full.parts or not full.is_relative_to(WORKSPACE):
                raise ValueError(f"must lie in {WORKSPACE}")
            return str(full.relative_to(WORKSPACE))

        reference = submission.reference_scores
        return submission.model_copy(
            update={"scores": place(submission.scores), "reference_scores": reference and place(reference)}
        )

    def _error(self, field: str, value: str, allowed: str) -> dict[str, Any]:
        self._crew.note(Trouble(who="model", where=self._where, text=f"{field}={value}: {allowed}"))
        return {"error": {"field": field, "value": value, "allowed": allowed}}


def _depth(value: Any) -> int:
    """Nesting of lists and objects; a number has none."""
    if isinstance(value, dict | list):
        return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)
    return 0


def _tails(result: ExecResult) -> dict[str, str]:
    return {"stdout": ends(result.stdout, SHOWN), "stderr": ends(result.stderr, SHOWN)}


def _last_json(text: str) -> dict[str, Any] | None:
    """The JSON object on the last line of output, if that is what it is."""
    lines = text.strip().splitlines()
    try:
        value = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def duration(seconds: float) -> dict[str, float]:
    """What a model is told of a call that took long, to one digit: quick ones differ by chance, and requests would."""
    return {"seconds": float(f"{seconds:.0e}")} if seconds >= LONG else {}
