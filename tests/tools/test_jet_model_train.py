"""JetTraining: repeatable, resumable, the same in one process or two; the verbs end to end, and their refusals."""

from __future__ import annotations

import multiprocessing
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve

from tests.tools.jet_toys import KINDS, network, prongs
from tools.arrays import load_arrays
from tools.catalogue import find
from tools.contract import ToolError
from tools.jet_model import ranks
from tools.jet_model.batches import Source, labels_for
from tools.jet_model.embed import embed
from tools.jet_model.finetune import finetune, split_kinds, tune
from tools.jet_model.generate import generate
from tools.jet_model.inputs import separation
from tools.jet_model.jets import Jets
from tools.jet_model.jets_file import read_jets, write_jets
from tools.jet_model.objectives import Mix, class_weights, cross_entropy, mixed
from tools.jet_model.pretrain import pretrain
from tools.jet_model.score import probabilities, score
from tools.jet_model.train import JetTraining, Outcome, _rate, backward, fit
from tools.jet_model.weights import load, read, save

SETTINGS = JetTraining(epochs=3, batch=16, learning_rate=1e-3, average=0.9, min_steps=1)
QUICK = {"epochs": 1, "batch": 32, "min_steps": 1}


class Interrupted(KeyboardInterrupt):
    """As good as a kill."""


def trained(state: Path | None = None, stop_after: int | None = None, seed: int = 1) -> tuple[Any, Outcome]:
    """A small classifier on 48 jets; `stop_after` so many calls of the objective it is interrupted."""
    jets = prongs(60)
    model = network(jets, mode="classifier")
    source = Source(model, jets, labels_for(KINDS, jets))
    losses = mixed(model, Mix(generate=0), class_weights(np.asarray(jets.pid), 2))
    calls = [0]

    def objective(part: Any) -> dict[str, Any]:
        calls[0] += 1
        if stop_after is not None and calls[0] > stop_after:
            raise Interrupted
        return losses(part)

    groups = [{"params": list(model.net.parameters()), "lr": SETTINGS.learning_rate}]
    rows = np.arange(60)
    fitted = fit(model.net, groups, objective, source, rows[:48], rows[48:], SETTINGS, seed, state)
    return model.net.state_dict(), fitted


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_same_seed_same_weights_and_an_interruption_changes_nothing(tmp_path: Path) -> None:
    weights, fitted = trained()
    again, _ = trained()
    assert same(weights, again)
    assert not same(weights, trained(seed=2)[0])
    state = tmp_path / "w.state"
    with pytest.raises(Interrupted):
        trained(state, stop_after=6)  # in the second epoch: four calls each
    assert state.exists()
    resumed, history = trained(state)
    assert same(weights, resumed)
    assert [e.validation for e in history.history] == [e.validation for e in fitted.history]
    assert history.best == fitted.best
    with pytest.raises(ToolError, match="other settings"):
        trained(state, seed=2)
    state.write_text("damaged")
    with pytest.raises(ToolError, match="not readable"):
        trained(state)


def test_a_training_that_diverges_says_so() -> None:
    jets = prongs(20)
    model = network(jets, mode="classifier")
    source, rows = Source(model, jets, labels_for(KINDS, jets)), np.arange(20)
    groups = [{"params": list(model.net.parameters()), "lr": 1e-3}]
    with pytest.raises(ToolError, match="diverged"):
        fit(model.net, groups, lambda p: {"a": model.logits(p.x)[:, 0] * np.nan}, source, rows, rows, SETTINGS, 1)


def test_few_jets_come_several_times() -> None:
    jets = prongs(20)
    model = network(jets, mode="classifier")
    source, seen = Source(model, jets, labels_for(KINDS, jets)), []

    def objective(part: Any) -> dict[str, Any]:
        seen.extend(part.rows.tolist())
        return {"a": model.logits(part.x)[:, 0] ** 2}

    groups = [{"params": list(model.net.parameters()), "lr": 1e-3}]
    settings = JetTraining(epochs=1, batch=8, min_steps=5)
    fit(model.net, groups, objective, source, np.arange(16), np.arange(16, 20), settings, 1)
    assert np.bincount(seen).tolist() == [3] * 16 + [1] * 4  # 6 steps of 8


def test_the_rate_rises_and_falls() -> None:
    assert _rate(0.05, 0.1) == 0.5
    assert _rate(0.1, 0.1) == 1
    assert _rate(0.55, 0.1) == pytest.approx(0.5)
    assert _rate(1.0, 0.1) == pytest.approx(0)
    assert _rate(0.5, 0.0) == pytest.approx(0.5)


def gradients(jets: Jets, rows: Any) -> Any:
    """Of one batch of all the process's rows."""
    model = network(jets, mode="classifier")
    source = Source(model, jets, labels_for(KINDS, jets))
    for part in source.parts(rows, 100):
        entropy = cross_entropy(model.logits(part.x), part.y, np.ones(2, dtype=np.float32))
        backward({"classify": entropy}, part, len(rows))
    ranks.average_gradients(model.net)
    return torch.cat([p.grad.flatten() for p in model.net.parameters() if p.grad is not None])


def one_of_two(rank: int, port: int, jets: Jets, out: Path) -> None:
    """What torchrun would start."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks.start()
    torch.save(gradients(jets, ranks.share(torch.arange(len(jets)))), out / f"{rank}.pt")


def test_two_processes_take_the_step_of_one(tmp_path: Path) -> None:
    """Each has half of the jets; the mean of their gradients is that of all jets."""
    jets = prongs(12)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=one_of_two, args=(rank, port, jets, tmp_path)) for rank in (0, 1)]
    for process in both:
        process.start()
    for process in both:
        process.join(200)
        assert process.exitcode == 0
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    one = gradients(jets, torch.arange(12))
    assert torch.equal(first, second)
    assert torch.allclose(first, one, atol=1e-5 * float(one.abs().max()))


def test_prongs_are_told_apart_whatever_the_order_of_their_names() -> None:
    jets, checked = prongs(200, seed=2), prongs(150, seed=3)
    tuned = tune(jets, checked, JetTraining(epochs=4, batch=16, learning_rate=2e-3, min_steps=1), seed=1)
    assert tuned.separation.auc["two"] > 0.75
    assert tuned.separation.auc["two"] == tuned.separation.auc["one"]
    reversed_kinds = replace(checked, pid=1 - np.asarray(checked.pid), kinds=KINDS[::-1])
    p = probabilities(tuned.model, reversed_kinds)
    assert roc_auc_score(labels_for(KINDS, reversed_kinds), p[:, 1]) == pytest.approx(tuned.separation.auc["two"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("jets")
    write_jets(path / "jets.h5", prongs(80))
    unlabelled = replace(prongs(40), pid=None, kinds=())
    write_jets(path / "unlabelled.h5", unlabelled)
    write_jets(path / "bare.h5", replace(prongs(40), jet=None))
    return path


def test_from_pretraining_to_generated_jets(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    jets = str(folder / "jets.h5")
    first = pretrain(jets=jets, training=QUICK, mix={"perturbed": 1, "masked": 1})
    assert set(first.history[0].validation) == {"classify", "generate", "perturbed", "masked"}
    assert set(first.separation.auc) == set(KINDS)
    assert not Path("jet_model.safetensors.state").exists()
    notes = read(Path(first.weights.path)).notes
    assert notes["request"]["seed"] == 1
    tuned = finetune(jets=jets, start=first.weights.path, kinds=["two", "one"], training=QUICK)
    assert tuned.matched.fresh == []
    assert tuned.labels_used == 80
    given = read_jets(folder / "jets.h5")
    write_jets(tmp_path / "twice.h5", given.take(np.tile(np.arange(len(given)), 2)))
    twice = finetune(
        jets="twice.h5", start=first.weights.path, kinds=["two", "one"], training=QUICK, out="b.safetensors"
    )
    assert twice.labels_used == 80  # copies need no label of their own
    scored = score(jets=jets, checkpoint=tuned.weights.path)
    columns = load_arrays(scored.scores.path, "scores")
    p = probabilities(load(Path(tuned.weights.path)), given)
    assert scored.kinds == ["two", "one"]
    assert columns["p_one"] == pytest.approx(p[:, 1], abs=1e-6)
    assert columns["score"] == pytest.approx(np.log(p[:, 1] / p[:, 0]), abs=1e-4)
    area = roc_auc_score(np.asarray(given.pid) == 0, columns["score"])
    assert scored.separation.auc["one"] == pytest.approx(area, abs=1e-6)
    of_body = embed(jets=jets, checkpoint=first.weights.path, layer="body")
    assert len(load_arrays(of_body.embedding.path, "embedding")) == 5 * 32
    made = generate(jets=jets, checkpoint=first.weights.path, steps=2, max_jets=10)
    assert (made.count, len(read_jets(Path(made.jets)))) == (10, 10)


def test_robust_training_is_shown_by_name_and_changes_what_is_learnt(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = find("jet_model.finetune").schema()["parameters"]["$defs"]["FewLabels"]["properties"]["robust"]
    assert set(shown["enum"]) == {None, "fgsm", "pgd", "sam", "sparse_sam"}
    options = [None, "fgsm", {"kind": "sam", "rho": 0.2}]  # settings are taken, too, though they are not shown
    learnt = set()
    for robust in options:
        tuned = finetune(jets=str(folder / "jets.h5"), training=QUICK | {"epochs": 2, "batch": 16, "robust": robust})
        tensors = read(Path(tuned.weights.path)).tensors
        learnt.add(b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors)))
    assert len(learnt) == len(options)


@pytest.mark.parametrize("seed", range(5))
def test_every_kind_is_trained_and_validated_on(seed: int) -> None:
    """Of 50 labels with 4 tops, 10 chosen at random would have none every third time."""
    pid = np.r_[np.zeros(46, np.int64), np.ones(4, np.int64)]
    used, held = split_kinds(pid, 0.2, seed)
    assert sorted(np.r_[used, held]) == list(range(50))
    assert [np.bincount(pid[rows]).tolist() for rows in (used, held)] == [[37, 3], [9, 1]]
    assert not np.array_equal(held, split_kinds(pid, 0.2, seed + 1)[1])


def test_without_labels_there_is_generation_and_masking(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    jets = str(folder / "unlabelled.h5")
    with pytest.raises(ToolError, match="these have no labels"):
        pretrain(jets=jets, training=QUICK)
    done = pretrain(jets=jets, training=QUICK, mix={"classify": 0, "masked": 1}, out="free.safetensors")
    assert done.separation is None
    masked = pretrain(jets=str(folder / "bare.h5"), training=QUICK, mix={"classify": 0, "generate": 0, "masked": 1})
    assert set(masked.history[0].validation) == {"masked"}


def test_what_cannot_be_done(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    jets, bare = str(folder / "jets.h5"), str(folder / "bare.h5")
    save(Path("classifier.safetensors"), network(prongs(10), mode="classifier"))
    save(Path("generator.safetensors"), network(prongs(10), mode="generator"))
    unlabelled = str(folder / "unlabelled.h5")
    for call, arguments, message in (
        (pretrain, {"jets": "none.h5"}, "no such file"),
        (pretrain, {"jets": bare}, "pt and eta"),
        (pretrain, {"jets": jets, "out": "/tmp/x.safetensors"}, "below the working directory"),
        (pretrain, {"jets": jets, "mix": {"classify": 0, "generate": 0}}, "at least one loss"),
        (finetune, {"jets": unlabelled}, "labelled jets"),
        (finetune, {"jets": jets, "kinds": ["one", "three"]}, "there are no such jets"),
        (finetune, {"jets": jets, "kinds": ["one"]}, "two or more"),
        (finetune, {"jets": jets, "start": "classifier.safetensors", "validation": "none.h5"}, "validation"),
        (score, {"jets": jets, "checkpoint": "classifier.safetensors", "signal": "top"}, "the model knows one, two"),
        (
            score,
            {"jets": jets, "checkpoint": "classifier.safetensors", "signal": "one", "against": ["two", "one"]},
            "against=.*some of two",
        ),
        (score, {"jets": jets, "checkpoint": "generator.safetensors"}, "only generates"),
        (generate, {"jets": jets, "checkpoint": "classifier.safetensors"}, "conditions"),
        (embed, {"jets": jets, "checkpoint": "none.safetensors"}, "no such file"),
    ):
        with pytest.raises(ToolError, match=message):
            call(**arguments)


def test_separation_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 2000)
    signal = 1 / (1 + np.exp(-(rng.normal(0, 1, 2000) + labels)))
    found = separation(np.column_stack([1 - signal, signal]), labels, KINDS)
    assert found.auc["two"] == pytest.approx(roc_auc_score(labels, signal))
    assert found.accuracy == pytest.approx(np.mean((signal > 0.5) == labels))
    false, true, _ = roc_curve(labels, signal, drop_intermediate=False)
    for efficiency in (0.3, 0.5):
        wanted = 1 / false[np.searchsorted(true, round(efficiency * labels.sum()) / labels.sum())]
        assert found.rejection[f"{efficiency:g}"] == pytest.approx(wanted, rel=0.02)


def test_a_kind_without_jets_is_left_out() -> None:
    found = separation(np.full((4, 3), 1 / 3), np.array([0, 0, 1, 1]), ("a", "b", "c"))
    assert set(found.auc) == {"a", "b"}
