"""Judge and ship pretrained weights: `python -m benchmarks.jet_model_ship WEIGHTS.safetensors HELD.h5`.

HELD are jets not seen in training. Writes the weights into `tools/jet_model/pretrained`, together with
`provenance.json` (how they were made, losses by epoch, scores) and the curves. The scores are the AUC of each kind
against all others on HELD, and of tops against the rest on the shipped jets of the task `tagging`, which have another
tune.
"""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tasks.tagging.samples import shipped
from tools.arrays import sha256
from tools.jet_model.batches import labels_for
from tools.jet_model.inputs import read_file, rejection, separation
from tools.jet_model.model import JetModel
from tools.jet_model.score import log_odds, probabilities
from tools.jet_model.weights import FOLDER, load, read, save
from tools.metrics import auc, auc_error

PACKAGES = ("torch", "omnilearned", "pytorch-optimizer", "numpy")


def main(weights: Path, held: str) -> None:
    checkpoint, model = read(weights), load(weights)
    FOLDER.mkdir(exist_ok=True)
    target = FOLDER / weights.name
    save(target, model, checkpoint.notes)
    target.chmod(0o644)  # sandboxes read it as another user
    found: dict[str, Any] = {
        "sha256": sha256(target),
        "parameters": model.parameters(),
        **checkpoint.notes,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "held_out": judged(model, held, checkpoint.notes["request"]["max_particles"]),
        "tagging_sample": on_tagging_sample(model),
    }
    target.with_name("provenance.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(found["history"], target.with_suffix(".png"))
    print(json.dumps({name: found[name] for name in ("sha256", "held_out", "tagging_sample")}, indent=1))


def judged(model: JetModel, held: str, max_particles: int) -> dict[str, Any]:
    """Return the AUC of each kind with its error, and the accuracy."""
    jets = read_file(held, "held", max_particles)
    kinds = model.architecture.kinds
    labels = labels_for(kinds, jets)
    scores = separation(probabilities(model, jets), labels, kinds)
    counts = np.bincount(labels, minlength=len(kinds))
    errors = {
        kind: auc_error(scores.auc[kind], int(n), int(len(jets) - n)) for kind, n in zip(kinds, counts, strict=True)
    }
    return {"jets": len(jets), "auc": scores.auc, "auc_error": errors, "accuracy": scores.accuracy}


def on_tagging_sample(model: JetModel) -> dict[str, float]:
    """Return AUC with error and rejections at 30% and 50%, for tops against the rest of the shipped jets."""
    sample = shipped()
    score = log_odds(probabilities(model, sample), model.architecture.kinds, "top", ("quark", "gluon"))
    top, other = score[sample.pid == 1], score[sample.pid == 0]
    area = auc(top, other)
    return {
        "jets": len(sample),
        "auc": area,
        "auc_error": auc_error(area, len(top), len(other)),
        "rejection_30": rejection(top, other, 0.3),
        "rejection_50": rejection(top, other, 0.5),
    }


def draw(history: list[dict[str, Any]], path: Path) -> None:
    """Plot the losses by epoch."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    epochs = np.arange(1, len(history) + 1)
    for color, name in enumerate(history[0]["validation"]):
        for which, style in (("training", "--"), ("validation", "-")):
            values = [epoch[which][name] for epoch in history]
            axes.plot(epochs, values, style, marker="o", color=f"C{color}", label=f"{name}, {which}")
    axes.set(xlabel="epoch", ylabel="loss a jet", xticks=epochs)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
