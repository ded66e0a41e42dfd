"""Outside servers: the file that names them, and what of a server that does not keep to the rules gets through."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from jsonschema import Draft202012Validator

from agents.backends.base import ToolSchema
from agents.backends.local.grammar import call_grammar
from agents.backends.local.prompt import signature
from agents.backends.schema import rewrite
from agents.outside import link
from agents.outside.live import LOSSES, LiveOutside
from agents.outside.schemas import ALL, LARGEST, Listed, offered
from agents.outside.servers import Servers
from agents.trace.outside import Answer
from agents.trace.where import Where
from agents.trace.words import HIDDEN

HERE = Path(__file__).parent
WHERE = Where("worker", 0, "a")
COMMAND = [sys.executable, str(HERE / "hostile_server.py")]


def odd(mode: str, **more: Any) -> LiveOutside:
    server = {"command": [*COMMAND, mode], "timeout": 60, **more}
    return LiveOutside(Servers.model_validate({"folder": HERE, "servers": {"odd": server}}), ["run_python"])


def ask(outside: LiveOutside, tool: str = "odd.good", before: int = 0) -> Answer:
    return outside.call(WHERE, tool, {}, before)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pdg: {command: [python, x.py], env: [PDG_TOKEN]}", ""),
        ("pdg: {url: 'http://127.0.0.1:1/mcp', token_env: PDG_TOKEN, tools: [a], timeout: 5, calls: 3}", ""),
        ("pdg: {url: 'https://pdg.example/mcp'}", ""),
        ("", "the file=None"),
        ("[1, 2]", "the file="),
        ("a: b: c", "not YAML"),
        ("pdg: {}", "either `command` or `url`"),
        ("pdg: {command: [x], url: 'https://pdg.example'}", "either `command` or `url`"),
        ("pdg: {command: [x], token_env: T}", "`token_env` is for `url`"),
        ("pdg: {url: 'https://pdg.example', env: [T]}", "`env` is for `command`"),
        ("pdg: {url: 'http://pdg.example'}", "begins with https://"),
        ("pdg: {url: 'https://ada:secret@pdg.example'}", "without a name or password"),
        ("pdg: {url: 'file:///etc/passwd'}", "begins with https://"),
        ("pdg: {command: [x], env: ['A=b']}", "pattern"),
        ("pdg: {command: [x], token: abc}", "Extra inputs"),
        ("pdg: {command: [x], timeout: 0}", "greater than 0"),
        ("Bad-Name: {command: [x]}", "pattern"),
        ("spectrum: {command: [x]}", "tools of beamcrew have this name"),
    ],
)
def test_a_file_is_read_or_refused_with_what_is_allowed(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "servers.yaml"
    path.write_text(text)
    if not said:
        assert list(Servers.read(path).servers) == ["pdg"]
        return
    with pytest.raises(ValueError, match=r"^servers: ") as error:
        Servers.read(path)
    assert said in str(error.value)


def test_a_token_must_be_there_and_too_long_to_be_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "servers.yaml"
    path.write_text("pdg: {url: 'https://pdg.example', token_env: PDG_TOKEN}")
    servers = Servers.read(path)
    for value in ("", "short"):
        monkeypatch.setenv("PDG_TOKEN", value)
        with pytest.raises(ValueError, match="token_env=PDG_TOKEN"):
            LiveOutside(servers)
    monkeypatch.setenv("PDG_TOKEN", "long-enough-0123")
    LiveOutside(servers)


def schemas_of(mode: str) -> tuple[dict[str, ToolSchema], dict[str, str]]:
    sys.path.insert(0, str(HERE))
    import hostile_server

    tools = [Listed(t["name"], t["description"], t["inputSchema"]) for t in hostile_server.listed(mode)["tools"]]
    found, left_out = offered("odd", tools, None, ["run_python"])
    return {tool.name: tool for tool in found}, left_out


def test_schemas_that_cannot_be_shown_are_left_out_with_the_reason() -> None:
    found, left_out = schemas_of("schemas")
    assert set(found) == {"odd.good", "odd.wordy"}
    assert set(left_out) == {"itself", "nowhere", "list", "typed", "long", "spaced name", "Go_od", "key"}
    assert all(left_out.values())
    text = found["odd.wordy"].parameters["properties"]["x"]["description"]
    assert len(text) < 400
    assert not HIDDEN.search(text)
    start = time.monotonic()
    assert set(schemas_of("doubling")[1]) == {"good"}
    assert time.monotonic() - start < 30  # written out it has 2^40 parts


def test_what_is_left_of_a_schema_every_backend_can_use() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "q": {"type": "string", "pattern": "^(a+)+$", "minLength": 1},
            "n": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": None},
            "kind": {"$ref": "#/$defs/Kind"},
            "pattern": {"type": "array", "items": {"type": "number"}},
            "free": {},
        },
        "required": ["q"],
        "$defs": {"Kind": {"enum": ["a", "b"], "type": "string"}},
        "additionalProperties": False,
    }
    (tool,), left_out = offered("inspire", [Listed("search", "Find papers.", schema)], None, [])
    assert not left_out
    assert tool.description.startswith("Tool of the outside server inspire")
    Draft202012Validator.check_schema(tool.parameters)
    validator = Draft202012Validator(tool.parameters)
    for fine in ({"q": "x"}, {"q": "x", "n": None, "kind": "a", "pattern": [1.5]}):
        assert validator.is_valid(fine), fine
    for wrong in ({}, {"q": 1}, {"q": "x", "kind": "c"}, {"q": "x", "n": 0}):
        assert not validator.is_valid(wrong), wrong
    assert "pattern" not in tool.parameters["properties"]["q"]
    assert rewrite(tool.parameters, "openapi")["required"] == ["q"]
    assert '"q": string' in signature(tool.parameters)
    assert "inspire.search" in call_grammar([tool], 100)


def test_only_the_tools_that_the_operator_allows_within_the_room_of_a_server() -> None:
    plain = {"type": "object", "properties": {}}
    listed = [Listed(f"t{n}", "x" * 900, plain) for n in range(100)]
    found, left_out = offered("odd", listed, ["t3", "t5", "none"], [])
    assert [tool.name for tool in found] == ["odd.t3", "odd.t5"]
    assert left_out == {"none": "the server has no such tool"}
    found, left_out = offered("odd", listed, None, [])
    assert 10 < len(found) < 100
    assert sum(len(tool.model_dump_json()) for tool in found) <= ALL
    assert len(found) + len(left_out) == 100
    assert LARGEST < ALL


@pytest.mark.parametrize(
    ("mode", "said"),
    [("gone", "no licence"), ("malformed", "ListToolsResult"), ("none", "it lists none")],
)
def test_a_server_that_cannot_be_used_is_named_before_a_run_begins(mode: str, said: str) -> None:
    with odd(mode) as outside, pytest.raises(ValueError, match=r"servers: odd \(python") as error:
        outside.offers()
    assert said in str(error.value)


def test_a_command_that_does_not_exist_and_one_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with odd("plain", command=["/nowhere/server"]) as outside, pytest.raises(ValueError, match="No such file"):
        outside.offers()
    monkeypatch.setattr(link, "OPEN", 4.0)
    monkeypatch.setattr(link, "GRACE", 0.5)
    with odd("mute") as outside, pytest.raises(ValueError, match="no answer within 4 seconds"):
        outside.offers()
    assert not below()


def test_a_call_that_hangs_is_given_up_and_a_server_that_never_answers_left_alone() -> None:
    with odd("deaf", timeout=0.5) as outside:
        (found,) = outside.offers()
        assert [tool.name for tool in found.tools] == ["odd.good", "odd.other"]
        assert not HIDDEN.search(found.version)
        answers = [ask(outside) for _ in range(LOSSES + 1)]
        assert [answer.ended for answer in answers] == ["timeout"] * LOSSES + ["lost"]
        assert "left alone" in answers[LOSSES - 1].trouble
        assert not answers[LOSSES].trouble  # it was not even asked
        assert ask(outside, before=100).ended == "limit"
    assert not below()


def test_a_check_that_takes_for_ever_is_killed_and_the_next_call_has_a_new_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pattern in the server's own schema of results holds the interpreter in which it is matched."""
    monkeypatch.setattr(link, "GRACE", 1.0)
    with odd("pattern", timeout=1) as outside:
        outside.offers()
        answer = ask(outside)
        assert answer.ended == "lost"
        assert "no answer within" in answer.trouble
    assert not below()


def test_a_reply_without_an_end_does_not_fill_the_memory() -> None:
    with odd("flood", timeout=3) as outside:
        outside.offers()
        family = psutil.Process().children(recursive=True)
        (between,) = [p for p in family if "agents.outside.go_between" in p.cmdline()]
        before = between.memory_info().rss
        assert ask(outside).ended in ("timeout", "lost")
        if between.is_running():
            assert between.memory_info().rss - before < 1.2 * (1 << 30)
    assert not below()


@pytest.mark.parametrize("mode", ["nonsense", "asks"])
def test_an_answer_that_is_none_is_for_the_operator(mode: str) -> None:
    with odd(mode) as outside:
        outside.offers()
        answer = ask(outside)
    assert (answer.ended, answer.text) == ("lost", "")
    assert "validation error" in answer.trouble


def test_pictures_and_links_are_named_and_not_followed() -> None:
    with odd("pictures") as outside:
        outside.offers()
        text = ask(outside).text
    assert text.splitlines() == ["[image: not shown]", "[a link, not followed: http://127.0.0.1:9/secret]", "the rest"]


def below() -> list[psutil.Process]:
    """Processes of servers that are still there."""
    ours = ("hostile_server", "particle_server", "agents.outside.go_between")
    family = psutil.Process().children(recursive=True)
    return [p for p in family if any(name in json.dumps(p.cmdline()) for name in ours)]
