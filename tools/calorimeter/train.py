"""The tool calorimeter.train: trains a generator on a file of showers and saves it."""

from __future__ import annotations

import sys
from typing import Annotated

from pydantic import BeforeValidator, Field

from tools.arrays import sha256
from tools.calorimeter.generators import Flow, Settings
from tools.calorimeter.generators.base import Losses
from tools.calorimeter.geometry import find_geometry
from tools.calorimeter.showers import read_showers
from tools.contract import Request, Result, Seed, ToolError, named, tool
from tools.files import below


class TrainRequest(Request):
    """Learn to make showers like those of a file."""

    showers: str = Field("/inputs/train.h5", description="file in CaloChallenge layout, MeV")
    geometry: str = Field("ds1_photons", description="a built-in geometry, or a binning XML file")
    generator: Annotated[
        Annotated[Settings, Field(discriminator="kind")],
        BeforeValidator(named),
        Field(
            description="a kind, e.g. 'flow', alone or with settings",
            json_schema_extra={"default": "flow"},
        ),
    ] = Flow()
    rows: int | None = Field(None, ge=1, description="use only this many showers, from the beginning; default: all")
    out: str = Field("generator.safetensors", description="file to write, relative to the working directory")
    seed: Seed = Field(1, ge=0)


class TrainResult(Result):
    """A trained generator. Give `generator` to calorimeter.generate."""

    generator: str
    kind: str
    n_showers: int
    incident_mev: tuple[float, float] = Field(description="range of incident energies in training")
    losses: Losses = Field(description="training and validation loss per epoch, for one stage after the other")
    megabytes: float
    sha256: str


@tool("calorimeter.train")
def train(request: TrainRequest) -> TrainResult:
    """Train a fast simulation on the showers of a file. Start with 'flow'; 'frozen' repeats showers of the file and is
    the baseline to beat. Make showers with calorimeter.generate and judge them with calorimeter.judge.
    """
    out = below("out", request.out)
    if out.suffix != ".safetensors":
        raise ToolError("out", request.out, "a name that ends in .safetensors")
    showers = read_showers(request.showers, find_geometry(request.geometry), 0, request.rows)
    generator = request.generator.fit(showers, request.seed, _report)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        generator.save(out)
    except OSError as error:
        raise ToolError("out", request.out, f"a file that can be written ({error.strerror or error})") from None
    return TrainResult(
        generator=request.out,
        kind=request.generator.kind,
        n_showers=len(showers),
        incident_mev=generator.seen,
        losses=generator.losses,
        megabytes=round(out.stat().st_size / 1e6, 3),
        sha256=sha256(out),
    )


def _report(epoch: int, training: float, validation: float) -> None:
    print(f"epoch {epoch}: loss {training:.4f}, validation {validation:.4f}", file=sys.stderr)
