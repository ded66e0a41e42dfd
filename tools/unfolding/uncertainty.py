"""Replicas of an unfolding, whose spread is its uncertainty; they run in parallel, and each is saved when finished.

    ensemble_i    different seeds of the classifiers; their mean is the result
    bootstrap_i   every measured and simulated event counted Poisson(1) times
    nuisance_x    the simulation with its weights, or its events at detector level, under variation x
    model         another simulation unfolds the data, and the result is transferred to the events of the first
    method        another method unfolds the data
    stress_a, prior_x    see `stress`: data with a known truth, and other starting points; no part of the errors

A folder holds the inputs and one file per replica: a study that is restarted continues where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from collections.abc import Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from tools.contract import ToolError
from tools.files import written
from tools.types import Floats
from tools.unfolding import stress
from tools.unfolding.bridge import DirectDiffusion, SchroedingerBridge
from tools.unfolding.flow_matching import FlowMatching
from tools.unfolding.ibu import Ibu
from tools.unfolding.iterate import OmniFold
from tools.unfolding.nuisances import Variation
from tools.unfolding.problem import Problem
from tools.unfolding.steps import Drawn, Progress, Unfolded
from tools.unfolding.transport import Transport

Method = OmniFold | Ibu | Transport | FlowMatching | DirectDiffusion | SchroedingerBridge
METHOD: TypeAdapter[Method] = TypeAdapter(Method)
NUMBERS = "totals", "effective"  # of an `Unfolded`, after each update


@dataclass(frozen=True)
class Plan:
    """Replicas to make. `nuisances`: variations of the simulation by name; `alternative`: data, another simulation;
    `beside`: another method; `stress`: whether to make stress tests.
    """

    ensemble: int = 1
    bootstraps: int = 0
    nuisances: Mapping[str, Variation] = field(default_factory=dict)
    alternative: Problem | None = None
    beside: Method | None = None
    stress: bool = False
    seed: int = 1

    def names(self) -> list[str]:
        """Return the names of all replicas except the first of the ensemble, which runs before."""
        return [
            *(f"ensemble_{i}" for i in range(1, self.ensemble)),
            *(f"bootstrap_{i}" for i in range(self.bootstraps)),
            *(f"nuisance_{name}" for name in self.nuisances),
            *(["model"] if self.alternative else []),
            *(["method"] if self.beside else []),
            *(stress.NAMES if self.stress else []),
        ]


@dataclass(frozen=True)
class Study:
    """Truth weights (n,) of each replica, 0 for fakes, and the full result of the ensemble's first member."""

    weights: dict[str, Floats]
    nominal: Unfolded


def study(
    problem: Problem,
    method: Method,
    plan: Plan,
    folder: Path,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Progress = lambda line: None,
) -> Study:
    """Run the replicas not yet in `folder`, in `workers` processes or an executor that sees the folder (say, Dask's).

    The first member of the ensemble fixes the number of iterations for all. A replica that fails does not stop the
    others: its error is raised after all have run. Raises ToolError if the folder holds another study.
    """
    folder = folder.resolve()
    _prepare(folder, problem, method, plan)
    nominal = _run(str(folder), "ensemble_0", None, plan.seed, progress)
    todo = [name for name in plan.names() if _read(folder, name) is None]
    errors: list[BaseException] = []
    start, total = time.monotonic(), len(todo)
    with _executor(workers if executor is None else 1, executor) as pool:
        futures: dict[Future[Unfolded], str] = {}
        for i, name in enumerate(todo):
            if pool is None:
                futures[_now(str(folder), name, nominal.iterations, plan.seed)] = name
                _say(progress, i + 1, total, name, start)
            else:
                futures[pool.submit(_run, str(folder), name, nominal.iterations, plan.seed)] = name
        for i, future in enumerate(as_completed(futures)):
            if error := future.exception():
                errors.append(error)
                progress(f"{futures[future]} failed: {error}")
            elif pool is not None:
                _say(progress, i + 1, total, futures[future], start)
    if errors:
        raise errors[0]
    weights = {}
    for name in ["ensemble_0", *plan.names()]:
        done = _read(folder, name)
        if done is None:
            raise ToolError("folder", str(folder), f"a folder that nothing else removes files from; {name} is missing")
        weights[name] = done.push
    return Study(weights, nominal)


def _say(progress: Progress, done: int, total: int, name: str, start: float) -> None:
    left = (time.monotonic() - start) / done * (total - done)
    progress(f"replica {done}/{total} ({name}) done, about {left:.0f} s left")


def _executor(workers: int, given: Executor | None) -> AbstractContextManager[Executor | None]:
    if given is not None or workers == 1:
        return nullcontext(given)
    # Spawned, not forked: torch's threads do not survive a fork.
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


def _now(folder: str, name: str, iterations: int, seed: int) -> Future[Unfolded]:
    future: Future[Unfolded] = Future()
    try:
        future.set_result(_run(folder, name, iterations, seed))
    except Exception as error:
        future.set_exception(error)
    return future


def _run(folder: str, name: str, iterations: int | None, seed: int, progress: Progress = lambda line: None) -> Unfolded:
    """Make one replica from the inputs in the folder and save it; its `push` and `previous` are truth weights."""
    at = Path(folder)
    if (done := _read(at, name)) is not None:
        return done
    problem, chosen = _inputs(at / "inputs"), "beside" if name == "method" else "method"
    method = METHOD.validate_json((at / f"{chosen}.json").read_text())
    if iterations is not None and name != "method":
        method = method.fixed(iterations)
    kind, _, rest = name.partition("_")
    own = int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4])
    if kind == "bootstrap":
        rng = np.random.default_rng([own, 1])
        problem = problem.reweighted(
            problem.data_weight * rng.poisson(1, len(problem.data)), problem.weight * rng.poisson(1, len(problem))
        )
    elif kind == "nuisance":
        changed = {path.stem: np.load(path, mmap_mode="r") for path in sorted((at / "nuisances" / rest).glob("*.npy"))}
        problem = Variation(**changed).of(problem)
    elif name in stress.NAMES:
        problem = stress.of(problem, name)
    if kind == "model":
        other = _inputs(at / "alternative")
        unfolded = method.unfold(other, own, progress)
        weights = method.carry(problem, other, other.weight * unfolded.push, own)
    else:
        # A nuisance or prior has the seed of ensemble_0, with which it is compared: the noise of the training cancels.
        alike = kind in ("nuisance", "prior") or name == "ensemble_0"
        unfolded = method.unfold(problem, seed if alike else own, progress)
        weights = problem.weight * unfolded.push * problem.pass_gen
    previous = drawn = None
    if name == "ensemble_0":
        drawn = unfolded.drawn
        if unfolded.previous is not None:
            previous = problem.weight * unfolded.previous * problem.pass_gen
    done = replace(unfolded, push=weights, previous=previous, drawn=drawn)
    _write(at, name, done)
    return done


def _write(folder: Path, name: str, done: Unfolded) -> None:
    arrays = {part: np.asarray(getattr(done, part)) for part in ("push", "iterations", "discrepancy", *NUMBERS)}
    if done.previous is not None:
        arrays["previous"] = done.previous
    if done.drawn is not None:
        arrays |= {"drawn_gen": done.drawn.gen, "drawn_weight": done.drawn.weight}
    with written(folder / "replicas" / f"{name}.npz") as part, part.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _read(folder: Path, name: str) -> Unfolded | None:
    try:
        with np.load(folder / "replicas" / f"{name}.npz") as file:
            pairs = [(float(a), float(b)) for a, b in file["discrepancy"]]
            drawn = Drawn(file["drawn_gen"], file["drawn_weight"]) if "drawn_gen" in file else None
            totals, effective = (file[part].tolist() for part in NUMBERS)
            return Unfolded(
                file["push"], int(file["iterations"]), pairs, file.get("previous"), totals, effective, drawn
            )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None  # truncated: to be made again


def _prepare(folder: Path, problem: Problem, method: Method, plan: Plan) -> None:
    """Write the inputs to the folder, or check that it holds the same ones."""
    arrays = {f"inputs/{f.name}": getattr(problem, f.name) for f in fields(problem)}
    for name, variation in plan.nuisances.items():
        arrays |= {f"nuisances/{name}/{part}": each for part, each in vars(variation).items() if each is not None}
    if plan.alternative:
        arrays |= {f"alternative/{f.name}": getattr(plan.alternative, f.name) for f in fields(plan.alternative)}
    beside = plan.beside.model_dump_json() if plan.beside else ""
    digest = hashlib.sha256((method.model_dump_json() + beside).encode())
    for name, array in arrays.items():
        if name.startswith("inputs/"):
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    mark = {"seed": plan.seed, "inputs": digest.hexdigest()}
    extra = {name: hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest() for name, a in arrays.items()}
    known = folder / "study.json"
    if known.exists():
        before = json.loads(known.read_text())
        changed = [k for k, v in extra.items() if before["arrays"].get(k, v) != v]
        if before["mark"] != mark or changed:
            raise ToolError("folder", str(folder), "a folder without another study: data, settings or seed differ")
        extra = before["arrays"] | extra
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, array)
    (folder / "replicas").mkdir(exist_ok=True)
    (folder / "method.json").write_text(method.model_dump_json())
    (folder / "beside.json").write_text(beside)
    known.write_text(json.dumps({"mark": mark, "arrays": extra}))


def _inputs(folder: Path) -> Problem:
    return Problem(**{f.name: np.load(folder / f"{f.name}.npy", mmap_mode="r") for f in fields(Problem)})
