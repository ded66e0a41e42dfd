"""Weights on disk: ours as safetensors with the architecture in the header, OmniLearned's official `.pt` checkpoints.

No file can execute code: `.pt` files are read with `weights_only`. An official file does not state its architecture,
which is therefore read from the shapes of its tensors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from tools.arrays import sha256
from tools.contract import Frozen, ToolError
from tools.files import written
from tools.jet_model.model import PACKAGE_SIZES, Architecture, JetModel, Mode, Scales, build

OFFICIAL = "https://portal.nersc.gov/cfs/m4567/checkpoints/best_model_pretrain_{}.pt"
FOLDER = Path(__file__).parent / "pretrained"
# SHA-256 of the shipped weights, by name; pretrained/PROVENANCE.md says how they were made.
PRETRAINED = {"tiny": "293bcc6724e52932e990177cf41de1ac1e52a0ab420092a3032ade271cbba14c"}
# Parts of an official file, and their names in the network.
PARTS = {"body": "body", "classifier_head": "classifier", "generator_head": "generator"}
HEADER = "jet_model"  # key of our files' header
OUTPUT = ".out."  # output layers, specific to a task: not transferred to another one, as in the package

Tensors = dict[str, Any]


class WeightsRef(Frozen):
    """A file of weights."""

    path: str
    sha256: str
    parameters: int


class Matched(Frozen):
    """The tensors of a checkpoint that a network took over."""

    loaded: int = Field(description="tensors taken over")
    parameters_loaded: int
    parameters: int = Field(description="parameters of the network")
    skipped: dict[str, str] = Field(description="tensors of the checkpoint that were left out, and why")
    fresh: list[str] = Field(description="tensors of the network that were initialised anew")


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by their names in the network, and the network they belong to; only our own files have `notes`."""

    architecture: Architecture
    scales: Scales
    tensors: Tensors
    notes: dict[str, Any]
    path: Path


def save(path: Path, model: JetModel, notes: dict[str, Any] | None = None) -> WeightsRef:
    """Write weights, architecture, scales and notes as safetensors: same content, same bytes.

    The header has only one key, because safetensors writes several in arbitrary order.
    """
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.net.state_dict().items()}
    kind = {"architecture": model.architecture.model_dump(mode="json"), "scales": model.scales.model_dump(mode="json")}
    with written(path) as part:
        save_file(tensors, part, {HEADER: json.dumps(kind | {"notes": notes or {}})})
    return WeightsRef(path=str(path), sha256=sha256(path), parameters=model.parameters())


def read(path: Path, expected_sha256: str | None = None) -> Checkpoint:
    """Read a checkpoint, ours or an official one; `tiny` is the shipped one.

    Raises ToolError for a missing or damaged file, another checksum, pickled objects, and tensors of another network.
    """
    expected_sha256 = expected_sha256 or PRETRAINED.get(str(path))
    path = located(path)
    if not path.is_file():
        raise ToolError(
            "checkpoint", str(path), f"{', '.join(PRETRAINED)}, or a file of weights; there is no such file"
        )
    if expected_sha256 and (found := sha256(path)) != expected_sha256:
        raise ToolError("checkpoint", str(path), f"has SHA-256 {found} instead of {expected_sha256}")
    if path.suffix == ".safetensors":
        return _ours(path)
    if path.suffix in (".pt", ".pth"):
        return _official(path)
    raise ToolError("checkpoint", str(path), "a .safetensors file, or an official .pt file")


def located(path: Path) -> Path:
    """Return the file of shipped weights for their name, and any other path unchanged."""
    return FOLDER / f"{path}.safetensors" if str(path) in PRETRAINED else path


def load(path: Path, expected_sha256: str | None = None) -> JetModel:
    """Return the complete network of a checkpoint; ToolError as `read`, and if a tensor is missing or does not fit."""
    checkpoint = read(path, expected_sha256)
    model = build(checkpoint.architecture, checkpoint.scales)
    report = take_over(model, checkpoint, outputs=True)
    if report.skipped or report.fresh:
        wrong = ", ".join([*report.skipped, *report.fresh][:5])
        raise ToolError("checkpoint", str(path), f"does not fit {checkpoint.architecture.name()}: {wrong}")
    return model


def take_over(model: JetModel, checkpoint: Checkpoint, outputs: bool = False) -> Matched:
    """Copy the tensors of a checkpoint that fit into a network, in place.

    `outputs`: also output layers, which are meaningful only for the same kinds. Raises ToolError when the body has
    another size: hardly any tensor would fit, and training would effectively be from scratch.
    """
    ours, theirs = model.architecture, checkpoint.architecture
    if (ours.dim, ours.blocks) != (theirs.dim, theirs.blocks):
        allowed = f"weights of size {theirs.name()}; a model of size {ours.name()} needs weights of that size"
        raise ToolError("checkpoint", str(checkpoint.path), allowed)
    state = model.net.state_dict()
    fitting, skipped = {}, {}
    for name, tensor in checkpoint.tensors.items():
        if name not in state:
            skipped[name] = "the network has no tensor of this name"
        elif OUTPUT in name and not outputs:
            skipped[name] = "output layer of the previous task"
        elif state[name].shape != tensor.shape:
            skipped[name] = f"shape {tuple(tensor.shape)}, here {tuple(state[name].shape)}"
        else:
            fitting[name] = tensor
    model.net.load_state_dict(fitting, strict=False)
    return Matched(
        loaded=len(fitting),
        parameters_loaded=sum(p.numel() for name, p in model.net.named_parameters() if name in fitting),
        parameters=model.parameters(),
        skipped=skipped,
        fresh=[name for name in state if name not in fitting],
    )


def fetch_official(size: str, folder: Path, md5: str | None = None, base: str = OFFICIAL) -> Path:
    """Download an official checkpoint (small, medium, large), resumable and with progress on stderr.

    The authors publish no checksum: give the MD5 of a copy you trust, or compare the SHA-256 that is written next to
    the file with that of others. Later calls check the file against it. Raises ToolError as
    `tools.events.download.fetch` does, and if the file has changed.
    """
    import sys

    from tools.events.download import fetch

    if size not in PACKAGE_SIZES:
        raise ToolError("size", size, f"official checkpoints are {', '.join(PACKAGE_SIZES)}")
    url = base.format(size[0])
    target = folder / url.rsplit("/", 1)[1]
    record = target.with_name(target.name + ".sha256")
    folder.mkdir(parents=True, exist_ok=True)
    said = [-1]

    def progress(done: int, total: int) -> None:
        percent = 100 * done // max(total, 1)
        if percent != said[0]:
            said[0] = percent
            print(f"{target.name}: {done / 1e6:.0f} of {total / 1e6:.0f} MB", file=sys.stderr)

    if not target.exists():
        fetch(url, target, md5, progress)
    if record.exists():
        if (found := sha256(target)) != record.read_text().strip():
            raise ToolError("checkpoint", str(target), f"changed since it was downloaded: its SHA-256 is now {found}")
    else:
        record.write_text(sha256(target) + "\n")
    return target


def described(path: Path) -> tuple[Architecture, Scales, dict[str, Any]]:
    """Return architecture, scales and notes from the header of one of our files, without torch; else ToolError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            header = json.loads((file.metadata() or {})[HEADER])
        return (
            Architecture.model_validate(header["architecture"]),
            Scales.model_validate(header["scales"]),
            header["notes"],
        )
    except KeyError as error:
        raise ToolError("checkpoint", str(path), f"weights saved by jet_model; its header has no {error}") from None
    except (SafetensorError, ValidationError, ValueError) as error:
        raise ToolError("checkpoint", str(path), f"not readable: {error}") from None


def _ours(path: Path) -> Checkpoint:
    from safetensors.torch import load_file

    architecture, scales, notes = described(path)
    return Checkpoint(architecture, scales, load_file(path), notes, path)


def _official(path: Path) -> Checkpoint:
    import pickle

    import torch

    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        allowed = "tensors only; this file holds pickled objects, which could run code"
        raise ToolError("checkpoint", str(path), allowed) from None
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise ToolError("checkpoint", str(path), f"not readable: {str(error).splitlines()[0]}") from None
    if not isinstance(saved, dict) or "body" not in saved:
        raise ToolError("checkpoint", str(path), f"an OmniLearned checkpoint, with {', '.join(PARTS)}")
    tensors = {f"{ours}.{name}": tensor for part, ours in PARTS.items() for name, tensor in saved.get(part, {}).items()}
    try:
        architecture = architecture_of(tensors)
    except (KeyError, IndexError) as error:
        raise ToolError("checkpoint", str(path), f"an OmniLearned checkpoint; it has no {error}") from None
    return Checkpoint(architecture, Scales(), tensors, {"source": "official"}, path)


def architecture_of(tensors: Tensors) -> Architecture:
    """Return the architecture of tensors with these names and shapes; kinds are named by their numbers.

    The number of neighbours does not show in shapes: it is the package's 10. Raises KeyError for anything but a PET.
    """

    def width(name: str, side: int = 1) -> int:
        return int(tensors[name].shape[side]) if name in tensors else 0

    def count(prefix: str) -> int:
        return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})

    _, tokens, dim = tensors["body.token"].shape
    classifier, generator = "classifier.out.weight" in tensors, "generator.out.weight" in tensors
    mode: Mode = "pretrain" if classifier and generator else "classifier" if classifier else "generator"
    kinds = width("classifier.out.weight", 0) or width("generator.pid_embed.0.weight", 0)
    heads = width("body.interaction.mlp.fc2.weight", 0)
    for size in PACKAGE_SIZES:
        named = Architecture.of(size, ("0", "1"))
        heads = heads or (named.heads if named.dim == dim else 0)
    kinematics = tensors["body.embed.mlp.fc1.weight"].shape[1]
    return Architecture(
        kinds=tuple(map(str, range(kinds))),
        mode=mode,
        dim=dim,
        blocks=count("body.in_blocks."),
        head_blocks=count("body.local_physics.in_blocks."),
        heads=heads or 1,
        tokens=tokens,
        interaction="body.interaction.mlp.fc1.weight" in tensors,
        local_interaction=tensors["body.local_physics.mlp.fc1.weight"].shape[1] > kinematics,
        particle_kinds=width("body.pid_embed.0.weight", 0),
        vertex=width("body.add_embed.0.fc1.weight"),
        conditions=width("body.cond_embed.0.fc1.weight"),
    )
