"""The tool calorimeter.generate: writes showers of a trained generator to a file."""

from __future__ import annotations

import time
import warnings

import numpy as np
from pydantic import Field

from tools.arrays import sha256
from tools.calorimeter.generators import BeyondTraining, load
from tools.calorimeter.generators.base import beyond_training
from tools.calorimeter.generators.tokens import TokenGenerator
from tools.calorimeter.geometry import Geometry
from tools.calorimeter.showers import read_showers, write_showers
from tools.contract import Request, Result, Seed, ToolError, tool
from tools.files import below
from tools.types import Floats

MAX_NUMBERS = 400_000_000  # showers times voxels: 1.6 GB


class GenerateRequest(Request):
    """Make showers with a trained generator."""

    generator: str = Field(description="file written by calorimeter.train")
    like: str | None = Field(None, description="shower file of the same geometry whose incident energies to use")
    energies_mev: list[float] = Field(default=[], max_length=10_000, description="or incident energies, MeV")
    material: str | None = Field(
        None, description="absorber, if the generator knows several; default: the last learned"
    )
    particle: str | None = Field(
        None, description="particle, if the generator knows several; default: the last learned"
    )
    each: int = Field(1, ge=1, le=1_000_000, description="showers per incident energy")
    out: str = Field("generated.h5", description="file to write, .h5 or .safetensors, below the working directory")
    seed: Seed = Field(1, ge=0)


class GenerateResult(Result):
    """A file of generated showers, for calorimeter.judge."""

    showers: str
    n_showers: int
    beyond_training: int = Field(
        description="number of showers with an incident energy outside the training range: do not trust them"
    )
    warning: str = Field(description="empty if there is none")
    ms_per_shower: float
    sha256: str


@tool("calorimeter.generate")
def generate(request: GenerateRequest) -> GenerateResult:
    """Make showers with a trained generator, at the incident energies of another file (`like`, to compare with it) or
    at `energies_mev`. It warns of energies outside the training range.
    """
    out = below("out", request.out)
    generator = load(request.generator)
    if request.material or request.particle:
        if not isinstance(generator, TokenGenerator):
            raise ToolError("material", request.material or request.particle, "null: this generator knows only one")
        generator = generator.select(request.material, request.particle)
    incident = _incident(request, generator.geometry)
    if len(incident) * generator.geometry.n_voxels > MAX_NUMBERS:
        most = MAX_NUMBERS // generator.geometry.n_voxels
        raise ToolError("each", len(incident), f"at most {most} showers of this geometry at a time")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.perf_counter()
        showers = generator.generate(incident, request.seed)
        seconds = time.perf_counter() - start
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_showers(out, showers)
    except OSError as error:
        raise ToolError("out", request.out, f"a file that can be written ({error.strerror or error})") from None
    return GenerateResult(
        showers=request.out,
        n_showers=len(showers),
        beyond_training=int(beyond_training(incident, generator.seen).sum()),
        warning="; ".join(str(w.message) for w in caught if issubclass(w.category, BeyondTraining)),
        ms_per_shower=1000 * seconds / len(showers),
        sha256=sha256(out),
    )


def _incident(request: GenerateRequest, geometry: Geometry) -> Floats:
    """Return the requested incident energies [MeV] (N,)."""
    if (request.like is None) == (not request.energies_mev):
        raise ToolError("energies_mev", request.energies_mev, "either these, or a file in `like`")
    given = np.array(request.energies_mev, np.float64)
    energies = read_showers(request.like, geometry).incident if request.like else given
    return np.repeat(energies, request.each)
