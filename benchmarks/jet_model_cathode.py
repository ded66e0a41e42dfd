"""CATHODE on constituents against CATHODE on four features, on the very same dijet events.

QCD and a resonance W' -> XY of 3.5, 0.5 and 0.1 TeV, simulated with all particles (`beamcrew data simulate
--particles`). The data are some QCD events with injected signal; the other QCD events and the signal left over, in the
signal region, only judge. Methods:

    features      spline flow on the four features of arXiv:2109.00546, trees: the default of `anomaly.template`
    constituents  jets generated and classified by the jet model, from pretrained weights: `anomaly.jet_template`
    scratch       the same without pretrained weights
    bands         the jets of the neighbouring sidebands as they are, classified as `constituents`

Every method is judged by the max SIC with 25 background events kept, the SIC at a background efficiency of 1e-2, and
the closure test on its own score, outside the signal region.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.injections import SIGNAL, WINDOW, Scores
from benchmarks.rows import Row
from tasks.lhco.mix import SIGNALS
from tools.anomaly.classify import Classifier, out_of_fold
from tools.anomaly.closure import control_window
from tools.anomaly.data import FEATURES, Floats, Windowed, within
from tools.anomaly.dijets import Dijets, read_dijet_file
from tools.anomaly.flow import SplineFlow
from tools.anomaly.jets_classify import EventClassifier, Store
from tools.anomaly.jets_template import Bands, Generator, bands, learn
from tools.anomaly.score_closure import score_closure
from tools.anomaly.template import kde_sample
from tools.anomaly.trees import Trees
from tools.events.jets_read import read_any_jets
from tools.events.parquet import particles_path, read_columns
from tools.events.pythia import Process
from tools.events.simulate import Simulation, simulate
from tools.events.table import derive
from tools.jet_model.jets import concatenated
from tools.jet_model.jets_file import write_jets
from tools.jet_model.train import Training
from tools.jet_model.weights import read
from tools.metrics import sic_at

METHODS = ("constituents", "bands", "features")  # the longest first
SEEDS = {"qcd": 51, "signal": 52}
PARTICLES = 32  # the hardest of a jet: what a tiny generator can make well
OVERSAMPLE = 2
FOLDS = 3


class Sizes(NamedTuple):
    """How many events, and how long to train."""

    data: int = 8000  # QCD events searched in
    judges: int = 4000  # QCD events that only judge
    signal: int = 1200
    significance: float = 3.0  # S / sqrt(B) injected in the signal region
    generator_epochs: int = 8
    classifier_epochs: int = 6
    steps: int = 10


QUICK = Sizes(data=400, judges=200, signal=100, generator_epochs=1, classifier_epochs=1, steps=2)


def simulated(folder: Path, sizes: Sizes, workers: int) -> Path:
    """A folder with events and their jets, made where it is missing."""
    folder = folder / f"dijets_{sizes.data}_{sizes.judges}_{sizes.signal}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, events, masses in (
        ("qcd", sizes.data + sizes.judges, None),
        ("signal", sizes.signal, SIGNALS[SIGNAL]),
    ):
        table, jets = folder / f"{name}.parquet", folder / f"{name}.h5"
        if not table.exists():
            print(f"simulating {events} events of {name} with their particles", file=sys.stderr)
            # Shards small enough for all workers, and for an interrupted simulation to go on.
            wanted = Simulation(process=Process(masses=masses), events=events, seed=SEEDS[name], particles=True,
                                shard_events=min(500, -(-events // workers)))  # fmt: skip
            simulate(wanted, table, workers, lambda done, total: print(f"{done}/{total}", end="\r", file=sys.stderr))
        if not jets.exists():
            print(f"clustering the jets of {name}", file=sys.stderr)
            write_jets(jets, read_any_jets(particles_path(table), 128))
    return folder


@dataclass(frozen=True)
class Events:
    """The same events as features (n, 4) and as jets."""

    features: Floats
    jets: Dijets

    def take(self, rows: NDArray[Any]) -> Events:
        return Events(self.features[rows], self.jets.take(rows))

    @property
    def inside(self) -> NDArray[np.bool_]:
        return within(self.jets.mjj, WINDOW)


def load(folder: Path, name: str) -> Events:
    """Raises ValueError when the two files are not of the same events."""
    columns, jets = (
        read_columns(folder / f"{name}.parquet"),
        read_dijet_file(str(folder / f"{name}.h5"), name, PARTICLES),
    )
    if len(jets) != len(columns["mjj"]) or not np.allclose(jets.mjj, columns["mjj"], rtol=1e-3):
        raise ValueError(f"{folder}: {name}.h5 and {name}.parquet are not of the same events")
    features = derive(columns, FEATURES)
    return Events(np.column_stack([features[each] for each in FEATURES]), jets)


@dataclass(frozen=True)
class Injected:
    """Data, what of them is signal, and the events that judge: QCD and signal of the signal region."""

    data: Events
    is_signal: NDArray[np.bool_]
    qcd: Events
    signal: Events


def inject(folder: Path, sizes: Sizes, seed: int) -> Injected:
    qcd, signal = load(folder, "qcd"), load(folder, "signal")
    rng = np.random.default_rng(seed)
    order, chosen = rng.permutation(len(qcd.jets)), rng.permutation(len(signal.jets))
    used, rest = qcd.take(order[: sizes.data]), qcd.take(order[sizes.data :])
    n = round(sizes.significance * np.sqrt(used.inside.sum()) / signal.inside.mean())
    added, left = signal.take(chosen[:n]), signal.take(chosen[n:])
    data = Events(np.concatenate([used.features, added.features]), together(used.jets, added.jets))
    is_signal = np.arange(len(data.jets)) >= len(used.jets)
    return Injected(data, is_signal, rest.take(rest.inside), left.take(left.inside))


def together(first: Dijets, second: Dijets) -> Dijets:
    light, heavy = concatenated(first.light, second.light), concatenated(first.heavy, second.heavy)
    return Dijets(light, heavy, np.concatenate([first.axes, second.axes]), np.concatenate([first.mjj, second.mjj]))


def search(method: str, seed: int, folder: str, weights: str, sizes: Sizes) -> Row:
    """One search of one injection by one method."""
    import torch

    torch.set_num_threads(1)
    begin = time.perf_counter()
    injected = inject(Path(folder), sizes, seed)
    mjj, inside = injected.data.jets.mjj, injected.data.inside
    data = Windowed(injected.data.features, mjj, inside, WINDOW)
    edges = control_window(data)
    held = np.zeros(len(mjj), dtype=bool) if edges is None else within(mjj, edges)
    rng = np.random.default_rng([seed, 1])
    masses = kde_sample(mjj[inside], *WINDOW, OVERSAMPLE * int(inside.sum()), rng)
    at_control = np.tile(mjj[held], OVERSAMPLE)
    classifier: Classifier
    if method == "features":
        # As in `constituents`, one fit leaves out both windows.
        flow = SplineFlow().fit(data.sidebands(~inside & ~held), seed)
        template, control = flow.sample(masses, seed + 2), flow.sample(at_control, seed + 3)
        classifier, ensemble = Trees(), 4
        groups = [data.features, template, control, injected.qcd.features, injected.signal.features]
    else:
        jets = injected.data.jets
        start = None if method == "scratch" else weights
        if method == "bands":
            width = Bands().width
            made = bands(jets, ~inside, WINDOW, width, len(masses), seed)
            beside = bands(jets, ~inside & ~held, edges, width, len(at_control), seed) if edges else made.take(held[:0])
        else:
            settings = Generator(start=start, steps=sizes.steps, training=Training(
                epochs=sizes.generator_epochs, batch=128, learning_rate=1e-3, average=0.999))  # fmt: skip
            fitted = learn(settings, jets, ~inside & ~held, data, seed)
            made = fitted.sample(masses, seed + 2)
            beside = fitted.sample(at_control, seed + 3) if edges else made.take(np.zeros(0, dtype=np.int64))
        training = Training(epochs=sizes.classifier_epochs, batch=64, patience=3)
        sets = [jets, made, beside, injected.qcd.jets, injected.signal.jets]
        store = Store(sets, EventClassifier(start=start, training=training), read(Path(start)) if start else None)
        classifier, ensemble = store, 1
        groups = [numbers[:, None].astype(np.float64) for numbers in store.numbers]
    row = judge(classifier, groups, data, injected, held, ensemble, seed)
    return row | {"seconds": time.perf_counter() - begin}


def judge(
    classifier: Classifier,
    groups: list[Floats],
    data: Windowed,
    injected: Injected,
    held: NDArray[np.bool_],
    ensemble: int,
    seed: int,
) -> Row:
    """`groups`: data, template, control, QCD and signal that judge, as the classifier wants them."""
    of_data, template, control, *judges = groups
    n = len(of_data)
    events = np.concatenate([of_data, control, *judges])
    own, inside = np.arange(len(events)) < n, np.zeros(len(events), dtype=bool)
    inside[:n] = data.inside
    score, _ = out_of_fold(classifier, events, template, inside, own & ~inside, FOLDS, ensemble, seed)
    mine, of_control, qcd, signal = np.split(score, np.cumsum([n, len(control), len(judges[0])]))
    scores = Scores(signal, np.concatenate([mine[data.inside & ~injected.is_signal], qcd]))
    row = {
        "sic25": scores.sic25(),
        "sic25_error": scores.errors()[0] if len(scores.background) >= 1000 else None,
        "sic1e2": sic_at(scores.signal, scores.background, 1e-2),
        "injected": int((data.inside & injected.is_signal).sum()),
        "background": int((data.inside & ~injected.is_signal).sum()),
    }
    if not len(control):
        return row
    closed = score_closure(mine[held], of_control, mine[~data.inside], data.mjj[~data.inside])
    return row | {"closure": closed.model_dump(), "warning": closed.warning}


def summarise(rows: Sequence[Row]) -> Row:
    """cathode_METHOD_sic25 and _sic1e2: means over seeds with standard errors; the warnings that were given."""
    out: Row = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        of = [row for row in rows if row["method"] == method]
        for name in ("sic25", "sic1e2"):
            values = np.array([row[name] for row in of])
            out[f"cathode_{method}_{name}"] = float(values.mean())
            if len(values) > 1:
                out[f"cathode_{method}_{name}_error"] = float(values.std(ddof=1) / len(values) ** 0.5)
        closed = [row["closure"]["auc"] for row in of if "closure" in row]
        if closed:
            out[f"cathode_{method}_closure_auc"] = float(np.mean(closed))
            out[f"cathode_{method}_warned"] = sum(row["warning"] is not None for row in of) / len(of)
    return out
