"""Run the installed task `pebbles` with the analyst, the controls and a scripted model: `carry_out.py SITE RUNS`.

SITE is where pip has put the distribution. The sandbox sees the packages of the environment that beamcrew runs in;
this one lies elsewhere, and is bound beside the tools.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SITE, RUNS = Path(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, str(SITE))

from agents.backends.base import Message, Reply, Request, ToolCall  # noqa: E402
from agents.backends.built_in import FOLLOWS, BuiltIn  # noqa: E402
from agents.runs.run import Settings, start  # noqa: E402
from sandbox import mounts  # noqa: E402
from sandbox.driver import TOOLS_ROOT  # noqa: E402

own = mounts.binds


def with_site(*arguments: Any) -> list[str]:
    words = own(*arguments)
    more = [word for path in SITE.iterdir() for word in ("--ro-bind", str(path), f"{TOOLS_ROOT}/{path.name}")]
    return [*words[:-2], *more, *words[-2:]]


class Model:
    """Says what a model might say."""

    name, is_llm = "scripted", False

    def complete(self, request: Request) -> Reply:
        turn = sum(message.role == "assistant" for message in request.messages)
        if request.role == "worker":
            calls = [
                ("pebbles.average", {"pebbles": "/inputs/pebbles.parquet"}),
                ("submit", {"average": "average.json"}),
                ("finish", {"summary": "weighed"}),
            ]
            name, arguments = calls[turn]
            call = ToolCall(id="c", name=name, arguments=json.dumps(arguments))
            return Reply(message=Message(role="assistant", tool_calls=(call,)), model="m")
        said: dict[str, Any] = {"reasoning": "r", "steps": [{"id": "a", "goal": "g", "submits": True}]}
        if request.role == "reporter":
            said = {"numbers": {"weight": {"value": 12.0, "error": 0.1}}, "text": "Twelve grams."}
        return Reply(message=Message(role="assistant", content=json.dumps(said)), model="m")


def main() -> None:
    mounts.binds = with_site
    ended = {}
    for backend in [*(BuiltIn(name) for name in FOLLOWS), Model()]:
        settings = Settings(request="How heavy?", task="pebbles", sandbox="bubblewrap")
        result = start(settings, backend, RUNS / backend.name)
        ended[backend.name] = [result.status, result.reason, result.headline, result.claim]
    print(json.dumps(ended))


if __name__ == "__main__":
    main()
