"""The showers of the task, simulated in an unpublished calorimeter or read from a file, split into four parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.task import TaskError
from tools.calorimeter.geometry import Geometry, find_geometry
from tools.calorimeter.gflash import incident_energies, native_material, simulate
from tools.calorimeter.materials import Material, find_material
from tools.calorimeter.showers import Showers, read_showers
from tools.contract import ToolError
from tools.events.copies import is_first, same_rows

TRAIN, REFERENCE = 0.5, 0.1  # the crew's shares; of the rest, to be generated, half steers and half is sealed


@dataclass(frozen=True)
class Samples:
    """The crew gets `train`, `reference` and the incident energies of `asked`. `steers` (n,) marks the rows of `asked`
    that the steering metric uses; the others are the test."""

    train: Showers
    reference: Showers
    asked: Showers
    steers: NDArray[np.bool_]


def load(data: Path | None, geometry: str, particle: str | None, showers: int, seed: int) -> Samples:
    """Simulate or read the showers and split them at random. Raises TaskError."""
    try:
        g = find_geometry(geometry, particle)
        return _load(data, g, showers, seed)
    except ToolError as error:
        field = "data" if error.field == "path" else error.field
        raise TaskError(field, error.value, error.allowed) from None
    except ImportError as error:
        raise TaskError("data", str(data), f"needs the extra `tools` ({error})") from None


@lru_cache(maxsize=2)
def _load(data: Path | None, g: Geometry, showers: int, seed: int) -> Samples:
    if data is None:
        energies = incident_energies(g, showers, seed)
        everything = simulate(energies, g, seed, nature(g, seed))
    else:
        everything = read_showers(data, g)
        # A copy in another part would be known; showers without deposits are equal, but no copies.
        once = is_first(same_rows(np.column_stack([everything.incident, everything.voxels])))
        everything = everything[once | (everything.deposited == 0)]
        if len(everything) < showers:
            allowed = f"at most {len(everything)}, the number in {data.name}"
            copies = len(once) - len(everything)
            raise ToolError("showers", showers, allowed + (f" without {copies} copies of others" if copies else ""))
    rng = np.random.default_rng([seed, 21])
    order = rng.permutation(len(everything))[:showers]
    edges = [round(TRAIN * showers), round((TRAIN + REFERENCE) * showers)]
    train, reference, asked = (everything[np.asarray(rows)] for rows in np.split(order, edges))
    return Samples(train, reference, asked, rng.permutation(len(asked)) < len(asked) // 2)


def nature(g: Geometry, seed: int) -> Material:
    """Return a calorimeter like that of the geometry, with plates up to 15% and a sampling up to 20% different.

    So its showers cannot be had from a simulation with a built-in material, without learning from the given ones.
    """
    rng = np.random.default_rng([seed, 22])
    like = find_material(native_material(g))
    assert like.absorber is not None
    active, absorber, sampling = rng.uniform((0.85, 0.85, 0.8), (1.15, 1.15, 1.2)).tolist()
    return replace(
        like,
        name="nature",
        active=(like.active[0], like.active[1] * active),
        absorber=(like.absorber[0], like.absorber[1] * absorber),
        sampling=like.sampling * sampling,
    )
