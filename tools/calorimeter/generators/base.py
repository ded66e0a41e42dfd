"""The interface of shower generators, and their file format.

Three verbs: `settings.fit(showers, seed, progress)` gives a Generator, `generate(incident, seed)` makes showers, `save`
and `load` keep it. A file is one safetensors file: arrays of plain numbers behind a JSON header with the kind of
generator, its settings, its geometry and the incident energies it has seen. Reading it runs no code.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from tools.calorimeter.geometry import Geometry
from tools.calorimeter.showers import Showers, check_incident
from tools.contract import ToolError
from tools.files import written
from tools.types import Floats

Arrays = dict[str, NDArray[Any]]
Losses = list[tuple[float, float]]  # (training, validation) per epoch, nats
Progress = Callable[[int, float, float], None]  # epoch, its losses

MIN_SHOWERS = 100
EDGE = 1.001  # beyond the last energy seen by more than this factor is beyond
_GEOMETRY = TypeAdapter(Geometry)


class BeyondTraining(UserWarning):
    """Showers of an incident energy outside the range that the generator has seen."""


class Domain(NamedTuple):
    """Material and particle of a shower, for generators that know several."""

    material: str = "base"
    particle: str = "base"


class Generator(Protocol):
    """A trained generator."""

    @property
    def geometry(self) -> Geometry:
        """That of its showers."""

    @property
    def seen(self) -> tuple[float, float]:
        """Range of incident energies in training, MeV."""

    @property
    def losses(self) -> Losses:
        """Training and validation losses in nats, epoch by epoch."""

    def generate(self, incident: Floats, seed: int) -> Showers:
        """Return one shower for each incident energy [MeV] (N,); same seed, same showers on a CPU.

        Warns BeyondTraining outside `seen`; raises ToolError for invalid energies.
        """

    def save(self, path: Path) -> None:
        """Write one safetensors file."""


def check_training(showers: Showers) -> tuple[float, float]:
    """Range of incident energies [MeV] of showers to learn from; ToolError when there are too few, or only empty."""
    if len(showers) < MIN_SHOWERS:
        raise ToolError("showers", len(showers), f"{MIN_SHOWERS} showers or more to learn from")
    if not showers.voxels.any():
        raise ToolError("showers", 0.0, "showers with some energy in them; all voxels are zero")
    return float(showers.incident.min()), float(showers.incident.max())


def check_energies(incident: Floats, seen: tuple[float, float]) -> Floats:
    """`incident` as float64 (N,); warns BeyondTraining, raises ToolError for invalid energies."""
    incident = np.asarray(incident, np.float64)
    check_incident(incident)
    beyond = beyond_training(incident, seen)
    if beyond.any():
        warnings.warn(
            f"{int(beyond.sum())} of {len(incident)} incident energies lie beyond those of training, "
            f"{seen[0]:g} to {seen[1]:g} MeV: nothing says how good these showers are",
            BeyondTraining,
            stacklevel=3,
        )
    return incident


def beyond_training(incident: Floats, seen: tuple[float, float]) -> NDArray[np.bool_]:
    """Mark the energies outside the range seen in training (N,)."""
    return np.asarray((incident < seen[0] / EDGE) | (incident > seen[1] * EDGE))


def threshold_of(showers: Showers) -> float:
    """Return the smallest energy of a voxel that is not empty, MeV: below the read-out threshold there is only zero."""
    return float(showers.voxels[showers.voxels > 0].min())


@dataclass(frozen=True)
class Stored:
    """A generator as its file has it."""

    kind: str
    settings: dict[str, Any]
    geometry: Geometry
    seen: tuple[float, float]
    losses: Losses
    arrays: Arrays


def save(path: Path, stored: Stored) -> None:
    """The file appears whole or not at all."""
    from safetensors.numpy import save_file

    header = {
        "kind": stored.kind,
        "settings": stored.settings,
        "geometry": _GEOMETRY.dump_python(stored.geometry, mode="json"),
        "seen": stored.seen,
        "losses": stored.losses,
    }
    with written(path) as part:
        save_file(
            {name: np.ascontiguousarray(array) for name, array in stored.arrays.items()},
            part,
            {"generator": json.dumps(header)},
        )


def read(path: Path) -> Stored:
    """Raises ToolError for a file that is no generator."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})["generator"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        low, high = header["seen"]
        losses = [(float(a), float(b)) for a, b in header["losses"]]
        geometry = _GEOMETRY.validate_python(header["geometry"])
        return Stored(str(header["kind"]), dict(header["settings"]), geometry, (low, high), losses, arrays)
    except FileNotFoundError:
        raise ToolError("generator", str(path), "a file that calorimeter.train wrote; there is none") from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, ValidationError) as error:
        if isinstance(error, ToolError):
            raise
        raise ToolError("generator", str(path), f"a file that calorimeter.train wrote: {error!r}"[:300]) from None
