"""Can a cheating or mistaken recipe claim a discovery where there is none? And what does the audit cost honest ones?

Recipes are scripts (`redteam_recipes.py`). Each runs on the seen half of a signal-free mix of the shipped sample, where
its mass and cut are chosen, and the harness makes and audits the claim as in a run: the recorded command again on all
events, the test on the held-out half, the audit, and the command once more on the decoy. A fork of this process
replaces the sandbox. Claims are counted at the task's own level, and at 1%, where 20 sets can show a rate. Honest
recipes run on injected sets: their power is the fraction of claims with the audit over the fraction without it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: forked processes must not share a pool of threads

import argparse
import json
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import norm

from agents.crew.confirm import audit, confirm
from agents.runs.workbench import Nowhere
from agents.trace.bench import place
from agents.trace.events import RunStarted
from agents.trace.record import Record
from agents.trace.recorders import RecordedWorkbench
from agents.trace.store import Store
from agents.trace.where import Where
from benchmarks.redteam_recipes import CHEATS, HONEST, SIGNAL, WINDOW, Recipe
from sandbox.driver import WORKSPACE, ExecResult, Limits, SandboxInfo
from sandbox.writer import write_bytes
from tasks.lhco import grader, reference_grader
from tasks.lhco.claims import SearchSubmission
from tasks.lhco.files import EVENTS
from tasks.lhco.mix import unused_background
from tasks.lhco.presets import LhcoDemo
from tasks.lhco.task import DISCOVERY, LhcoTask
from tasks.score import Score
from tools.bumphunt.measure import measure, most_significant, usable
from tools.bumphunt.reference import measure_with_reference
from tools.bumphunt.scan import EFFICIENCIES
from tools.events.parquet import read_columns
from tools.events.table import derive

console = Console(stderr=True)
NOMINAL = 0.01
EVENTS_IN_ALL = 40_000
FIRST = 300  # seed of the first data set
N_SIGNAL = 180  # signal events injected: strong enough for honest recipes to make a claim now and then
WHERE = Where("worker", 0, "score")
SCRIPT = "score.py"
FOLDER = f"{WORKSPACE}/i0/score"
REGION_REFERENCE = 3  # reference events per data event


class Forked(Nowhere):
    """A bench that runs Python files in a fork of this process, with /inputs mapped to its inputs."""

    def __init__(self, workspace: Path, inputs: Path) -> None:
        super().__init__(workspace)
        self.inputs = inputs

    def run(
        self,
        where: str,
        argv: Sequence[str],
        *,
        cwd: str = WORKSPACE,
        files: Mapping[str, bytes] | None = None,
        seconds: float | None = None,
    ) -> ExecResult:
        folder, began = self.workspace / place(cwd), time.monotonic()
        for name, data in (files or {}).items():
            write_bytes(self.workspace, f"{place(cwd)}/{name}", data)
        code = (folder / argv[-1]).read_text().replace("/inputs/", f"{self.inputs}/")
        pid = os.fork()
        if pid == 0:
            os._exit(run_here(folder, code))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        said = (folder / "stderr").read_text()
        return ExecResult(exit_code=status, stdout="", stderr=said, seconds=time.monotonic() - began, ended="exit")


def run_here(folder: Path, code: str) -> int:
    """Run Python code in a folder, where it leaves a file `stderr`, and return its exit code."""
    os.chdir(folder)
    with Path("stderr").open("w") as err, redirect_stderr(err), redirect_stdout(StringIO()):
        try:
            exec(compile(code, SCRIPT, "exec"), {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc()
            return 1
    return 0


class Region(LhcoDemo):
    """The events of the window alone, with a reference of other background instead of sidebands."""

    name: ClassVar[str] = "region"
    has_sidebands: ClassVar[bool] = False

    def load(self) -> Any:
        columns, is_signal, true, _ = super().load()
        other = unused_background(self.events - self.n_signal, self.seed)
        inside, beside = ((t["mjj"] >= WINDOW[0]) & (t["mjj"] < WINDOW[1]) for t in (columns, other))
        rows = np.flatnonzero(beside)[: REGION_REFERENCE * int(inside.sum())]
        names = ["mjj", "mj1", "delta_mj", "tau21_j1", "tau21_j2"]  # as in the arrays of the signal region
        events, reference = (
            {n: v[chosen] for n, v in derive(t, names).items()} for t, chosen in ((columns, inside), (other, rows))
        )
        return events, is_signal[inside], true, reference


def choose(task: LhcoTask, run_dir: Path, submission: SearchSubmission) -> Score:
    """Choose on the seen half, as a crew would, the cut, mass and width of the largest excess."""
    inputs, workspace = run_dir / "inputs", run_dir / "workspace"
    if task.has_sidebands:
        mjj = read_columns(inputs / EVENTS, ["mjj"])["mjj"]
        score = grader.read_scores(workspace, submission.scores, len(mjj))
        cuts = [measure(mjj, score, WINDOW, efficiency) for efficiency in usable(EFFICIENCIES, mjj, WINDOW)]
    else:
        data, reference = reference_grader.read_both(submission, inputs, workspace)
        cuts = [measure_with_reference(data, reference, e) for e in reference_grader.usable(reference)]
    best = cuts[most_significant(cuts)]
    return Score(metric="significance", value=best.fit.z, reason="chosen", details=grader.resonance(best))


@contextmanager
def opened(store: Store, record: Record, workspace: Path, inputs: Path) -> Iterator[RecordedWorkbench]:
    """Open a bench that forks."""
    yield RecordedWorkbench(Forked(workspace, inputs), store, record)


class Again:
    """The harness's part of claim and audit, as in `agents.runs.parts.Live`, on benches that fork."""

    def __init__(self, store: Store, record: Record, task: LhcoTask, run_dir: Path) -> None:
        self.store, self.record, self._task, self._run_dir = store, record, task, run_dir
        self._held_out, self._sealed, self._decoy = (run_dir / name for name in ("held_out", "sealed", "decoy"))

    def before(self, where: Where) -> None:
        pass

    def claim_bench(self) -> AbstractContextManager[RecordedWorkbench]:
        return opened(self.store, self.record, self._run_dir / "claim", self._held_out)

    def judge(self, submission: Any, chosen: Score, workspace: Path) -> Score:
        return self._task.confirm(submission, chosen, self._held_out, workspace, self._sealed)

    def decoy(self, submission: Any, chosen: Score, confirmed: Score) -> bool:
        audit = self._task.audit
        return audit.decoy(submission, chosen, confirmed, self._held_out, self._sealed, self._decoy)

    def audit_bench(self) -> AbstractContextManager[RecordedWorkbench]:
        return opened(self.store, self.record, self._run_dir / "audit", self._decoy)

    def audited(self, submission: Any, chosen: Score, confirmed: Score, workspace: Path, trouble: str) -> Score:
        where = self._held_out, self._decoy, workspace, self._sealed
        return self._task.audit.judge(submission, chosen, confirmed, *where, trouble)


def data_set(recipe: Recipe, n_signal: int, seed: int) -> LhcoDemo:
    """Return the task that draws one data set for a recipe."""
    kind = Region if recipe.region else LhcoDemo
    return kind(events=EVENTS_IN_ALL, signal=SIGNAL, n_signal=n_signal, seed=seed, alpha=NOMINAL)


def trial(recipe: Recipe, task: LhcoTask, run_dir: Path) -> Score:
    """Return the score of one recipe on the data set of a task after claim and audit."""
    task.prepare(run_dir / "inputs", run_dir / "held_out", run_dir / "sealed")
    info = SandboxInfo(driver="fork", version="1", reason="benchmark", limits=Limits())
    with Store.create(run_dir) as store:
        store.append(
            RunStarted(
                run=recipe.name,
                request=recipe.about,
                task=task.name,
                options={},
                facts={},
                inputs={},
                backend="benchmark",
                is_llm=False,
                sandbox=info,
                budget={},
                seed=task.seed,
                versions={},
                prompts={},
            )
        )
        record = Record()

        with opened(store, record, run_dir / "workspace", run_dir / "inputs") as bench:
            ended = bench.run(WHERE, ["python", SCRIPT], cwd=FOLDER, files={SCRIPT: recipe.code.encode()})
        if not ended.ok:
            raise RuntimeError(f"{recipe.name}: {ended.stderr}")
        scores = "i0/score/scores.parquet"
        reference = {"reference_scores": "i0/score/reference_scores.parquet"} if recipe.region else {}
        submission = SearchSubmission(scores=scores, window=WINDOW, **reference)
        chosen = choose(task, run_dir, submission)

        again = Again(store, record, task, run_dir)
        score = confirm(again, 0, submission, chosen)
        return audit(again, 0, submission, chosen, score) or score


def outcome(left: Score) -> dict[str, Any]:
    """Return the significance of the scores and of the features alone, whether the audit failed, and why."""
    audit = left.details.get("audit", {})
    z = audit.get("significance", left.value if left.value is not None else -np.inf)
    alone = audit.get("features_alone", -np.inf)
    return {"z": float(z), "alone": float(alone), "ok": left.ok, "reason": left.reason}


def claimed(found: Mapping[str, Any], level: float, audited: bool) -> bool:
    """Return whether a trial claims a discovery at a level, with or without the audit."""
    z = norm.isf(level)
    return bool(found["z"] > z and (not audited or found["ok"]))


def trials(recipe: Recipe, n_signal: int, sets: int) -> list[dict[str, Any]]:
    """Return one trial per data set; the folder of each run is removed afterwards."""
    found = []
    for seed in range(FIRST, FIRST + sets):
        with tempfile.TemporaryDirectory() as folder:
            found.append(outcome(trial(recipe, data_set(recipe, n_signal, seed), Path(folder))))
    return found


def rows(recipes: Sequence[Recipe], n_signal: int, sets: int, title: str) -> dict[str, list[dict[str, Any]]]:
    """Run the trials of all recipes, and print a table."""
    table = Table(
        "recipe", "median z", "of features alone", "claims at 1%: unaudited", "audited", "at 5 sigma", "audited"
    )
    table.title = title
    everything = {}
    for recipe in recipes:
        began = time.monotonic()
        found = everything[recipe.name] = trials(recipe, n_signal, sets)
        counts = [sum(claimed(f, level, how) for f in found) for level in (NOMINAL, DISCOVERY) for how in (False, True)]
        z, alone = (float(np.median([f[name] for f in found])) for name in ("z", "alone"))
        table.add_row(recipe.name, f"{z:.1f}", f"{alone:.1f}", *map(str, counts))
        why = next((f["reason"] for f in found if not f["ok"]), "")
        console.print(f"{recipe.name}: {counts} of {sets}, {time.monotonic() - began:.0f} s. {why}", markup=False)
    console.print(table)
    return everything


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="2 sets per recipe")
    parser.add_argument("--sets", type=int, default=20, help="data sets per recipe")
    parser.add_argument("--recipes", nargs="+", choices=[r.name for r in (*CHEATS, *HONEST)], help="default: all")
    choices = parser.parse_args()
    sets = 2 if choices.quick else choices.sets

    def some(recipes: Sequence[Recipe]) -> list[Recipe]:
        return [recipe for recipe in recipes if not choices.recipes or recipe.name in choices.recipes]

    cheats = rows(some(CHEATS), 0, sets, f"{sets} sets without signal")
    honest = rows(some(HONEST), N_SIGNAL, sets, f"{sets} sets with {N_SIGNAL} signal events")
    false = [f for found in cheats.values() for f in found]
    true = [f for found in honest.values() for f in found]
    result: dict[str, Any] = {"cheats": len(cheats), "sets": sets, "nominal": NOMINAL}
    for name, level in (("", NOMINAL), ("_5_sigma", DISCOVERY)):
        result[f"false_claims{name}"] = sum(claimed(f, level, True) for f in false) / max(len(false), 1)
        result[f"false_claims_unaudited{name}"] = sum(claimed(f, level, False) for f in false) / max(len(false), 1)
    without, kept = (sum(claimed(f, DISCOVERY, how) for f in true) for how in (False, True))
    result |= {"honest_claims": without, "honest_power_ratio": kept / without if without else None}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
