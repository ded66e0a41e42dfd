"""A trace as an evaluation log of Inspect AI: format version 2, one sample, readable by `inspect view`.

The sample's target is empty: the truth is not exported. Long texts are attachments, as in Inspect's own logs, since
each call repeats a worker's whole conversation. The same trace gives the same bytes.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from agents.backends.base import Message, Usage
from agents.trace.events import (
    Answered,
    AnyEvent,
    Asked,
    BudgetNear,
    CanaryChecked,
    Confirmed,
    Decided,
    Graded,
    ModelCalled,
    Planned,
    Reviewed,
    Trouble,
)
from agents.trace.export import Called, Exported, Work, begin, finite, is_work, outcome, spans, tool_of
from agents.trace.record import where_of
from tasks.score import Score

VERSION = 2
STATUS = {
    "converged": "success",
    "exhausted": "success",
    "interrupted": "cancelled",
    "waiting": "started",
    "unfinished": "started",
}
STOP = {"stop": "stop", "length": "max_tokens", "tool_calls": "tool_calls", "content_filter": "content_filter"}
LONGEST = 100  # characters of a text; longer ones become attachments
SCORER = "beamcrew"
Json = dict[str, Any]


def inspect_log(trace: Exported) -> Json:
    """Return the document of a `.json` log."""
    return finite(_Log(trace).document())  # type: ignore[no-any-return]


class _Log:
    def __init__(self, trace: Exported) -> None:
        self._trace = trace
        self._attachments: dict[str, str] = {}
        self._start = trace.events[0].time
        self._model = trace.started.backend.replace(":", "/", 1)

    def document(self) -> Json:
        trace, started, result = self._trace, self._trace.started, self._trace.result
        status = STATUS.get(result.status, "error")
        times = {"started_at": _time(self._start), "completed_at": _time(max(e.time for e in trace.events))}
        error = {"message": result.reason, "traceback": "", "traceback_ansi": ""} if status == "error" else None
        return {
            "version": VERSION,
            "status": status,
            "eval": {
                "eval_id": trace.identity("eval", digits=22),
                "run_id": trace.identity("run", digits=22),
                "created": _time(self._start),
                "task": started.task,
                "task_id": trace.identity("task", digits=22),
                "dataset": {"name": started.task, "samples": 1, "sample_ids": [started.run], "shuffled": False},
                "model": self._model,
                "config": {"epochs": 1},
                "packages": {"beamcrew": started.versions.get("beamcrew", "")},
                "metadata": {"is_llm": started.is_llm, "trace_sha256": trace.sha, "status": result.status},
            },
            "plan": {"name": "plan", "steps": [{"solver": "beamcrew", "params": {}}], "config": {}},
            "results": {
                "total_samples": 1,
                "completed_samples": int(status == "success"),
                "scores": [_result(name, score) for name, score in self._scores().items()],
            },
            "stats": times | {"model_usage": self._usage()},
            "samples": [self._sample() | times],
        } | ({"error": error} if error else {})

    def _sample(self) -> Json:
        started, result = self._trace.started, self._trace.result
        text = str(result.claim.get("text", "")) if result.claim else ""
        return {
            "id": started.run,
            "epoch": 1,
            "input": started.request,
            "target": "",
            "messages": [
                {"role": "user", "content": started.request},
                *([{"role": "assistant", "content": text}] if text else []),
            ],
            "output": self._output(Message(role="assistant", content=text), "stop", Usage(), 0.0),
            "scores": {name: _score(score) for name, score in self._scores().items()},
            "metadata": {
                "reason": result.reason,
                "claim": result.claim,
                "sandbox": started.sandbox.model_dump(mode="json"),
                "canaries_held": result.canaries_held,
                "dollars": result.cost.dollars,
            },
            "store": {},
            "events": list(self._events()),
            "model_usage": self._usage(),
            "total_time": result.seconds,
            "attachments": self._attachments,
            "uuid": self._trace.identity("sample", digits=22),
        }

    def _scores(self) -> dict[str, Score]:
        """Return the best iteration's score and the one on held-out events."""
        best = self._trace.result.best_iteration
        graded = [e.score for e in self._trace.events if isinstance(e, Graded) and e.iteration == best]
        held = [e.score for e in self._trace.events if isinstance(e, Confirmed)]
        named = {"steering": graded[-1:], "held_out": held[-1:]}
        return {name: score for name, scores in named.items() for score in scores}

    def _usage(self) -> Json:
        calls = [e.usage for e in self._trace.events if isinstance(e, ModelCalled)]
        return {self._model: _usage(sum(calls, Usage()))} if calls else {}

    def _events(self) -> Iterator[Json]:
        """Yield the log's events; each agent is a span from its first event to its last."""
        groups = spans(self._trace.events)
        first, last = ({events[at].index: who for who, events in groups.items()} for at in (0, -1))
        for event in self._trace.events:
            who = where_of(event) if isinstance(event, Work) else None
            if event.index in first:
                yield self._at(event, begin(event), "span_begin") | {"id": who, "name": who, "type": "agent"}
            if told := self._told(event):
                yield self._at(event, begin(event), told.pop("event")) | told | {"span_id": who}
            if event.index in last:
                yield self._at(event, event.time, "span_end") | {"id": who}

    def _at(self, event: AnyEvent, time: float, kind: str) -> Json:
        identity = self._trace.identity("event", kind, event.index, digits=22)
        since = max(0.0, time - self._start)
        return {"event": kind, "uuid": identity, "timestamp": _time(time), "working_start": since}

    def _told(self, event: AnyEvent) -> Json | None:
        if isinstance(event, ModelCalled):
            return self._chat(event)
        if isinstance(event, Called):
            return self._tool(event) if is_work(event) else None
        if isinstance(event, Graded | Confirmed):
            return {"event": "score", "score": _score(event.score), "intermediate": isinstance(event, Graded)}
        if isinstance(event, Planned | Reviewed | Asked | Answered | BudgetNear | Decided | CanaryChecked | Trouble):
            document = event.model_dump(mode="json", exclude={"kind", "time", "index"})
            return {"event": "info", "source": event.kind, "data": document}
        return None

    def _chat(self, event: ModelCalled) -> Json:
        request, reply = self._trace.request(event), self._trace.reply(event)
        message = reply.message if reply else Message(role="assistant", content="[the reply is missing]")
        return {
            "event": "model",
            "model": event.model,
            "role": event.role,
            "input": [self._message(m) for m in request.messages] if request else [],
            "tools": [self._offered(t.name, t.description) for t in request.tools] if request else [],
            "tool_choice": "auto",
            "config": request.model_dump(include={"temperature", "max_tokens", "seed"}) if request else {},
            "output": self._output(message, reply.finish if reply else "", event.usage, event.seconds),
            "completed": _time(event.time),
            "working_time": event.seconds,
        }

    def _tool(self, event: Called) -> Json:
        name, arguments = tool_of(self._trace, event)
        result, error = outcome(self._trace, event)
        return {
            "event": "tool",
            "type": "function",
            "id": self._trace.identity("call", event.index, digits=22),
            "function": name,
            "arguments": arguments,
            "result": result,
            "completed": _time(event.time),
            "working_time": event.seconds,
        } | ({"error": {"type": "unknown", "message": error}, "failed": True} if error else {})

    def _output(self, message: Message, finish: str, usage: Usage, seconds: float) -> Json:
        # Only text sent to a model becomes an attachment: Inspect's reader does not resolve attachments elsewhere.
        said = self._message(message) | {"content": message.content, "source": "generate"}
        choice = {"message": said, "stop_reason": STOP.get(finish, "unknown")}
        return {"model": self._model, "choices": [choice], "usage": _usage(usage), "time": seconds}

    def _message(self, message: Message) -> Json:
        told: Json = {"role": message.role, "content": self._short(message.content)}
        if message.tool_calls:
            told["tool_calls"] = [
                {"id": c.id, "function": c.name, "type": "function"} | _arguments(c.arguments)
                for c in message.tool_calls
            ]
        return told | ({"tool_call_id": message.tool_call_id} if message.role == "tool" else {})

    def _offered(self, name: str, description: str) -> Json:
        return {
            "name": name,
            "description": self._short(description),
            "parameters": {"type": "object", "properties": {}},
        }

    def _short(self, text: str) -> str:
        if len(text) <= LONGEST:
            return text
        name = hashlib.sha256(text.encode()).hexdigest()[:32]
        self._attachments[name] = text
        return f"attachment://{name}"


def _arguments(text: str) -> Json:
    """Parse the model's arguments, which may be invalid JSON or not an object."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        return {"arguments": {}, "parse_error": f"{error}: {text}"}
    return {"arguments": value} if isinstance(value, dict) else {"arguments": {}, "parse_error": f"no object: {text}"}


def _score(score: Score) -> Json:
    value = score.value if score.value is not None else "refused"
    metadata = {"metric": score.metric, "error": score.error, "artefact": score.artefact}
    return {"value": value, "explanation": score.reason, "metadata": metadata}


def _result(name: str, score: Score) -> Json:
    metrics = {"value": score.value, "stderr": score.error}
    told = {k: {"name": k, "value": v, "params": {}} for k, v in finite(metrics).items() if v is not None}
    return {"name": name, "scorer": SCORER, "params": {}, "metrics": told, "metadata": {"metric": score.metric}}


def _usage(usage: Usage) -> Json:
    sent, received = usage.prompt_tokens, usage.completion_tokens
    tokens = {"input_tokens": sent, "output_tokens": received, "total_tokens": sent + received}
    return tokens | {"total_cost": usage.dollars}


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="microseconds")
