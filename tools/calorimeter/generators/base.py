"""Interface and file format of shower generators.

`settings.fit(showers, seed, progress)` returns a Generator, `generate(incident, seed)` makes showers, `save` and `load`
store it. A generator is one safetensors file: arrays of plain numbers after a JSON header with the kind of generator,
its settings, its geometry and the incident energies seen in training. Reading it runs no code.
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
Progress = Callable[[int, float, float], None]  # epoch, training and validation loss

MIN_SHOWERS = 100
EDGE = 1.001  # energies outside the range of training by less than this factor count as inside
_GEOMETRY = TypeAdapter(Geometry)


class BeyondTraining(UserWarning):
    """Warning: showers with an incident energy outside the range seen in training."""


class Domain(NamedTuple):
    """Material and particle of a shower, for generators that know several."""

    material: str = "base"
    particle: str = "base"


class Generator(Protocol):
    """A trained generator."""

    @property
    def geometry(self) -> Geometry:
        """Geometry of its showers."""

    @property
    def seen(self) -> tuple[float, float]:
        """Range of incident energies in training, MeV."""

    @property
    def losses(self) -> Losses:
        """Training and validation losses per epoch, in nats."""

    def generate(self, incident: Floats, seed: int) -> Showers:
        """Return one shower for each incident energy [MeV] (N,); same seed, same showers on a CPU.

        Warns BeyondTraining outside `seen`; raises ToolError for invalid energies.
        """

    def save(self, path: Path) -> None:
        """Write the generator to one safetensors file."""


def check_training(showers: Showers) -> tuple[float, float]:
    """Return the range of incident energies [MeV] of training showers; ToolError if they are too few or all empty."""
    if len(showers) < MIN_SHOWERS:
        raise ToolError("showers", len(showers), f"{MIN_SHOWERS} showers or more for training")
    if not showers.voxels.any():
        raise ToolError("showers", 0.0, "showers with some energy in them; all voxels are zero")
    return float(showers.incident.min()), float(showers.incident.max())


def check_energies(incident: Floats, seen: tuple[float, float]) -> Floats:
    """Return `incident` as float64 (N,); warns BeyondTraining, raises ToolError for invalid energies."""
    incident = np.asarray(incident, np.float64)
    check_incident(incident)
    beyond = beyond_training(incident, seen)
    if beyond.any():
        warnings.warn(
            f"{int(beyond.sum())} of {len(incident)} incident energies lie beyond those of training, "
            f"{seen[0]:g} to {seen[1]:g} MeV: the quality of these showers is unknown",
            BeyondTraining,
            stacklevel=3,
        )
    return incident


def beyond_training(incident: Floats, seen: tuple[float, float]) -> NDArray[np.bool_]:
    """Mark the energies outside the range seen in training (N,)."""
    return np.asarray((incident < seen[0] / EDGE) | (incident > seen[1] * EDGE))


def threshold_of(showers: Showers) -> float:
    """Return the smallest nonzero voxel energy [MeV]: below the read-out threshold there are only zeros."""
    return float(showers.voxels[showers.voxels > 0].min())


@dataclass(frozen=True)
class Stored:
    """Contents of a generator's file."""

    kind: str
    settings: dict[str, Any]
    geometry: Geometry
    seen: tuple[float, float]
    losses: Losses
    arrays: Arrays


def save(path: Path, stored: Stored) -> None:
    """Write a generator's file; it appears whole or not at all."""
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
    """Read a generator's file; ToolError for anything else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})["generator"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
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
