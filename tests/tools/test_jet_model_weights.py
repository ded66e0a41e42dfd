"""Weights come back as they were saved, official files without pickle, and the report of what matched is true."""

from __future__ import annotations

import http.server
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from omnilearned import network as package

from tests.tools.jet_toys import KINDS, SMALL, network, prongs
from tools.arrays import sha256
from tools.contract import ToolError
from tools.jet_model.batches import Source
from tools.jet_model.model import Architecture, build
from tools.jet_model.weights import OUTPUT, fetch_official, load, read, save, take_over

JETS = prongs(20)


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.nn.Module]:
    """A checkpoint as the package itself writes it: 5 kinds, particle kinds, vertex features."""
    from omnilearned.utils import save_checkpoint

    torch.manual_seed(3)
    net = package.PET2(
        4, use_int=True, local_int=True, conditional=True, cond_dim=3, pid=True, pid_dim=9, add_info=True, add_dim=4,
        mode="pretrain", num_classes=5, K=10, num_coord=2, base_dim=16, num_transformers=2, num_transformers_head=1,
        num_heads=2,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(net.parameters())
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    wrapped = SimpleNamespace(module=net)
    folder = tmp_path_factory.mktemp("official")
    loss = torch.tensor([1.0])
    save_checkpoint(wrapped, net, 3, optimizer, loss, schedule, str(folder), "best_model_pretrain_s.pt")
    return folder / "best_model_pretrain_s.pt", net


def test_loaded_is_saved(tmp_path: Path) -> None:
    model = network(JETS)
    ref = save(tmp_path / "weights.safetensors", model, {"seed": 1})
    again = load(Path(ref.path), ref.sha256)
    assert again.architecture == model.architecture
    assert again.scales == model.scales
    x = Source(model, JETS).x
    with torch.no_grad():
        assert torch.equal(again.logits(x), model.logits(x))
    assert read(Path(ref.path)).notes == {"seed": 1}
    assert ref.parameters == model.parameters()


def test_a_checkpoint_of_the_package_tells_its_architecture(official: tuple[Path, torch.nn.Module]) -> None:
    path, net = official
    checkpoint = read(path)
    assert checkpoint.architecture == Architecture(
        kinds=("0", "1", "2", "3", "4"), particle_kinds=9, vertex=4, conditions=3, **{**SMALL, "neighbours": 10}
    )
    model = load(path)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in model.net.state_dict().items())


def test_the_report_of_what_matched_is_true(official: tuple[Path, torch.nn.Module]) -> None:
    path, net = official
    fresh = network(JETS, seed=5, mode="classifier", neighbours=10)
    before = {name: value.clone() for name, value in fresh.net.state_dict().items()}
    report = take_over(fresh, read(path))
    after, theirs = fresh.net.state_dict(), net.state_dict()
    taken = [name for name in after if name in theirs and torch.equal(after[name], theirs[name])]
    same = [name for name in after if torch.equal(after[name], before[name])]
    assert report.loaded == len(taken)
    assert (
        sorted(report.fresh)
        == sorted(name for name in after if name not in taken)
        == sorted(name for name in same if OUTPUT in name)
    )
    assert set(report.fresh) == {"classifier.out.weight", "classifier.out.bias"}
    assert set(report.skipped) == set(theirs) - set(taken)
    assert "output layer" in report.skipped["classifier.out.weight"]
    assert report.parameters - report.parameters_loaded == 2 * (4 * 16 + 1)


def test_shapes_that_differ_are_named(official: tuple[Path, torch.nn.Module]) -> None:
    other = network(JETS, mode="classifier", local_interaction=False)
    report = take_over(other, read(official[0]))
    assert report.skipped["body.local_physics.mlp.fc1.weight"] == "shape (32, 7), here (32, 4)"


def test_another_size_is_refused_by_name(official: tuple[Path, torch.nn.Module]) -> None:
    tiny = build(Architecture.of("tiny", KINDS))
    with pytest.raises(ToolError, match="of size dim 16, 2 blocks; a model of size tiny"):
        take_over(tiny, read(official[0]))


class Evil:
    """Makes a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    torch.save({"body": Evil(trap)}, tmp_path / "evil.pt")
    with pytest.raises(ToolError, match="could run code"):
        read(tmp_path / "evil.pt")
    assert not trap.exists()


def test_bad_files(tmp_path: Path, official: tuple[Path, torch.nn.Module]) -> None:
    from safetensors.torch import save_file

    with pytest.raises(ToolError, match="no such file"):
        read(tmp_path / "none.pt")
    (tmp_path / "half.pt").write_bytes(official[0].read_bytes()[:1000])
    (tmp_path / "text.safetensors").write_text("no weights")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    torch.save({"body": {"token": torch.zeros(1, 4, 8)}}, tmp_path / "part.pt")
    (tmp_path / "weights.bin").write_bytes(b"")
    for name, message in {
        "half.pt": "not readable",
        "text.safetensors": "not readable",
        "other.safetensors": "its header has no 'jet_model'",
        "other.pt": "an OmniLearned checkpoint",
        "part.pt": "it has no",
        "weights.bin": "a .safetensors file",
    }.items():
        with pytest.raises(ToolError, match=message):
            read(tmp_path / name)
    with pytest.raises(ToolError, match="instead of 00"):
        read(official[0], "00")


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    model = network(JETS)
    hashes = {save(tmp_path / f"{k}.safetensors", model, {"losses": [1.0, 0.5]}).sha256 for k in range(8)}
    assert len(hashes) == 1


def test_a_missing_tensor_is_not_passed_over(tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = tmp_path / "weights.safetensors"
    save(path, network(JETS))
    with safe_open(path, "pt") as file:
        tensors, header = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    tensors.pop("classifier.out.bias")
    save_file(tensors, path, header)
    with pytest.raises(ToolError, match=r"does not fit.*classifier\.out\.bias"):
        load(path)


def test_official_weights_are_downloaded_once_and_checked_ever_after(
    tmp_path: Path, official: tuple[Path, torch.nn.Module], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(official[0].parent))

        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}/best_model_pretrain_{{}}.pt"
        path = fetch_official("small", tmp_path, base=base)
        assert fetch_official("small", tmp_path, base=base) == path
        server.shutdown()
    assert asked == ["/best_model_pretrain_s.pt"]
    assert "MB" in capsys.readouterr().err
    assert sha256(path) == sha256(official[0])
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ToolError, match="changed since"):
        fetch_official("small", tmp_path, base=base)
    with pytest.raises(ToolError, match="small, medium, large"):
        fetch_official("tiny", tmp_path)
