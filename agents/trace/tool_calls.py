"""Tool calls as sandbox commands: the command line, and the answer in its output."""

from __future__ import annotations

import json
from typing import Any

from agents.backends.digest import ends
from sandbox.driver import ExecResult

SHOWN = 4000  # characters of output that go back to the model
MAX_DEPTH = 20  # nesting of arguments: no tool needs more, and very deep ones cannot be recorded
RECORDABLE = f"a JSON object, lone surrogates not allowed, nested at most {MAX_DEPTH} deep"
Arguments = dict[str, Any]


def command(tool: str, arguments: Arguments, number: int) -> tuple[list[str], dict[str, bytes]]:
    """Return the command line of the `number`-th call in a folder, and the file with its arguments."""
    file = f"call_{number}.json"
    content = json.dumps(arguments, indent=1, sort_keys=True).encode()
    # -P: a file that the model named tools.py or json.py must not shadow the real module.
    return ["python", "-P", "-m", "tools.call", tool, file], {file: content}


def answer(tool: str, ran: ExecResult) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return (result, error) of a finished call; one of them is None."""
    said = _last_json(ran.stdout)
    if ran.ended == "exit" and said is not None and {"result", "error"} & said.keys():
        return said.get("result"), said.get("error")
    allowed = f"it ended by {ran.ended}, exit code {ran.exit_code}"
    return None, {"field": "tool", "value": tool, "allowed": allowed} | tails(ran)


def recordable(arguments: Any) -> bool:
    """Return whether a trace can hold these arguments: they must be RECORDABLE."""
    try:
        json.dumps(arguments, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return isinstance(arguments, dict) and depth(arguments) <= MAX_DEPTH


def depth(value: Any) -> int:
    """Return the nesting depth of lists and objects; 0 for a number."""
    if isinstance(value, dict | list):
        return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)
    return 0


def tails(ran: ExecResult) -> dict[str, str]:
    """Return stdout and stderr, shortened if long."""
    return {"stdout": ends(ran.stdout, SHOWN), "stderr": ends(ran.stderr, SHOWN)}


def _last_json(text: str) -> dict[str, Any] | None:
    """Return the JSON object on the last line of the output, or None."""
    lines = text.strip().splitlines()
    try:
        value = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
