"""Training and scoring compared with the package's own loop: same jets, same weights, CPU time of one thread.

The held-out losses after the same number of steps show whether the training is the same.

The package reads jets with all the padding they are stored with; a second line gives its loop on jets cut to the
longest one, which it does not do itself.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tools.jet_model.batches import Source, kinds_of, labels_for
from tools.jet_model.jets import Jets
from tools.jet_model.jets_file import write_jets
from tools.jet_model.model import PACKAGE_NAMES, Architecture, JetModel, Scales, Size, build
from tools.jet_model.objectives import Mix, class_weights, mixed
from tools.jet_model.score import probabilities
from tools.jet_model.train import BETAS, JetTraining, _rate, evaluate, fit

BATCH = 64
RATE = 5e-4
SLOTS = 128  # particles per jet, as in JetClass and our simulation


def speed(jets: Jets, size: Size, trained: int, scored: int, console: Console) -> dict[str, float]:
    """Measure each variant in its own process, one after the other."""
    jets = jets.take(np.random.default_rng(1).permutation(len(jets))[: trained + scored])
    used, held = jets.take(slice(0, trained)), jets.take(slice(trained, None))
    width, mean = SLOTS, jets.multiplicity.mean()
    longest = int(jets.multiplicity.max())
    variants: dict[str, tuple[Callable[..., Any], int]] = {
        "ours": (_ours, width),
        f"package, {width} slots": (_plain, width),
        f"package, {longest} slots": (_plain, longest),
    }
    table = Table(title=f"{size}: {trained} jets in batches of {BATCH}, {mean:.0f} particles per jet, CPU time")
    for column in ("", "trained/s", "scored/s", "held-out loss", "MiB more"):
        table.add_column(column, justify="right")
    found = {}
    for name, (variant, slots) in variants.items():
        found[name] = _in_child(variant, _padded(used, slots), _padded(held, slots), size)
        table.add_row(name, *(f"{value:.4g}" for value in found[name]))
    console.print(table)
    ours, plain, cut = found.values()
    return {
        "speedup_vs_plain_loop": ours[0] / plain[0],
        "speedup_vs_cut_loop": ours[0] / cut[0],
        "scoring_speedup": ours[1] / plain[1],
        "loss_ours": ours[2],
        "loss_plain": plain[2],
    }


def _padded(jets: Jets, slots: int) -> Jets:
    """Pad jets to this many slots, empty where a jet has fewer particles."""
    kept = jets.particles[:, :slots]
    return replace(jets, particles=np.pad(kept, ((0, 0), (0, slots - kept.shape[1]), (0, 0))))


def _start(jets: Jets, size: Size) -> JetModel:
    import omnilearned.train  # noqa: F401  # imported before the clock starts
    import torch

    torch.set_num_threads(1)
    return build(Architecture.of(size, kinds_of(jets), mode="classifier"), Scales.of(jets, None), seed=1)


def _ours(used: Jets, held: Jets, size: Size) -> tuple[float, float, float]:
    """Return (jets trained per second, jets scored per second, held-out loss)."""

    model = _start(used, size)
    source = Source(model, used, labels_for(model.architecture.kinds, used))
    objective = mixed(model, Mix(generate=0), class_weights(np.asarray(used.pid), len(used.kinds)))
    rows, settings = (
        np.arange(len(used)),
        JetTraining(epochs=1, batch=BATCH, learning_rate=RATE, weight_decay=0.0, min_steps=1),
    )
    groups = [{"params": list(model.net.parameters()), "lr": RATE}]
    begin = time.process_time()
    fit(model.net, groups, objective, source, rows, rows[:1], settings, seed=1)
    middle = time.process_time()
    probabilities(model, held)
    end = time.process_time()
    return len(used) / (middle - begin), len(held) / (end - middle), _loss(model, held)


def _plain(used: Jets, held: Jets, size: Size) -> tuple[float, float, float]:
    """Return the same for the package's loader, training and evaluation steps."""
    import torch
    from omnilearned.dataloader import load_data
    from omnilearned.evaluate import test_step
    from omnilearned.network import PET2
    from omnilearned.train import train_step
    from pytorch_optimizer import Lion

    model = _start(used, size)
    a = model.architecture
    net = PET2(
        4, mode="classifier", num_classes=len(a.kinds), use_int=a.interaction, local_int=a.local_interaction,
        K=a.neighbours, num_coord=2, **{theirs: getattr(a, ours) for ours, theirs in PACKAGE_NAMES.items()},
    )  # fmt: skip
    net.load_state_dict(model.net.state_dict())
    with tempfile.TemporaryDirectory() as folder:
        for kind, jets in (("train", used), ("test", held)):
            where = Path(folder) / "custom" / kind
            where.mkdir(parents=True)
            write_jets(where / "jets.h5", jets)
        torch.manual_seed(1)
        loaders = {
            kind: load_data("custom", folder, batch=BATCH, dataset_type=kind, num_workers=0, shuffle=kind == "train")
            for kind in ("train", "test")
        }
        steps = len(loaders["train"])
        optimizer = Lion(net.parameters(), lr=RATE, betas=BETAS)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate((step + 1) / steps, 0.05))
        entropy, squares = torch.nn.CrossEntropyLoss(reduction="none"), torch.nn.MSELoss(reduction="none")
        begin = time.process_time()
        train_step(net, loaders["train"], entropy, squares, optimizer, schedule, "classifier", "cpu")
        middle = time.process_time()
        test_step(net, loaders["test"], "classifier", "cpu")
        end = time.process_time()
    model.net.load_state_dict(net.state_dict())
    return len(used) / (middle - begin), len(held) / (end - middle), _loss(model, held)


def _loss(model: JetModel, held: Jets) -> float:
    import torch

    source = Source(model, held, labels_for(model.architecture.kinds, held))
    objective = mixed(model, Mix(generate=0), np.ones(len(held.kinds), dtype=np.float32))
    return evaluate(model.net, objective, source, torch.arange(len(held)), seed=1)["classify"]


def _in_child(function: Callable[..., tuple[float, ...]], *arguments: Any) -> tuple[float, ...]:
    """Run the function in a child process; return its results and the rise of peak memory in MiB."""
    context = multiprocessing.get_context("fork")
    there, here = context.Pipe()

    def work() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = function(*arguments)
        there.send((*found, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))

    child = context.Process(target=work)
    child.start()
    try:
        return tuple(here.recv())
    finally:
        child.join()
