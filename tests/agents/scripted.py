"""A backend that follows a script, a task that takes milliseconds, and a crew around both: for the tests of the crew.

As a program (`python scripted.py SCRIPT LOG run ...`) it is the command line with both in place.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from test_trace_store import STARTED

from agents.backends.base import Message, Reply, Request, ToolCall, Usage
from agents.backends.opening import read_context
from agents.crew.budget import Budget, Meter
from agents.crew.context import read_prompts
from agents.crew.shared import Crew
from agents.runs.parts import Live
from agents.runs.workbench import Workbench
from agents.trace.outside import RecordedOutside
from agents.trace.record import Record
from agents.trace.recorders import RecordedBackend
from agents.trace.store import Store
from sandbox.driver import WORKSPACE, ExecResult, Limits, SandboxInfo
from sandbox.reader import read_bytes
from tasks.claim import Claim
from tasks.lhco.claims import SearchClaim, SearchSubmission
from tasks.lhco.grader import read_scores
from tasks.score import CheckedNumber, Metric, Score
from tasks.submission import Submission
from tasks.task import Audit, TaskBase, Verdict
from tools.events.parquet import read_columns, write_events

Answer = str | Message | Reply | Exception
Script = Mapping[str, Sequence[Answer | Callable[[Request], Answer]]]
ROWS = 300
SUBMISSION = {"scores": "scores.parquet", "window": [3.3, 3.7], "method": "scripted"}
CLAIM = {"discovery": False, "p_value": 0.5, "text": "nothing found"}


def call(name: str, /, **arguments: Any) -> Message:
    """The message of a model that calls one tool."""
    return raw_call(name, json.dumps(arguments))


def raw_call(name: str, arguments: str) -> Message:
    return Message(role="assistant", tool_calls=(ToolCall(id="c", name=name, arguments=arguments),))


def python(code: str, name: str = "a.py") -> Message:
    return call("run_python", name=name, code=code)


def step(name: str, after: Sequence[str] = (), submits: bool = False, **more: Any) -> dict[str, Any]:
    return {"id": name, "goal": f"do {name}", "depends_on": list(after), "submits": submits, **more}


def plan(*steps: dict[str, Any]) -> str:
    return json.dumps({"reasoning": "because", "steps": steps})


def columns(seed: int = 1) -> dict[str, np.ndarray]:
    random, ranges = np.random.default_rng(seed), {"mjj": (2.5, 6.0), "mj1": (0.1, 0.5), "mj2": (0.5, 1.0)}
    return {name: random.uniform(low, high, ROWS) for name, (low, high) in ranges.items()}


def scores_file(noise: float) -> bytes:
    """A parquet file of scores; the more noise, the lower the grade."""
    events = columns()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scores.parquet")
        write_events(path, {"score": events["mj1"] + noise * events["mj2"]})
        return path.read_bytes()


def hand_in(noise: float = 0.0, before: str = "") -> list[Message]:
    """Three turns: write scores with nothing but the standard library, so that it is quick; submit; finish."""
    text = base64.b64encode(scores_file(noise)).decode()
    code = (
        f"{before}\nimport base64\nopen('scores.parquet', 'wb').write(base64.b64decode('{text}'))\nprint('written')\n"
    )
    return [python(code, "score.py"), call("submit", **SUBMISSION), call("finish", summary="handed in")]


def asker(request: Request) -> str:
    """Who asks, in the words of the trace: planner/0, worker/0/a, reporter."""
    context = read_context(request.messages[1])
    if request.role == "worker":
        return f"worker/{context['folder'].removeprefix(f'{WORKSPACE}/i')}"
    if request.role == "reviewer":
        iteration = len(context["history"]) - (context["reviewed"] == "result")
        return f"reviewer/{iteration}/{context['reviewed']}"
    return f"planner/{context['iteration']}" if request.role == "planner" else request.role


def log_call(request: Request, log: Path) -> None:
    """A line that outlives the process, in one write, so that threads do not mix theirs."""
    with log.open("a") as file:
        file.write(f"{asker(request)} {request.key()}\n")


class Scripted:
    """Answers by who asks (planner/0, worker/0/a, reporter) and turn; keeps nothing but a log, for resumed runs."""

    name, is_llm = "scripted", False

    def __init__(self, script: Script, log: Path | None = None, usage: Usage | None = None) -> None:
        self._script, self._log, self._usage = script, log, usage or Usage()
        self._lock = threading.Lock()
        self.asked: list[tuple[str, Request]] = []

    def complete(self, request: Request) -> Reply:
        where = asker(request)
        with self._lock:
            self.asked.append((where, request))
            if self._log:
                log_call(request, self._log)
        turn = sum(message.role == "assistant" for message in request.messages)
        answers = self._script[where]
        assert turn < len(answers), f"{where}: asked more than {len(answers)} times"
        answer: Any = answers[turn]
        answer = answer(request) if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Reply):
            return answer
        if isinstance(answer, str):
            answer = Message(role="assistant", content=answer)
        return Reply(message=answer, model="script", usage=self._usage)


class TinyAudit:
    """The decoy has other numbers, and a score of it must still follow one column; nothing refused is audited."""

    def decoy(
        self,
        submission: SearchSubmission,
        chosen: Score,
        confirmed: Score,
        held_out: Path,
        sealed_folder: Path,
        into: Path,
    ) -> bool:
        if confirmed.ok:
            into.mkdir(exist_ok=True)
            write_events(into / "events.parquet", columns(seed=77))
        return confirmed.ok

    def judge(
        self,
        submission: SearchSubmission,
        chosen: Score,
        confirmed: Score,
        held_out: Path,
        decoy_inputs: Path,
        workspace: Path,
        sealed_folder: Path,
        trouble: str,
    ) -> Score:
        truth = read_columns(decoy_inputs / "events.parquet")["mj1"]
        follows = not trouble and np.corrcoef(read_scores(workspace, submission.scores, ROWS), truth)[0, 1] > 0.9
        if follows:
            return confirmed.model_copy(update={"details": {"audit": {"said": "The audit found nothing against it."}}})
        reason = f"The audit failed: {trouble or 'the scores follow nothing'}."
        return confirmed.model_copy(update={"value": None, "error": None, "reason": reason})


class TinyTask(TaskBase):
    """A few hundred events; the grade is how well the scores follow one column."""

    name: ClassVar[str] = "tiny"
    request: ClassVar[str] = "?"
    title: ClassVar[str] = "A task for tests"
    tools: ClassVar[tuple[str, ...]] = ("events.describe",)
    submission: ClassVar[type[Submission]] = SearchSubmission
    claim: ClassVar[type[Claim]] = SearchClaim
    defect: ClassVar[bool] = False
    max_iterations: int = Field(2, ge=1)
    patience: int = 1
    seed: int = 1
    holds_out: bool = False
    audits: bool = False

    @property
    def audit(self) -> Audit | None:
        return TinyAudit() if self.audits else None

    def brief(self) -> str:
        return "# A task for tests"

    def prepare(self, inputs: Path, held_out: Path, sealed_folder: Path) -> dict[str, Any]:
        for folder in (inputs, sealed_folder, *([held_out] if self.holds_out else [])):
            folder.mkdir(parents=True, exist_ok=True)
        write_events(inputs / "events.parquet", columns(seed=self.seed))
        if self.holds_out:
            write_events(held_out / "events.parquet", columns(seed=self.seed + 1))
        write_events(sealed_folder / "labels.parquet", {"is_signal": columns()["mj1"] > 0.4})
        return {"task": self.name, "events": "/inputs/events.parquet", "rows": ROWS}

    def grade(self, submission: SearchSubmission, inputs: Path, workspace: Path, n_graded: int) -> Score:
        if self.defect:
            raise ZeroDivisionError("a defect of the grader")
        try:
            score = read_scores(workspace, submission.scores, ROWS)
        except ValueError as error:
            return Score(metric="correlation", value=None, reason=str(error))
        truth = read_columns(inputs / "events.parquet")["mj1"]
        sha = sha256(read_bytes(workspace, submission.scores, 1 << 20)).hexdigest()
        value = float(np.corrcoef(score, truth)[0, 1])
        return Score(metric="correlation", value=value, error=0.01, reason="with mj1", artefact=sha)

    def confirm(
        self, submission: SearchSubmission, chosen: Score, held_out: Path, workspace: Path, sealed_folder: Path
    ) -> Score:
        return self.grade(submission, held_out, workspace, 1).model_copy(update={"metric": "unseen"})

    def check(self, claim: SearchClaim, scores: Sequence[Score], confirmed: Score | None) -> list[CheckedNumber]:
        return [CheckedNumber(name="discovery", claimed=claim.discovery, harness=False, agrees=not claim.discovery)]

    def seal(
        self,
        checks: Sequence[CheckedNumber],
        submission: SearchSubmission | None,
        workspace: Path,
        sealed_folder: Path,
        confirmed: Path | None,
    ) -> Verdict:
        labels = read_columns(sealed_folder / "labels.parquet")["is_signal"]
        return Verdict(metrics=[Metric(name="signal fraction", value=float(labels.mean()))], checks=list(checks))


class FakeSandbox:
    """Runs a Python function where a driver would run a command: `command(argv, folder)` gives its output."""

    info = SandboxInfo(driver="fake", version="1", reason="tests", limits=Limits())

    def __init__(self, workspace: Path, command: Callable[[Sequence[str], Path], str | ExecResult]) -> None:
        self.workspace, self._command = workspace, command
        workspace.mkdir()

    def exec(self, argv: Sequence[str], *, cwd: str = WORKSPACE, seconds: float | None = None) -> ExecResult:
        folder = self.workspace / Path(cwd).relative_to(WORKSPACE)
        out = self._command(argv, folder)
        return out if isinstance(out, ExecResult) else ExecResult(exit_code=0, stdout=out, stderr="", seconds=0.1)


def pretend(argv: Sequence[str], folder: Path) -> str:
    """What `hand_in` does, without a process: whatever is run leaves good scores."""
    (folder / "scores.parquet").write_bytes(scores_file(0.0))
    return "written"


def make_crew(
    folder: Path, backend: Any, sandbox: Any = None, task: Any = None, budget: Budget | None = None, **spent: Any
) -> Crew:
    """A crew at work in `folder`, its trace begun; without a sandbox its commands only pretend."""
    task = task or TinyTask()
    facts = task.prepare(folder / "inputs", folder / "held_out", folder / "sealed")
    store, record = Store.create(folder), Record()
    store.append(STARTED)
    sandbox = sandbox or FakeSandbox(folder / "workspace", pretend)

    meter = Meter(budget or Budget(), priced=True, **spent)
    live = Live(STARTED, task, store, record, Workbench(sandbox), meter)
    return Crew(
        task=task,
        request="Is there anything?",
        facts=facts,
        prompts=read_prompts(),
        backend=RecordedBackend(backend, store, record),
        bench=live.bench(),
        grader=live.grader(),
        outside=RecordedOutside([], live.outside(), store, record),
        again=live,
        confirms=False,
        store=store,
        record=record,
        meter=meter,
        seed=1,
    )


def two_rounds(before: str = "") -> Script:
    """Two steps side by side and one after them; then a worse try, so that the run converges on its first."""
    return {
        "planner/0": [plan(step("a"), step("b"), step("c", ["a", "b"], submits=True))],
        "worker/0/a": [call("events.describe", events="/inputs/none.parquet"), call("finish", summary="no file")],
        "worker/0/b": [python("print('looked')"), call("finish", summary="looked")],
        "worker/0/c": hand_in(0.1, before),
        "planner/1": [plan(step("c", submits=True))],
        "worker/1/c": hand_in(0.5),
        "reporter": ["no JSON", json.dumps(CLAIM)],
    }


SCRIPTS = {"plain": two_rounds(), "slow": two_rounds("import time\nopen('begun', 'w').close()\ntime.sleep(6)")}


def main() -> None:
    from agents.backends import select
    from agents.cli import main as cli
    from tasks import catalogue

    script, log, *sys.argv[1:] = sys.argv[1:]
    catalogue.catalogue()["tiny"] = TinyTask  # type: ignore[assignment]
    select.choose_backend = lambda *_, **__: Scripted(SCRIPTS[script], Path(log))  # type: ignore[assignment]
    cli.main()


if __name__ == "__main__":
    main()
