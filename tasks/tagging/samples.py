"""The jets of the task and how they are split.

The shipped sample leaves out what can be computed: particles are massless, so log E follows from log pt and the axis.
Angles and log pt are rounded to multiples of STEP (far below the detector's resolution).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.task import TaskError
from tools.contract import ToolError
from tools.events.copies import is_first, same_rows
from tools.events.jets_read import read_any_jets
from tools.events.parquet import read_columns, write_events
from tools.jet_model.jets import AXIS, FEATURES, LOG_E, LOG_PT, Jets, check
from tools.jet_model.jets_file import concatenate

SAMPLE = Path(__file__).parent / "sample"
FILE = "jets.h5"  # in the folder given as `data`
JETS, PARTICLES = "jets.parquet", "particles.parquet"
KINDS = ("qcd", "top")
FEWEST = 20  # jets of a kind
MAX_PARTICLES = 64
STEP = np.array([2**-9, 2**-9, 2**-8])  # of delta eta, delta phi, log pt
SHARES = {"validation": 0.4, "test": 0.25, "claim": 0.35}  # of the jets that are not for training; the first decides


@dataclass(frozen=True)
class Split:
    """Jets with their kinds: for training (the first n for n labels), validation, the sealed test, and for the audit
    (`claim`), which trains on jets of its own, `relearnt`. `seed`: that of the order of the graded jets."""

    labelled: Jets
    validation: Jets
    test: Jets
    relearnt: Jets
    claim: Jets
    seed: int

    def graded(self) -> tuple[Jets, NDArray[np.bool_]]:
        """Return the jets that a crew scores while it works, in random order, and which of them are for validation."""
        both = concatenate([self.validation, self.test], self.validation.kinds)
        order = np.random.default_rng([self.seed, len(both)]).permutation(len(both))
        return both.take(order), order < len(self.validation)


def load(folder: Path | None, labels: int, seed: int) -> Split:
    """Load and split the shipped jets, or `folder`/jets.h5; `labels` of them are for training. Raises TaskError."""
    jets = shipped() if folder is None else _read("data", folder / FILE, f"a folder with {FILE}")
    jets = jets.take(is_first(same_rows(jets.particles)))  # a copy in another part of the split would be known
    assert jets.pid is not None
    order = np.random.default_rng([seed, len(jets)]).permutation(len(jets))
    labelled, relearnt, rest = order[:labels], order[labels : 2 * labels], order[2 * labels :]
    if len(rest) < labels or min(np.bincount(jets.pid, minlength=2)) < FEWEST:
        allowed = f"at most a third of the {len(jets)} jets, with {FEWEST} or more of each kind"
        raise TaskError("labels", labels, allowed)
    ends = np.round(np.cumsum([0.0, *SHARES.values()]) * len(rest)).astype(int)
    validation, test, claim = (jets.take(rest[a:b]) for a, b in pairwise(ends))
    return Split(jets.take(labelled), validation, test, jets.take(relearnt), claim, seed)


def load_other(path: Path) -> Jets:
    """Return the labelled jets of another simulation in a file, each once. Raises TaskError."""
    jets = _read("other", path, "a file of jets")
    jets = jets.take(is_first(same_rows(jets.particles)))
    assert jets.pid is not None
    if min(np.bincount(jets.pid, minlength=2)) < FEWEST:
        raise TaskError("other", str(path), f"a file with {FEWEST} or more jets of each kind; it has {jets.count()}")
    return jets


def _read(option: str, path: Path, what: str) -> Jets:
    try:
        jets = read_any_jets(path, MAX_PARTICLES)
    except (ToolError, FileNotFoundError) as error:
        allowed = f"{what}, made by `beamcrew data simulate jets` or `beamcrew data convert`"
        raise TaskError(option, str(path), f"{allowed} ({error})") from None
    if "top" not in jets.kinds or len(jets.kinds) < 2:
        raise TaskError(option, str(path), f"must have jets of the kind top and of others; has {jets.kinds}")
    return as_tops(jets)


def as_tops(jets: Jets) -> Jets:
    """Return the jets with all kinds but `top` as background."""
    assert jets.pid is not None
    return replace(jets, pid=(jets.pid == jets.kinds.index("top")).astype(np.int64), kinds=KINDS)


@lru_cache(maxsize=1)
def shipped() -> Jets:
    """Return the shipped sample."""
    return unpack(SAMPLE)


def pack(folder: Path, jets: Jets) -> None:
    """Write the jets as two small files."""
    jets = jets.hardest(MAX_PARTICLES)
    axis = jets.jet
    assert axis is not None
    assert jets.pid is not None
    flat = jets.particles[jets.mask][:, :LOG_E].astype(np.float64)
    rounded = np.round(flat / STEP) * STEP
    rounded[rounded[:, LOG_PT] == 0, LOG_PT] = STEP[LOG_PT]  # it would look like an empty slot
    write_events(folder / PARTICLES, dict(zip(FEATURES, rounded.T, strict=False)))
    columns = {name: axis[:, i] for i, name in enumerate(AXIS)} | {
        "particles": jets.multiplicity.astype(np.float32),
        "top": jets.pid.astype(np.float32),
    }
    write_events(folder / JETS, columns, dict.fromkeys(AXIS, 12))


def unpack(folder: Path) -> Jets:
    """Read the jets that `pack` wrote."""
    columns = read_columns(folder / JETS)
    flat = read_columns(folder / PARTICLES)
    count = columns["particles"].astype(np.int64)
    particles = np.zeros((len(count), int(count.max()), len(FEATURES)), dtype=np.float32)
    there = np.arange(particles.shape[1]) < count[:, None]
    eta = flat["delta_eta"] + np.repeat(columns["eta"], count)
    log_energy = flat["log_pt"] + np.log(np.cosh(eta))
    particles[there] = np.column_stack([*(flat[name] for name in FEATURES[:LOG_E]), log_energy])
    jet = np.column_stack([columns[name] for name in AXIS]).astype(np.float32)
    jets = Jets(particles, columns["top"].astype(np.int64), jet, KINDS)
    check(jets)
    return jets
