"""Top against quark and gluon jets with few labels: pretrained weights as they are (`odds`), fine-tuned with their
output for these kinds (`finetuned`) or with a new output (`anew`, the usual way), training from scratch, a linear probe
on the input of the pretrained classifier's last layer, and training from scratch of networks of other widths. A fifth
of the labels chooses the epoch; other jets judge.

Trainings have the same settings except for the learning rate, the best of four for each with 500 labels of seed 11.
Epochs to converge: until the held-out loss has fallen 95% of the way from log 2 to the best from scratch on the same
jets.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row
from tools.jet_model.embed import last_hidden
from tools.jet_model.finetune import tune
from tools.jet_model.inputs import read_file, rejection
from tools.jet_model.jets import Jets
from tools.jet_model.model import Architecture, Scales, build
from tools.jet_model.score import log_odds, probabilities
from tools.jet_model.train import JetTraining
from tools.jet_model.weights import Checkpoint, load, read, save
from tools.metrics import auc

BACKGROUND = ("quark", "gluon")
KINDS = ("qcd", "top")
MANY = 4000  # labels: from here on fewer epochs, in which a network from scratch does not quite converge
METHODS = ("odds", "finetuned", "anew", "scratch", "probe")
LIKE = {"qcd": list(BACKGROUND)}
RATES = {"finetuned": 3e-5, "anew": 2e-4, "scratch": 1e-3}
WIDTH = "dim "  # method name of a network from scratch of some width: `dim 16`
HEADS = 4
SLOTS = 128
CONVERGED = 0.95
NUMBERS = ("auc", "rejection_30", "rejection_50")


def learn(method: str, count: int, seed: int, jets: str, weights: str, held: int, epochs: int | None = None) -> Row:
    """Train one tagger, one of METHODS or `dim D`, with `count` labels, and judge it on `held` jets.

    `epochs` is by default 15, or 6 for MANY labels or more.
    """
    import torch

    torch.set_num_threads(1)
    begin = time.perf_counter()
    used, judged = drawn(_jets(jets), seed, count, held)
    row: Row = {"losses": []}
    if method == "odds":
        model = load(Path(weights))
        score = log_odds(probabilities(model, judged), model.architecture.kinds, "top", BACKGROUND)
    elif method == "probe":
        score = _probe(weights, used, judged)
    else:
        validation = max(count // 5, 1)
        checked, rest = used.take(slice(0, validation)), used.take(slice(validation, None))
        start = read(Path(weights)) if method in ("finetuned", "anew") else None
        if method.startswith(WIDTH):
            start = _untrained(int(method.removeprefix(WIDTH)), rest, seed)
        settings = JetTraining(
            epochs=epochs or (15 if count < MANY else 6),
            batch=64,
            learning_rate=RATES.get(method, RATES["scratch"]),
            patience=5,
        )
        tuned = tune(rest, checked, settings, seed, start, like=LIKE if method == "finetuned" else None)
        p = probabilities(tuned.model, judged)
        score = log_odds(p, KINDS, "top", ("qcd",))
        row = {
            "losses": [epoch.loss for epoch in tuned.fitted.history],
            "loss": _cross_entropy(p, judged),
            "parameters": tuned.model.parameters(),
        }
    top, other = score[judged.pid == 1], score[judged.pid == 0]
    found = (auc(top, other), rejection(top, other, 0.3), rejection(top, other, 0.5))
    return row | dict(zip(NUMBERS, found, strict=True)) | {"seconds": time.perf_counter() - begin}


@lru_cache(maxsize=1)
def _jets(path: str) -> Jets:
    return top_tagging(read_file(path, "jets", SLOTS))


def top_tagging(jets: Jets) -> Jets:
    """Return the jets of kinds qcd (quarks, gluons) and top only."""
    if jets.kinds == KINDS:
        return jets
    chosen = jets.with_kinds((*BACKGROUND, "top"))
    assert chosen.pid is not None
    return replace(chosen, pid=(chosen.pid == len(BACKGROUND)).astype(np.int64), kinds=KINDS)


def drawn(jets: Jets, seed: int, count: int, held: int) -> tuple[Jets, Jets]:
    """Return jets for training and jets for judging, the same for all methods."""
    if count + held > len(jets):
        sys.exit(f"{count} labels and {held} jets for judging need more than the {len(jets)} jets available")
    order = np.random.default_rng(seed).permutation(len(jets))
    return jets.take(order[held : held + count]), jets.take(order[:held])


def _untrained(dim: int, jets: Jets, seed: int) -> Checkpoint:
    """Return untrained weights of a network of another width."""
    architecture = Architecture.of("tiny", KINDS, mode="classifier", dim=dim, heads=min(HEADS, dim // 4))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "untrained.safetensors"
        save(path, build(architecture, Scales.of(jets, None), seed))
        return read(path)


def _probe(weights: str, used: Jets, judged: Jets) -> NDArray[np.float64]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = load(Path(weights))
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    score = probe.fit(last_hidden(model, used), used.pid).decision_function(last_hidden(model, judged))
    return np.asarray(score, dtype=np.float64)


def _cross_entropy(p: NDArray[np.float64], jets: Jets) -> float:
    """Return the mean -log p over both kinds."""
    assert jets.pid is not None
    return float(np.mean([-np.log(np.maximum(p[jets.pid == kind, kind], 1e-12)).mean() for kind in (0, 1)]))


def epochs_to(losses: Sequence[float], level: float, start: float) -> float:
    """Return the epochs until a held-out loss, `start` before the first one, falls to `level`; all if it never does.

    >>> epochs_to([0.5, 0.3], 0.4, 0.7)
    1.5
    """
    before = start
    for epoch, loss in enumerate(losses):
        if loss <= level:
            return epoch + (before - level) / (before - loss) if before > loss else float(epoch)
        before = loss
    return float(len(losses))


def converged(losses: Sequence[float], reference: Sequence[float], start: float) -> float:
    """Return the epochs until `losses` have fallen CONVERGED of the way from `start` to the best of `reference`; all of
    them if that is no lower.
    """
    if min(reference) >= start:
        return float(len(losses))
    return epochs_to(losses, start - CONVERGED * (start - min(reference)), start)


def summarise(rows: Sequence[Row], counts: Sequence[int]) -> dict[str, Any]:
    """Return means over seeds, their errors, and ratios of fine-tuned to scratch on the same jets."""
    out: dict[str, Any] = {}
    for count in (0, *counts):
        of = {
            name: sorted((r for r in rows if r["count"] == count and r["method"] == name), key=lambda r: int(r["seed"]))
            for name in METHODS
        }
        for name, found in of.items():
            for number in NUMBERS if found else ():
                out |= _with_error(f"{number}_{name}_{count}", [row[number] for row in found])
        pairs = [(a, b) for a in of["finetuned"] for b in of["scratch"] if a["seed"] == b["seed"]]
        if not pairs:
            continue
        gain = [float(np.log(a["rejection_30"] / b["rejection_30"])) for a, b in pairs]
        key = f"rejection_gain_{count}"
        out[key] = float(np.exp(np.mean(gain)))
        out[f"{key}_error"] = out[key] * _error(gain)
        for name, which in (("finetuned", 0), ("scratch", 1)):
            epochs = [converged(pair[which]["losses"], pair[1]["losses"], float(np.log(2))) for pair in pairs]
            out |= _with_error(f"epochs_{name}_{count}", epochs)
    return out


def _with_error(name: str, values: Sequence[float]) -> dict[str, float]:
    return {name: float(np.mean(values)), f"{name}_error": _error(values)}


def _error(values: Sequence[float]) -> float:
    """Return the standard error of the mean; NaN for a single value."""
    return float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")
