"""The content of one event as blocks, which a browser can show without knowing event types.

A block is text, code, messages, facts, a table, files, a figure, a plot or a note. Blobs are named by their SHA-256 and
never by an address; nothing in a block is mark-up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from agents.backends.base import Message, Reply, Request
from agents.trace import words
from agents.trace.blobs import TraceError
from agents.trace.events import (
    AnyEvent,
    CanaryChecked,
    Claimed,
    Confirmed,
    Executed,
    Graded,
    ModelCalled,
    OutsideCalled,
    Planned,
    Sealed,
    StepFinished,
    ToolCalled,
    Trouble,
)
from agents.trace.result import first_event
from agents.trace.shown import task_of
from agents.trace.words import shortened
from agents.view.library import Trace
from tasks import page
from tasks.score import CheckedNumber, truth_known
from tasks.writing import NONE, measured

Block = dict[str, Any]
READ_MAX = 4 << 20  # bytes of the largest blob that is read to show its beginning and end


def blocks_of(trace: Trace, event: AnyEvent) -> list[Block]:
    """Return the blocks of an event. A missing or broken blob becomes a note."""
    match event:
        case ModelCalled():
            return [*_request(trace, event), *_reply(trace, event)]
        case ToolCalled():
            outcome = document("result", event.result) if event.error is None else document("error", event.error)
            return [document("arguments", event.arguments), outcome, *_command(trace, event)]
        case Executed():
            return _command(trace, event)
        case OutsideCalled():
            rows = [["ended", words.outside(event)], ["took", words.duration(event.seconds)]]
            how: Block = {"type": "facts", "label": "outside tool, called on the host", "rows": rows}
            said = _read(trace, "what its server said: text of others, not to be trusted", event.text, "code")
            return [how, document("arguments", event.arguments), said]
        case Planned():
            rows = [
                [s.id, s.goal, ", ".join(s.depends_on), ", ".join(c.tool for c in s.calls), "yes" if s.submits else ""]
                for s in event.plan.steps
            ]
            suggested = {s.id: [c.model_dump() for c in s.calls] for s in event.plan.steps if s.calls}
            return [
                text("reasoning", event.plan.reasoning),
                table("steps", ["step", "goal", "after", "tools", "submits"], rows),
                *([document("suggested calls", suggested)] if suggested else []),
            ]
        case StepFinished():
            seen = event.observation
            handed_in = [document("submission", seen.submission)] if seen.submission else []
            return [text("what the worker reports", seen.summary), *handed_in]
        case Graded() | Confirmed():
            handed_in = [document("submission", event.submission)] if event.submission else []
            return [*_score(trace, event), *handed_in]
        case Claimed():
            return [text("answer", str(event.claim.get("text", ""))), checks_table(event.checks)]
        case Sealed():
            rows = [[m.title, m.text, m.note] for m in event.metrics]
            return [table("with the truth", ["metric", "value", "note"], rows), checks_table(event.checks)]
        case CanaryChecked():
            return [text("what was tried", "\n".join(event.lines))]
        case Trouble():
            return [text(event.where, event.text)]
        case _:
            return [document("event", event.model_dump(mode="json", exclude={"time", "index", "kind"}))]


def text(title: str, content: str, kind: str = "text", sha: str | None = None) -> Block:
    """Return a block of text or code; if it had to be shortened, `sha` names the blob with all of it."""
    block = {"type": kind, "label": title, "text": shortened(content)}
    return block | ({"sha": sha} if sha and len(content) > words.LONGEST else {})


def document(title: str, value: Any) -> Block:
    """Return a block of JSON, formatted for people."""
    return {"type": "code", "label": title, "text": words.document(value)}


def table(title: str, head: list[str], rows: list[list[str]], mark: int | None = None) -> Block:
    """Return a table; `mark` is the index of a highlighted row."""
    return {"type": "table", "label": title, "head": head, "rows": rows, "mark": mark}


def checks_table(checks: Iterable[CheckedNumber]) -> Block:
    """Return a table of claims beside the harness's values, and the truth if it is known."""
    checks = list(checks)
    known = truth_known(checks)
    rows = [
        [
            c.title,
            c.written(c.claimed, c.claimed_error),
            c.written(c.harness, c.harness_error),
            NONE if c.agrees is None and c.traced is not False else words.agreement(c),
            *([c.written(c.truth)] if known else []),
        ]
        for c in checks
    ]
    return table(
        "claimed and checked", ["quantity", "claimed", "harness", "agrees", *(["truth"] if known else [])], rows
    )


def shown(blocks: Iterable[page.Block], event: int | None = None) -> list[Block]:
    """Convert a task's blocks for the browser; plots are those of the run, or of one `event`."""
    return [_shown(block, event) for block in blocks]


def _shown(block: page.Block, event: int | None) -> Block:
    match block:
        case page.Text():
            return text("", block.text)
        case page.Warning():
            return {"type": "note", "label": f"A warning. {block.who}", "text": block.text}
        case page.Numbers():
            rows = [[number.title, number.text] for number in block.numbers]
            return {"type": "facts", "label": block.title, "rows": rows}
        case page.Table():
            made = table(block.title, list(block.head), [list(row) for row in block.rows], block.mark)
            return made | {"note": block.note}
        case page.Plot():
            return {"type": "plot", "label": block.caption, "name": block.name, "n": event}


def _score(trace: Trace, event: Graded | Confirmed) -> list[Block]:
    score, task = event.score, task_of(first_event(trace.events))
    facts = {"value": measured(score.value, score.error), "why": score.reason}
    facts |= {"graded file": score.artefact} if score.artefact else {}
    blocks: list[Block] = [
        {"type": "facts", "label": score.metric, "rows": [[name, value] for name, value in facts.items()]}
    ]
    blocks += shown(task.shown(score), event.index) if task else []
    return [*blocks, *([document("details", score.details)] if score.details else [])]


def _request(trace: Trace, event: ModelCalled) -> list[Block]:
    try:
        request = Request.model_validate_json(_blob(trace, event.request))
    except (TraceError, ValidationError) as error:
        return [_note("prompt", error)]
    facts = {
        "temperature": f"{request.temperature:g}",
        "longest reply": f"{request.max_tokens} tokens",
        "seed": str(request.seed),
        "tools offered": ", ".join(tool.name for tool in request.tools) or NONE,
        "tokens": f"{event.usage.prompt_tokens} sent, {event.usage.completion_tokens} received",
        "price": f"${event.usage.dollars:.4f}",
    }
    return [
        {"type": "facts", "label": "", "rows": [[name, value] for name, value in facts.items()]},
        {"type": "messages", "label": "prompt", "messages": [_message(m) for m in request.messages]}
        | {"sha": event.request},
    ]


def _reply(trace: Trace, event: ModelCalled) -> list[Block]:
    try:
        reply = Reply.model_validate_json(_blob(trace, event.reply))
    except (TraceError, ValidationError) as error:
        return [_note("reply", error)]
    return [{"type": "messages", "label": "reply", "messages": [_message(reply.message)], "sha": event.reply}]


def _message(message: Message) -> dict[str, Any]:
    calls = [{"name": call.name, "text": shortened(_pretty(call.arguments))} for call in message.tool_calls]
    return {"role": message.role, "text": shortened(_pretty(message.content)), "calls": calls}


def _pretty(content: str) -> str:
    """Format JSON for people; return anything else unchanged."""
    if not content.lstrip().startswith(("{", "[")):
        return content
    try:
        return words.document(json.loads(content))
    except (ValueError, RecursionError):
        return content


def _command(trace: Trace, event: Executed) -> list[Block]:
    facts = {
        "command": " ".join(event.argv),
        "in": event.cwd,
        "ended": f"{event.ended}, exit status {event.exit_code}",
        "took": words.duration(event.seconds),
    }
    facts |= {"memory": f"{event.peak_mib:.0f} MiB"} if event.peak_mib is not None else {}
    facts |= {"output cut": f"{event.dropped_bytes} bytes"} if event.dropped_bytes else {}
    blocks: list[Block] = [{"type": "facts", "label": "", "rows": [[name, value] for name, value in facts.items()]}]
    blocks += [_read(trace, path, sha, "code") for path, sha in sorted(event.given.items())]
    outputs = [_read(trace, name, sha, "code") for name, sha in (("output", event.stdout), ("errors", event.stderr))]
    blocks += [block for block in outputs if block["text"]]
    for path, sha in sorted(event.files.items()):
        if path.endswith(".png"):
            blocks.append({"type": "figure", "label": path, "sha": sha})
    if event.files:
        files = [{"path": path, "sha": sha, "size": _size(trace, sha)} for path, sha in sorted(event.files.items())]
        blocks.append({"type": "files", "label": "files it left", "files": files})
    left_out = [*(f"gone: {path}" for path in event.gone), *event.unsaved]
    return [*blocks, *([text("not kept", "\n".join(left_out))] if left_out else [])]


def _read(trace: Trace, title: str, sha: str, kind: str) -> Block:
    try:
        content = _blob(trace, sha).decode(errors="replace")
    except TraceError as error:
        return _note(title, error)
    return text(title, content, kind, sha)


def _blob(trace: Trace, sha: str) -> bytes:
    if trace.blobs.size(sha) > READ_MAX:
        raise TraceError(f"{trace.blobs.size(sha)} bytes: too big to show here")
    return trace.blobs.get(sha)


def _size(trace: Trace, sha: str) -> int | None:
    try:
        return trace.blobs.size(sha)
    except TraceError:
        return None


def _note(title: str, error: Exception) -> Block:
    return {"type": "note", "label": title, "text": str(error)}
