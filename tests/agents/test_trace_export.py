"""Exports hold what happened, for readers of other houses; the truth and the secrets stay at home."""

from __future__ import annotations

import base64
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from report_runs import CODE, SCRIPT, converged, failed
from test_trace_store import STARTED
from tool_events import called
from typer.testing import CliRunner

from agents.backends.base import Message, Reply, Request, ToolCall, ToolSchema, Usage
from agents.cli.main import app
from agents.trace import store
from agents.trace.events import Claimed, Executed, ModelCalled, Sealed, StepFinished, StepStarted
from agents.trace.export import exported
from agents.trace.export_inspect import inspect_log
from agents.trace.export_otel import SCHEMA, otel
from agents.trace.observation import Observation
from agents.trace.store import Store
from tasks.lhco.claims import SearchClaim
from tasks.score import CheckedNumber, Metric

SECRET, TRUTH = "sk-1234567890", "truth-4711"
LONG = "You work in a sandbox. " * 40


@pytest.fixture(autouse=True)
def fixed_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(1.79e9, 7.5)
    monkeypatch.setattr(store.time, "time", lambda: next(clock))


def worked(run_dir: Path) -> Path:
    """One step of a model: a call, a tool that fails, code that ends badly; truth in every place that may have it."""
    tool = ToolSchema(name="bumphunt.scan", description="Look for a bump.", parameters={"type": "object"})
    messages = (Message(role="system", content=LONG), Message(role="user", content=f"key {SECRET}"))
    calls = (
        ToolCall(id="c1", name="bumphunt.scan", arguments='{"window": [3, 4]}'),
        ToolCall(id="c2", name="x", arguments="{"),
    )
    result = Message(role="tool", tool_call_id="c1", content="{}")
    request = Request(
        role="worker", messages=(*messages, Message(role="assistant", tool_calls=calls), result), tools=(tool,)
    )
    reply = Reply(
        message=Message(role="assistant", content="done " * 30, tool_calls=calls), model="m-1", finish="tool_calls"
    )
    checks = [CheckedNumber(name="mass", claimed=3.4, harness=3.5, agrees=True, truth=47.11)]
    with Store.create(run_dir, secrets=[SECRET]) as trace:
        put = [trace.put(part.model_dump_json().encode()) for part in (request, reply)]
        for event in (
            STARTED.model_copy(update={"is_llm": True, "backend": "openai:m", "options": {"signal": TRUTH}}),
            StepStarted(iteration=0, step="a"),
            ModelCalled(
                key="k",
                role="worker",
                where="worker/0/a",
                request=put[0],
                reply=put[1],
                model="m-1",
                usage=Usage(prompt_tokens=70, completion_tokens=7, dollars=0.25),
                seconds=2.5,
            ),
            called(
                where="worker/0/a", tool="bumphunt.scan", arguments={"z": float("nan")}, error={"field": "z"}, seconds=1
            ),
            Executed(
                key="k",
                where="worker/0/a",
                argv=["python", "run.py"],
                cwd="/workspace",
                given={"run.py": trace.put(CODE.encode())},
                exit_code=1,
                ended="timeout",
                seconds=3,
                stdout=trace.put(b"half"),
                stderr=trace.put(b"way"),
                dropped_bytes=0,
                files={},
            ),
            StepFinished(observation=Observation(iteration=0, step="a", ok=False, summary="gave up"), seconds=7),
            Claimed(claim=SearchClaim(discovery=True, mass=3.4, text="There it is."), checks=checks),
            Sealed(metrics=[Metric(name=TRUTH, value=1.0)], checks=checks),
        ):
            trace.append(event)
    return run_dir


def spans_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    (resource,) = document["resourceSpans"]
    (scope,) = resource["scopeSpans"]
    assert resource["schemaUrl"] == scope["schemaUrl"] == SCHEMA
    return list(scope["spans"])


def plain(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {a["key"]: next(iter(a["value"].values())) for a in attributes}


@pytest.mark.parametrize("form", [otel, inspect_log])
@pytest.mark.parametrize("make", [worked, converged, failed])
def test_the_same_trace_gives_the_same_json(tmp_path: Path, make: Any, form: Any) -> None:
    make(tmp_path)
    first = json.dumps(form(exported(tmp_path)), allow_nan=False)
    assert json.dumps(form(exported(tmp_path)), allow_nan=False) == first


@pytest.mark.parametrize("form", ["otel", "inspect"])
def test_neither_truth_nor_secrets_leave(tmp_path: Path, form: str) -> None:
    run_dir = worked(tmp_path / "run")
    assert TRUTH in (run_dir / "trace.jsonl").read_text()
    assert not [event for event in exported(run_dir).events if event.kind == "sealed"]
    assert exported(run_dir).result.sealed == []
    done = CliRunner().invoke(
        app, ["trace", "export", str(run_dir), "--format", form, "--out", str(tmp_path / "x.json")]
    )
    assert done.exit_code == 0, done.output
    text = (tmp_path / "x.json").read_text()
    for word in (SECRET, TRUTH, "47.11", '"truth"'):
        assert word not in text
    assert "[redacted]" in text
    assert "There it is." in text


@pytest.mark.parametrize("make", [worked, converged, failed])
def test_spans_are_one_tree(tmp_path: Path, make: Any) -> None:
    spans = spans_of(otel(exported(make(tmp_path))))
    (root,) = [span for span in spans if not span["parentSpanId"]]
    ids = [span["spanId"] for span in spans]
    assert len(set(ids)) == len(ids)
    assert len({span["traceId"] for span in spans}) == 1
    for span in spans:
        assert (len(bytes.fromhex(span["traceId"])), len(bytes.fromhex(span["spanId"]))) == (16, 8)
        assert span is root or span["parentSpanId"] in ids
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])


def test_spans_say_what_the_conventions_ask_for(tmp_path: Path) -> None:
    spans = {span["name"]: span for span in spans_of(otel(exported(worked(tmp_path))))}
    assert list(spans) == [
        "invoke_workflow lhco-demo",
        "invoke_agent worker",
        "chat m-1",
        "execute_tool bumphunt.scan",
        "execute_tool run_python",
    ]
    chat = plain(spans["chat m-1"]["attributes"])
    assert spans["chat m-1"]["kind"] == 3
    assert (chat["gen_ai.operation.name"], chat["gen_ai.provider.name"]) == ("chat", "openai")
    assert (chat["gen_ai.usage.input_tokens"], chat["gen_ai.usage.output_tokens"]) == ("70", "7")
    assert json.loads(chat["gen_ai.system_instructions"]) == [{"type": "text", "content": LONG}]
    user, assistant, tool = json.loads(chat["gen_ai.input.messages"])
    assert user == {"role": "user", "parts": [{"type": "text", "content": "key [redacted]"}]}
    assert [part["type"] for part in assistant["parts"]] == ["tool_call", "tool_call"]
    assert tool["parts"] == [{"type": "tool_call_response", "id": "c1", "response": "{}"}]
    (said,) = json.loads(chat["gen_ai.output.messages"])
    assert said["finish_reason"] == "tool_calls"
    took = int(spans["chat m-1"]["endTimeUnixNano"]) - int(spans["chat m-1"]["startTimeUnixNano"])
    assert took == 2_500_000_000
    failed_tool, code = spans["execute_tool bumphunt.scan"], spans["execute_tool run_python"]
    assert failed_tool["status"]["code"] == code["status"]["code"] == 2
    assert plain(code["attributes"])["error.type"] == "timeout"
    assert json.loads(plain(code["attributes"])["gen_ai.tool.call.arguments"])["files"] == {"run.py": CODE}
    assert plain(code["attributes"])["gen_ai.tool.call.result"] == "halfway"
    assert spans["invoke_agent worker"]["status"]["message"] == "gave up"


def test_scores_are_evaluation_events(tmp_path: Path) -> None:
    root = spans_of(otel(exported(converged(tmp_path))))[0]
    scores = [plain(e["attributes"]) for e in root["events"] if e["name"] == "gen_ai.evaluation.result"]
    assert [s.get("gen_ai.evaluation.score.value") for s in scores] == [4.2, None, 5.2, 5.1]
    assert [s["gen_ai.evaluation.score.label"] for s in scores] == ["graded", "refused", "graded", "graded"]


def test_a_run_that_failed_is_a_span_that_failed(tmp_path: Path) -> None:
    failed(tmp_path)
    assert spans_of(otel(exported(tmp_path)))[0]["status"] == {"code": 2, "message": "engine gone"}
    log = inspect_log(exported(tmp_path))
    assert (log["version"], log["status"], log["error"]["message"]) == (2, "error", "engine gone")


@pytest.mark.parametrize("make", [worked, converged, failed])
def test_otlp_is_what_its_own_schema_reads(tmp_path: Path, make: Any) -> None:
    pytest.importorskip("opentelemetry.proto", reason="opentelemetry-proto is not installed")
    from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped,unused-ignore]
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # type: ignore[import-not-found,unused-ignore]
        ExportTraceServiceRequest,
    )

    document = otel(exported(make(tmp_path)))
    for span in spans_of(document):
        for name in ("traceId", "spanId", "parentSpanId"):  # OTLP has them in hexadecimal, protobuf's JSON in base64
            span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    read = ParseDict(document, ExportTraceServiceRequest())
    assert len(read.resource_spans[0].scope_spans[0].spans) == len(spans_of(document))


@pytest.mark.parametrize("make", [worked, converged, failed])
def test_inspect_reads_its_log(tmp_path: Path, make: Any) -> None:
    log_module = pytest.importorskip("inspect_ai.log", reason="inspect-ai is not installed")
    make(tmp_path / "run")
    target = tmp_path / "log.json"
    done = CliRunner().invoke(
        app, ["trace", "export", str(tmp_path / "run"), "--format", "inspect", "--out", str(target)]
    )
    assert done.exit_code == 0, done.output
    log = log_module.read_eval_log(str(target), resolve_attachments=True)
    (sample,) = log.samples
    assert log.status == {worked: "started", converged: "success", failed: "error"}[make]
    assert "attachment://" not in sample.model_dump_json(exclude={"attachments"})
    opened, closed = ({e.id for e in sample.events if e.event == kind} for kind in ("span_begin", "span_end"))
    assert opened == closed
    assert {e.span_id for e in sample.events if e.event in ("model", "tool")} <= opened
    if make is converged:
        assert (sample.scores["steering"].value, sample.scores["held_out"].value) == (5.2, 5.1)
        assert SCRIPT in sample.input
    if make is worked:
        (call,) = [e for e in sample.events if e.event == "model"]
        assert call.input[0].content == LONG
        assert call.output.completion == "done " * 30
        assert call.output.message.tool_calls[0].arguments == {"window": [3, 4]}
        assert call.output.message.tool_calls[1].parse_error
    log_module.write_eval_log(log, str(tmp_path / "again.eval"))
    assert len(log_module.read_eval_log(str(tmp_path / "again.eval")).samples[0].events) == len(sample.events)


def test_a_folder_without_a_trace_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["trace", "export", str(tmp_path), "--out", str(tmp_path / "x.json")])
    assert (done.exit_code, "cannot be read" in done.output) == (2, True)
    assert not (tmp_path / "x").exists()
