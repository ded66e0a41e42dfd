"""The LHCO presets `lhco-demo`, `lhco-rnd` and `lhco-sr`, and the sources of their events."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.intake import Intake
from tasks.lhco.mix import SIGNALS, mix
from tasks.lhco.task import LhcoTask, require, window_around
from tasks.lhco.truth import Truth
from tasks.task import TaskError
from tools.contract import ToolError
from tools.events.lhco import read_cathode, read_features
from tools.types import Floats

Loaded = tuple[dict[str, Floats], NDArray[np.bool_], Truth, dict[str, Floats] | None]
RND_MASS = 3.5  # TeV, published
RND_FILE = "events_anomalydetection_v2.features.h5"
FULL_SIGNAL_REGION = (3.3, 3.7)
UNLABELLED = "the file has no labels (--task lhco-blackbox needs none)"


WORDS = (r"resonan|résonan", r"dijet", r"new particle|neues teilchen", r"any(thing)? new|something new", r"\bbumps?\b")


class LhcoDemo(LhcoTask):
    """Shipped simulated events, with an injected signal that mjj alone does not show."""

    name: ClassVar[str] = "lhco-demo"
    intake: ClassVar[Intake | None] = Intake(WORDS)
    title: ClassVar[str] = "LHCO-like search on the shipped simulated events"
    signal: str = Field("3500_500_100", description=f"reservoir: {', '.join(SIGNALS)}")
    n_signal: int = Field(560, description="injected signal events, 0 to 3000")
    # The total is fixed: a row count that depended on the injection would reveal it.
    events: int = Field(200_000, ge=20_000, description="total number of events, signal included")

    def load(self) -> Loaded:
        mixed = mix(self.events - self.n_signal, self.signal, self.n_signal, self.secret_seed)
        mass = SIGNALS[self.signal][0]
        true = Truth(mass=mass if self.n_signal else None, n_signal=self.n_signal, window=window_around(mass))
        return mixed.columns, mixed.is_signal, true, None


class LhcoRnd(LhcoTask):
    """The official R&D feature file: as many events as it has QCD events, `n_signal` of them replaced by signal."""

    name: ClassVar[str] = "lhco-rnd"
    intake: ClassVar[Intake | None] = Intake(WORDS, (RND_FILE,), needs_data=True)
    title: ClassVar[str] = "LHC Olympics R&D data set, sidebands included"
    data: Path | None = None
    n_signal: int = Field(1000, ge=0, description="injected signal events")

    def load(self) -> Loaded:
        columns, is_signal = self.read()
        chosen = self.chosen(is_signal)
        true = Truth(mass=RND_MASS if self.n_signal else None, n_signal=self.n_signal, window=window_around(RND_MASS))
        return {name: values[chosen] for name, values in columns.items()}, is_signal[chosen], true, None

    def read(self) -> tuple[dict[str, Floats], NDArray[np.bool_]]:
        """Read all events of the file, and which of them are signal."""
        path = require(self.data, RND_FILE, "beamcrew data lhco")
        try:
            columns, is_signal = read_features(path)
        except ToolError as error:
            raise TaskError("data", str(path), str(error)) from None
        if is_signal is None:
            raise TaskError("data", str(path), f"{UNLABELLED}, and this task injects labelled signal")
        return columns, is_signal

    def chosen(self, is_signal: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the rows of the file (n,) in the order of the task's events."""
        rng = np.random.default_rng(self.secret_seed)
        there = np.flatnonzero(is_signal)
        if self.n_signal > len(there):
            raise TaskError("n_signal", self.n_signal, f"0 to {len(there)}, the number of signal events in the file")
        background = rng.permutation(np.flatnonzero(~is_signal))
        return rng.permutation(np.concatenate([background[self.n_signal :], rng.permutation(there)[: self.n_signal]]))


class LhcoSr(LhcoTask):
    """The signal-region task of arXiv:2509.08535: 122,124 events, 772 of them signal, and a background reference."""

    name: ClassVar[str] = "lhco-sr"
    intake: ClassVar[Intake | None] = Intake(WORDS, ("innerdata_train.npy",), needs_data=True)
    title: ClassVar[str] = "LHCO signal region with a background-only reference"
    tools: ClassVar[tuple[str, ...]] = ("events.describe", "anomaly.classify", "bumphunt.measure", "bumphunt.count")
    guide: ClassVar[str] = "brief_region.md"
    request: ClassVar[str] = (
        "Is there a resonance in this signal region? Give the p-value, its mass and the fraction of signal events."
    )
    has_sidebands: ClassVar[bool] = False
    data: Path | None = None
    # The window is given: the other events are enough to choose a classifier on.
    hold_out: float = Field(0.8, ge=0.1, le=0.9, description="fraction of the events reserved for the claim")

    def load(self) -> Loaded:
        parts = []
        for file in ("innerdata_train.npy", "innerdata_test.npy", "innerdata_background.npy"):
            path = require(self.data, file, "the CATHODE release, Zenodo 5759087")
            try:
                columns, is_signal = read_cathode(path)
            except ToolError as error:
                raise TaskError("data", str(path), str(error)) from None
            if is_signal is None:
                raise TaskError("data", str(path), UNLABELLED)
            parts.append((columns, is_signal))
        (train, train_label), (test, test_label), (reference, _) = parts
        labels = np.concatenate([train_label, test_label])
        order = np.random.default_rng(self.secret_seed).permutation(len(labels))
        columns = {name: np.concatenate([train[name], test[name]])[order] for name in train}
        true = Truth(mass=RND_MASS, n_signal=int(labels.sum()), window=FULL_SIGNAL_REGION)
        return columns, labels[order], true, reference
