"""The weights that ship are those that were judged, and every verb takes them by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tasks.tagging.samples import shipped
from tools.arrays import load_arrays
from tools.contract import ToolError
from tools.jet_model import weights
from tools.jet_model.embed import embed, last_hidden
from tools.jet_model.finetune import finetune
from tools.jet_model.generate import generate
from tools.jet_model.jets_file import read_jets, write_jets
from tools.jet_model.model import Architecture, Scales, build
from tools.jet_model.score import probabilities, score
from tools.jet_model.weights import FOLDER, PRETRAINED, load, read, save

TINY = Path("tiny")
STATED = json.loads((FOLDER / "provenance.json").read_text())


def test_the_file_is_the_one_that_was_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = read(TINY)
    assert checkpoint.path == FOLDER / "tiny.safetensors"
    assert PRETRAINED["tiny"] == STATED["sha256"]
    assert checkpoint.path.stat().st_size < 5e6
    assert checkpoint.architecture.kinds == ("quark", "gluon", "w", "z", "top", "hbb", "hgg")
    assert load(TINY).parameters() == STATED["parameters"]
    assert checkpoint.notes["request"] == STATED["request"]
    assert PRETRAINED["tiny"] in (FOLDER / "PROVENANCE.md").read_text()
    shutil.copytree(FOLDER, tmp_path / "pretrained")
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "pretrained")
    other = bytearray(checkpoint.path.read_bytes())
    other[-1] ^= 1
    (tmp_path / "pretrained" / "tiny.safetensors").write_bytes(other)
    with pytest.raises(ToolError, match="SHA-256"):
        read(TINY)


def test_shipped_jets_get_the_stated_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another tune; without any label of theirs."""
    monkeypatch.chdir(tmp_path)
    jets = shipped().take(slice(0, 500))
    assert jets.pid is not None
    write_jets(tmp_path / "jets.h5", jets)
    result = score(jets="jets.h5", checkpoint="tiny", signal="top", against=["quark", "gluon"])
    p = load_arrays(result.scores.path, "scores")
    odds = p["score"]
    np.testing.assert_allclose(
        odds, np.log(np.maximum(p["p_top"], 1e-12)) - np.log(p["p_quark"] + p["p_gluon"]), atol=1e-4
    )
    stated = STATED["tagging_sample"]
    n = (jets.pid == 1).sum()
    error = stated["auc_error"] * np.sqrt(stated["jets"] / len(jets))
    assert 150 < n < 190
    assert roc_auc_score(jets.pid, odds) == pytest.approx(stated["auc"], abs=3 * error)
    assert result.separation is None  # labelled as qcd and top, which the model does not know
    total = sum(p[f"p_{kind}"] for kind in result.kinds)
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_vectors_of_the_head_are_what_its_last_layer_reads() -> None:
    """Logits = W h + b, in the order of the jets, whose lengths put them into other parts."""
    import torch

    model = load(TINY)
    jets = shipped().take(np.r_[50:0:-1])
    assert len(np.unique(jets.multiplicity)) > 10
    out = model.net.classifier.out
    with torch.no_grad():
        expected = out(torch.as_tensor(last_hidden(model, jets))).softmax(dim=1).numpy()
    np.testing.assert_allclose(probabilities(model, jets), expected, atol=1e-5)
    assert model.net.classifier.out is out


def test_vectors_of_the_head_need_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_jets(tmp_path / "jets.h5", shipped().take(slice(0, 5)))
    architecture = Architecture.of("tiny", ("a", "b"), mode="generator", conditions=3)
    save(tmp_path / "made.safetensors", build(architecture, Scales(condition_mean=(0,) * 3, condition_std=(1,) * 3)))
    with pytest.raises(ToolError, match="no classifier") as caught:
        embed(jets="jets.h5", checkpoint="made.safetensors")
    assert caught.value.field == "layer"
    assert embed(jets="jets.h5", checkpoint="made.safetensors", layer="body").embedding.rows == 5


def test_every_verb_takes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    jets = shipped().take(slice(0, 40)).hardest(16)
    write_jets(tmp_path / "jets.h5", jets)
    write_jets(tmp_path / "tops.h5", jets.with_kinds(("top",)))
    assert embed(jets="jets.h5", checkpoint="tiny").embedding.rows == 40
    made = generate(jets="tops.h5", checkpoint="tiny", steps=2)
    tops = read_jets(tmp_path / made.jets)
    np.testing.assert_array_equal(tops.multiplicity, jets.with_kinds(("top",)).multiplicity)
    tuned = finetune(jets="jets.h5", start="tiny", training={"epochs": 1, "batch": 32, "min_steps": 1})
    assert tuned.matched is not None
    assert tuned.matched.parameters_loaded > 0.9 * tuned.matched.parameters
    assert [name for name in tuned.matched.fresh if ".out." not in name] == []
