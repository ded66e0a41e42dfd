"""What a trace costs: `python -m benchmarks.trace [--quick]`.

A step is one model call and one command that leaves a file, with texts as long as those of the demo. Recording is
timed around a model and a sandbox that take no time, with each event and blob on the disk before the step goes on;
playing includes reading the trace and checking every line and blob. The peer is Inspect AI's log, which is written
once at the end: the same steps as its own events, without what it takes to make these. It is measured where
`inspect_ai` can be imported (in an environment of its own: it is no dependency); else it is null. The last line is one
JSON object:

    record_ms_per_step        medians over the repeats
    replay_s_per_1000_steps
    bytes_per_step            trace and blobs
    record_ratio_vs_peer      our recording over writing Inspect AI's log, per step
    record_ms_per_step_unsynced, record_ratio_vs_peer_unsynced     without waiting for the disk, as the peer writes
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from agents.backends.base import Message, Reply, Request, Usage
from agents.trace.events import RunFinished, RunStarted
from agents.trace.export import exported
from agents.trace.export_inspect import inspect_log
from agents.trace.record import Record
from agents.trace.recorders import RecordedBackend, RecordedWorkbench
from agents.trace.store import Store
from agents.trace.strict import Strict
from agents.trace.verify import verified
from agents.workbench import Nowhere
from sandbox.driver import WORKSPACE, ExecResult, Limits, SandboxInfo

WORDS = "the template is trained on the sidebands and interpolated into the signal region; " * 70  # 6 kB
INFO = SandboxInfo(driver="none", version="0", reason="benchmark", limits=Limits())


class Instant:
    """A model that answers at once."""

    name, is_llm = "instant", False

    def complete(self, request: Request) -> Reply:
        text = f"{request.messages[-1].content[:20]}: {WORDS[:1000]}"
        return Reply(message=Message(role="assistant", content=text), model="instant", usage=Usage(prompt_tokens=1500))


class InstantBench(Nowhere):
    """A sandbox that leaves a file at once."""

    def run(
        self,
        where: str,
        argv: Sequence[str],
        *,
        cwd: str = WORKSPACE,
        files: Mapping[str, bytes] | None = None,
        seconds: float | None = None,
    ) -> ExecResult:
        folder = self.workspace / where
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps({"where": where, "said": WORDS[:2000]}))
        return ExecResult(exit_code=0, stdout=f"{where} {WORDS[:500]}", stderr="", seconds=0.0)


def steps(n: int, backend: RecordedBackend, bench: RecordedWorkbench) -> None:
    for k in range(n):
        where = f"worker/{k}/s"
        request = Request(role="worker", messages=(Message(role="user", content=f"step {k} {WORDS}"),))
        reply = backend.complete(request, where)
        code = reply.message.content.encode()
        bench.run(where, ["python", "a.py"], cwd=f"{WORKSPACE}/{where}", files={"a.py": code})


def record(run_dir: Path, n: int) -> float:
    begun = RunStarted(
        run=run_dir.name,
        request="What does it cost?",
        task="none",
        options={},
        facts={},
        inputs={},
        backend="instant",
        is_llm=False,
        sandbox=INFO,
        budget={"reply_tokens": 4096},
        seed=1,
        versions={},
        prompts={},
    )
    start = time.perf_counter()
    with Store.create(run_dir) as store:
        store.append(begun)
        bench = RecordedWorkbench(InstantBench(run_dir / "workspace"), store, Record())
        steps(n, RecordedBackend(Instant(), store, Record()), bench)
        end = RunFinished(status="converged", reason="done", seconds=0.0, usage=Usage(), model_calls=n)
        store.append(end)
    return time.perf_counter() - start


def play(run_dir: Path, out: Path, n: int) -> float:
    start = time.perf_counter()
    verified(run_dir)
    with Store.reading(run_dir) as store:
        strict = Strict(store, ended=True)
        steps(n, RecordedBackend(Instant(), store, strict), RecordedWorkbench(Nowhere(out), store, strict))
        assert not strict.unplayed()
    return time.perf_counter() - start


def size(run_dir: Path) -> int:
    files = [run_dir / "trace.jsonl", *(path for path in (run_dir / "blobs").rglob("*") if path.is_file())]
    return sum(path.stat().st_size for path in files)


def peer(run_dir: Path, out: Path) -> float | None:
    """Seconds in which Inspect AI writes the same steps; None where it is not installed."""
    try:
        theirs: Any = importlib.import_module("inspect_ai.log")
    except ImportError:
        return None
    log = theirs.EvalLog.model_validate(inspect_log(exported(run_dir)))
    start = time.perf_counter()
    theirs.write_eval_log(log, str(out), format="json")
    return time.perf_counter() - start


def measure(n: int, repeats: int) -> dict[str, float | None]:
    recorded, unsynced, played, written, sizes = [], [], [], [], []
    with tempfile.TemporaryDirectory(prefix="beamcrew-bench-") as top:
        for k in range(repeats):
            run_dir = Path(top, str(k))
            recorded.append(record(run_dir, n))
            with patch("os.fsync"), patch("os.fdatasync"):
                unsynced.append(record(Path(top, f"{k}-unsynced"), n))
            played.append(play(run_dir, Path(top, f"{k}-out"), n))
            written.append(peer(run_dir, Path(top, f"{k}.json")))
            sizes.append(size(run_dir))
    others = [seconds for seconds in written if seconds is not None]

    def ratio(ours: list[float]) -> float | None:
        return round(median(ours) / median(others), 2) if others else None

    return {
        "record_ms_per_step": round(1e3 * median(recorded) / n, 3),
        "replay_s_per_1000_steps": round(1e3 * median(played) / n, 3),
        "bytes_per_step": round(median(sizes) / n),
        "record_ratio_vs_peer": ratio(recorded),
        "record_ms_per_step_unsynced": round(1e3 * median(unsynced) / n, 3),
        "record_ratio_vs_peer_unsynced": ratio(unsynced),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps and repeats")
    quick = parser.parse_args().quick
    figures = measure(*((50, 3) if quick else (300, 5)))
    console = Console(stderr=True)
    table = Table("what", "measured")
    for name, value in figures.items():
        table.add_row(name, "-" if value is None else f"{value:g}")
    console.print(table)
    if figures["record_ratio_vs_peer"] is None:
        console.print(f"not measured: Inspect AI; {sys.executable} has no inspect_ai")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
