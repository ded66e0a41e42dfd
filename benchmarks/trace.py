"""Cost of a trace: `python -m benchmarks.trace [--quick]`.

A step is one model call and one command that leaves a file, with texts as long as those of the demo. Recording is timed
around a model and a sandbox that take no time, with each event and blob on the disk before the step continues;
replaying includes reading the trace and checking every line and blob. The peer is Inspect AI: the same steps as its own
events, without the time to make these. It puts each event into a database (SQLite, set not to wait for the disk) while
a task runs, and writes its log once, at the end; both are measured, the first through an internal interface that may
change. If `inspect_ai` cannot be imported (it is not a dependency: give it its own environment) they are null. The last
line is one JSON object:

    record_ms_per_step        medians over the repeats
    replay_s_per_1000_steps
    bytes_per_step            trace and blobs
    page_load_s_1000_steps    the view of a run of 1,000 steps in a headless Chromium; null without Chromium
    peer_ms_per_step          Inspect AI: each event into its database, then the log
    record_ratio_vs_peer      our recording over that
    record_ms_per_step_unsynced, record_ratio_vs_peer_unsynced     ours without waiting for the disk, as the peer works
    record_ratio_vs_peer_log  our recording over writing Inspect AI's log alone, once and for all steps
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
from agents.runs.workbench import Nowhere
from agents.trace.events import RunFinished, RunStarted
from agents.trace.export import exported
from agents.trace.export_inspect import inspect_log
from agents.trace.record import Record
from agents.trace.recorders import RecordedBackend, RecordedWorkbench
from agents.trace.store import Store
from agents.trace.strict import Strict
from agents.trace.verify import verified
from agents.trace.where import Where
from benchmarks import page_load
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


def step(name: str, backend: RecordedBackend, bench: RecordedWorkbench) -> None:
    where = Where("worker", 0, name)
    request = Request(role="worker", messages=(Message(role="user", content=f"step {name} {WORDS}"),))
    reply = backend.complete(request, where)
    code = reply.message.content.encode()
    bench.run(where, ["python", "a.py"], cwd=f"{WORKSPACE}/{name}", files={"a.py": code})


def steps(n: int, backend: RecordedBackend, bench: RecordedWorkbench) -> None:
    for k in range(n):
        step(f"worker/{k}/s", backend, bench)


def begun(name: str) -> RunStarted:
    return RunStarted(
        run=name,
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


def finished(n: int) -> RunFinished:
    return RunFinished(status="converged", reason="done", seconds=0.0, usage=Usage(), model_calls=n)


def record(run_dir: Path, n: int) -> float:
    start = time.perf_counter()
    with Store.create(run_dir) as store:
        store.append(begun(run_dir.name))
        bench = RecordedWorkbench(InstantBench(run_dir / "workspace"), store, Record())
        steps(n, RecordedBackend(Instant(), store, Record()), bench)
        store.append(finished(n))
    return time.perf_counter() - start


def page(runs: Path, repeats: int) -> float | None:
    """Return the seconds until a browser shows a run of 1,000 steps."""
    run_dir = runs / "long"
    with patch("os.fsync"), patch("os.fdatasync"), Store.create(run_dir) as store:
        store.append(begun(run_dir.name))
        backend = RecordedBackend(Instant(), store, Record())
        bench = RecordedWorkbench(InstantBench(run_dir / "workspace"), store, Record())
        page_load.write(store, lambda where: step(where, backend, bench))
        store.append(finished(page_load.ROUNDS * page_load.STEPS))
    return page_load.page_load(
        runs, f"/runs/{run_dir.name}", page_load.STEP, page_load.ROUNDS * page_load.STEPS, repeats
    )


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


def peer(run_dir: Path, out: Path) -> tuple[float, float] | None:
    """Return the seconds in which Inspect AI records the same steps, and writes its log; None if not installed."""
    try:
        theirs: Any = importlib.import_module("inspect_ai.log")
        recorders = "inspect_ai.log._recorders"
        database: Any = importlib.import_module(f"{recorders}.buffer.database").SampleBufferDatabase
        noted: Any = importlib.import_module(f"{recorders}.types").SampleEvent
    except ImportError:
        return None
    log = theirs.EvalLog.model_validate(inspect_log(exported(run_dir)))
    (sample,) = log.samples
    start = time.perf_counter()
    live = database(str(out), db_dir=out.with_suffix(".db"))
    live.start_sample(sample.summary())
    for event in sample.events:
        live.log_events([noted(id=sample.id, epoch=sample.epoch, event=event)])
    middle = time.perf_counter()
    live.close()
    again = time.perf_counter()
    theirs.write_eval_log(log, str(out), format="json")
    return middle - start, time.perf_counter() - again


def measure(n: int, repeats: int) -> dict[str, float | None]:
    recorded, unsynced, played, theirs, sizes = [], [], [], [], []
    with tempfile.TemporaryDirectory(prefix="beamcrew-bench-") as top:
        for k in range(repeats):
            run_dir = Path(top, str(k))
            recorded.append(record(run_dir, n))
            with patch("os.fsync"), patch("os.fdatasync"):
                unsynced.append(record(Path(top, f"{k}-unsynced"), n))
            played.append(play(run_dir, Path(top, f"{k}-out"), n))
            theirs.append(peer(run_dir, Path(top, f"{k}.json")))
            sizes.append(size(run_dir))
        shown = page(Path(top, "runs"), repeats)
    written = [seconds[1] for seconds in theirs if seconds]
    all_of_it = [sum(seconds) for seconds in theirs if seconds]

    def ratio(ours: list[float], others: list[float]) -> float | None:
        return round(median(ours) / median(others), 2) if others else None

    return {
        "record_ms_per_step": round(1e3 * median(recorded) / n, 3),
        "replay_s_per_1000_steps": round(1e3 * median(played) / n, 3),
        "bytes_per_step": round(median(sizes) / n),
        "page_load_s_1000_steps": None if shown is None else round(shown, 3),
        "peer_ms_per_step": round(1e3 * median(all_of_it) / n, 3) if all_of_it else None,
        "record_ratio_vs_peer": ratio(recorded, all_of_it),
        "record_ms_per_step_unsynced": round(1e3 * median(unsynced) / n, 3),
        "record_ratio_vs_peer_unsynced": ratio(unsynced, all_of_it),
        "record_ratio_vs_peer_log": ratio(recorded, written),
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
