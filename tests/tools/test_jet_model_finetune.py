"""What a tagger knows before it has seen a label: the body as it was, and the output of the kinds that it is like."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jet_toys import KINDS, network, prongs

from tools.contract import ToolError
from tools.jet_model.begin import Like, begin
from tools.jet_model.finetune import split_kinds, tune
from tools.jet_model.jets import Jets
from tools.jet_model.score import probabilities
from tools.jet_model.train import JetTraining
from tools.jet_model.weights import Checkpoint, load, read, save

QUICK = JetTraining(epochs=1, batch=16, learning_rate=1e-6, min_steps=1)


@pytest.fixture(scope="module")
def jets() -> Jets:
    return prongs(60)


@pytest.fixture(scope="module", params=["pretrain", "classifier"])
def start(request: pytest.FixtureRequest, jets: Jets, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Of three kinds; one that generates as well has tokens of its conditions and of time."""
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    model = network(jets, kinds=("one", "two", "three"), mode=request.param)
    torch.manual_seed(3)
    for parameter in model.net.parameters():  # biases and scales that begin at 0 or 1 would hide what is lost
        parameter.data += 0.1 * torch.randn_like(parameter)
    save(path, model)
    return read(path)


def logits(model: object, jets: Jets) -> np.ndarray:
    return np.log(probabilities(model, jets))  # type: ignore[arg-type]


def test_the_body_stays_the_function_that_it_was(jets: Jets, start: Checkpoint) -> None:
    x = torch.as_tensor(jets.particles)
    with torch.no_grad():
        old, new = load(start.path), begin(("up", "down"), jets, QUICK, 1, start).model
        tokens = start.architecture.tokens
        assert torch.allclose(old.body(x)[:, :tokens], new.body(x)[:, :tokens], atol=1e-5)


def test_an_output_begins_with_what_is_known(jets: Jets, start: Checkpoint) -> None:
    known = logits(load(start.path), jets)
    begun = begin(("two", "three", "one"), jets, QUICK, 1, start)
    np.testing.assert_allclose(logits(begun.model, jets), known[:, [1, 2, 0]], atol=1e-5)
    assert begun.matched is not None
    assert begun.matched.fresh == []
    merged = begin(("many", "one"), jets, QUICK, 1, start, like={"many": ["two", "three"]})
    odds = np.diff(logits(merged.model, jets), axis=1)[:, 0]
    np.testing.assert_allclose(odds, known[:, 0] - known[:, 1:].mean(axis=1) - np.log(2), atol=1e-4)
    assert merged.matched is not None
    assert "many from two, three; one from one" in merged.matched.skipped["classifier.out.weight"]
    anew = begin(("many", "one"), jets, QUICK, 1, start).matched
    assert anew is not None
    assert "classifier.out.weight" in anew.fresh


def test_a_tagger_that_hardly_learns_tags_as_before(jets: Jets, start: Checkpoint, tmp_path: Path) -> None:
    used, held = (jets.take(rows) for rows in split_kinds(np.asarray(jets.pid), 0.3, 1))
    chosen = start.architecture.model_copy(update={"kinds": KINDS})
    tensors = dict(start.tensors)
    for name in ("classifier.out.weight", "classifier.out.bias"):
        tensors[name] = tensors[name][:2]
    tuned = tune(used, held, QUICK, 1, replace(start, architecture=chosen, tensors=tensors))
    save(tmp_path / "tagger.safetensors", tuned.model)
    odds = np.diff(logits(load(tmp_path / "tagger.safetensors"), jets), axis=1)[:, 0]
    known = logits(load(start.path), jets)
    np.testing.assert_allclose(odds, known[:, 1] - known[:, 0], atol=0.01)


def test_what_training_only_makes_worse_stays(tmp_path: Path) -> None:
    used, held = prongs(200, seed=2), prongs(150, seed=3)
    good = tune(used, held, JetTraining(epochs=3, batch=16, learning_rate=2e-3, min_steps=1), 1)
    save(tmp_path / "good.safetensors", good.model)
    spoilt = JetTraining(epochs=2, batch=16, learning_rate=0.1, min_steps=1)
    again = tune(used, held, spoilt, 1, read(tmp_path / "good.safetensors"))
    assert again.fitted.best == 0
    assert all(epoch.loss > good.fitted.history[good.fitted.best - 1].loss for epoch in again.fitted.history)
    np.testing.assert_allclose(logits(again.model, held), logits(good.model, held), atol=1e-5)


@pytest.mark.parametrize(
    ("like", "words"),
    [
        ({"up": ["top"]}, "one or more of the kinds of `start`, one, two, three"),
        ({"up": []}, "one or more of the kinds"),
        ({"left": ["one"]}, "for some of up, down"),
        ({"up": ["one"]}, "an entry for down as well"),
    ],
)
def test_kinds_that_are_not_known_are_named(jets: Jets, start: Checkpoint, like: Like, words: str) -> None:
    with pytest.raises(ToolError, match=words):
        begin(("up", "down"), jets, QUICK, 1, start, like=like)


def test_nothing_is_like_what_there_is_not(jets: Jets, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="kinds of `start`, none"):
        begin(("up", "down"), jets, QUICK, 1, None, like={"up": ["one"], "down": ["two"]})
    save(tmp_path / "generator.safetensors", network(jets, mode="generator"))
    begun = begin(KINDS, jets, QUICK, 1, read(tmp_path / "generator.safetensors"))
    assert begun.matched is not None
    assert "classifier.out.weight" in begun.matched.fresh
