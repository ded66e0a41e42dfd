"""Size of the prompts of a run, and the part of them that a service's cache can hold.

A crew plays two iterations of `lhco-demo` with a scripted model: three windows in parallel, one step that compares and
submits, then one more submission and the end. Tools are not run: their results are those of one real run
(`prompts_results.json`). Tokens are estimated at four bytes each. A cache can serve the beginning of a request that an
earlier one also has, tools first, as services build their prompts. `--quick` runs the same.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from agents.backends.base import Message, Reply, Request, ToolCall
from agents.backends.opening import read_context
from agents.backends.reading import estimated_tokens
from agents.crew import graph
from agents.crew.budget import Budget, Meter
from agents.crew.context import read_prompts
from agents.crew.shared import Crew
from agents.runs.session import RECURSION
from agents.runs.workbench import Nowhere
from agents.trace.events import RunStarted
from agents.trace.outside import Nobody, RecordedOutside
from agents.trace.record import Record
from agents.trace.recorders import RecordedBackend, RecordedGrader, RecordedWorkbench
from agents.trace.store import Store
from sandbox.driver import WORKSPACE, ExecResult, Limits, SandboxInfo
from tasks.catalogue import make_task
from tasks.score import Score
from tasks.submission import Submission

RESULTS = json.loads((Path(__file__).parent / "prompts_results.json").read_text())
WINDOWS = {"low": [2.8, 3.2], "mid": [3.4, 3.8], "high": [4.0, 4.4]}
CHAIN = ("anomaly.template", "anomaly.classify", "bumphunt.scan")
NOWHERE = SandboxInfo(driver="none", version="0", reason="results are canned", limits=Limits())


class Canned(Nowhere):
    """A bench on which every tool returns its result from a real run."""

    def run(
        self,
        where: str,
        argv: Sequence[str],
        *,
        cwd: str = WORKSPACE,
        files: Mapping[str, bytes] | None = None,
        seconds: float | None = None,
    ) -> ExecResult:
        tool = argv[argv.index("tools.call") + 1]
        return ExecResult(exit_code=0, stdout=json.dumps({"result": RESULTS[tool]}), stderr="", seconds=61.5)


class Script:
    """A model that plans a survey, a comparison, one more try and the end; `asked` holds all its requests."""

    name, is_llm = "script of a benchmark", False

    def __init__(self) -> None:
        self.asked: list[tuple[str, Request]] = []

    def complete(self, request: Request) -> Reply:
        context = read_context(request.messages[1])
        where = request.role if request.role != "worker" else context["step"]["id"]
        self.asked.append((where, request))
        if request.role == "worker":
            message = self._work(context["step"], sum(m.role == "assistant" for m in request.messages))
        elif request.role == "planner":
            message = Message(role="assistant", content=json.dumps(self._plan(context["iteration"])))
        else:
            claim = {"discovery": False, "p_value": 0.5, "text": "nothing found"}
            message = Message(role="assistant", content=json.dumps(claim))
        return Reply(message=message, model=self.name)

    def _plan(self, iteration: int) -> dict[str, Any]:
        if iteration == 2:
            return {"reasoning": "nothing more to gain", "stop": True}
        search = [{"id": name, "goal": f"Search the window {window} TeV."} for name, window in WINDOWS.items()]
        last = {"id": "choose", "goal": "Submit the best.", "depends_on": list(WINDOWS), "submits": True}
        steps = [*search, last] if iteration == 0 else [last | {"depends_on": []}]
        return {"reasoning": "survey, then the best window", "steps": steps}

    def _work(self, step: dict[str, Any], turn: int) -> Message:
        script = [*CHAIN, *(["submit"] if step["submits"] else []), "finish"]
        arguments = {
            "submit": {"scores": "scores.parquet", "window": [4.0, 4.4], "method": "CATHODE"},
            "finish": {"summary": f"{step['id']}: local p = 0.012 at 4.2 TeV after the tightest cut, closure passes"},
        }.get(script[turn], {"events": "/inputs/events.parquet", "window": WINDOWS.get(step["id"], [4.0, 4.4])})
        call = ToolCall(id=f"call_{turn}", name=script[turn], arguments=json.dumps(arguments))
        return Message(role="assistant", tool_calls=(call,))


def played(folder: Path) -> list[tuple[str, Request]]:
    """Return all requests of a run, each with its sender."""
    task = make_task("lhco-demo", {"events": 20_000})
    facts = {"task": task.name} | task.prepare(folder / "inputs", folder / "held_out", folder / "sealed")
    script, scores = Script(), iter([2.1, 3.4])
    settings: dict[str, Any] = {"run": "prompts", "request": task.request, "task": task.name, "options": task.options()}
    nothing: dict[str, Any] = {"inputs": {}, "budget": {}, "versions": {}, "prompts": {}}

    def grade(iteration: int, submission: Submission | None, workspace: Path) -> Score:
        return Score.model_validate(RESULTS["verdict"] | {"value": next(scores), "error": 0.3})

    with Store.create(folder) as store:
        store.append(
            RunStarted(facts=facts, backend=script.name, is_llm=False, sandbox=NOWHERE, seed=1, **settings, **nothing)
        )
        record = Record()
        crew = Crew(
            task=task,
            request=task.request,
            facts=facts,
            prompts=read_prompts(),
            backend=RecordedBackend(script, store, record),
            bench=RecordedWorkbench(Canned(folder / "workspace"), store, record),
            grader=RecordedGrader(grade, store, record, folder / "workspace"),
            outside=RecordedOutside([], Nobody(), store, record),
            again=cast(Any, None),  # nothing is confirmed
            confirms=False,
            store=store,
            record=record,
            meter=Meter(Budget(), priced=True),
            seed=1,
        )
        graph.build(crew).invoke({}, {"recursion_limit": RECURSION, "max_concurrency": 1})
    return script.asked


def as_read(request: Request) -> str:
    """Return the prompt that a service builds from a request: tools, the reply's form, messages."""
    document = request.model_dump(mode="json", include={"tools", "response_schema", "messages"})
    return json.dumps([document["tools"], document["response_schema"], document["messages"]])


def cacheable(prompts: Sequence[str]) -> float:
    """Return the fraction of all text that is a common beginning of its prompt and an earlier one."""
    held = 0
    for number, prompt in enumerate(prompts):
        held += max((_alike(prompt, earlier) for earlier in prompts[:number]), default=0)
    return held / sum(map(len, prompts))


def _alike(one: str, other: str) -> int:
    """Return the length of the common beginning of two texts."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the same, as all of it is quick")
    parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asked = played(Path(folder))
    prompts = [as_read(request) for _, request in asked]
    tokens = [estimated_tokens(prompt) for prompt in prompts]
    for (where, request), count in zip(asked, tokens, strict=True):
        print(f"{request.role:9} {where:9} {len(request.messages):3} messages {count:7,} tokens")
    first = {where: count for (where, _), count in reversed(list(zip(asked, tokens, strict=True)))}
    found = {
        "tokens_planner": first["planner"],
        "tokens_worker_first": first["low"],
        "tokens_worker_dependent": first["choose"],
        "tokens_run": sum(tokens),
        "cacheable_fraction": round(cacheable(prompts), 3),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
