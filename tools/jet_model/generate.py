"""Generation of jets: the model's velocity is integrated from noise (t = 1) to jets (t = 0).

The conditions (kind, pt, eta and number of particles) are taken from the jets of a file, one by one; masses and
substructure come from the model.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.arrays import sha256
from tools.contract import Result, ToolError, tool
from tools.files import below
from tools.jet_model import ranks
from tools.jet_model.batches import Source, labels_for, mask_of
from tools.jet_model.inputs import JetsRequest
from tools.jet_model.jets import LOG_E, LOG_PT, Jets, in_order, sum_momenta
from tools.jet_model.jets_file import write_jets
from tools.jet_model.model import KINEMATICS, JetModel, conditions_of
from tools.jet_model.objectives import noise
from tools.jet_model.weights import load

HARDEST = 10.0  # log of GeV: no particle at the LHC is harder than 22 TeV


class GenerateRequest(JetsRequest):
    """Make jets like those of a file."""

    checkpoint: str = Field(
        description="weights written by jet_model.pretrain with `generate` in its mix, or 'tiny' (shipped)"
    )
    steps: SkipJsonSchema[int] = Field(50, ge=1, le=1000, description="integration steps, two evaluations each")
    out: str = Field("generated.h5", description="jets file to write, relative to the working directory")


class GenerateResult(Result):
    """A file of jets in OmniLearned's layout, in the order of the given jets."""

    jets: str
    sha256: str
    count: int
    mean_mass: float = Field(description="mean mass of the generated jets, GeV")
    mean_mass_given: float = Field(description="mean mass of the given jets, GeV")


@tool("jet_model.generate")
def generate(request: GenerateRequest) -> GenerateResult:
    """Generate jets with the kinds, pt, eta and numbers of particles of the jets in a file."""
    target = below("out", request.out, ".h5")
    model = load(Path(request.checkpoint))
    like = request.read()
    made = like_jets(model, like, request.steps, request.seed)
    write_jets(target, made)
    return GenerateResult(
        jets=request.out,
        sha256=sha256(target),
        count=len(made),
        mean_mass=float(made.pt_and_mass()[1].mean()),
        mean_mass_given=float(like.pt_and_mass()[1].mean()),
    )


def like_jets(model: JetModel, like: Jets, steps: int, seed: int) -> Jets:
    """Generate a jet for each of `like`, with its kind, pt, eta and multiplicity; same seed, same jets on a CPU."""
    kinds = model.architecture.kinds
    labels = labels_for(kinds, like) if len(kinds) > 1 else np.zeros(len(like), dtype=np.int64)
    conditions = conditions_of(like)
    if conditions.shape[1] != model.architecture.conditions:
        raise ToolError("checkpoint", model.architecture.conditions, f"a model with {conditions.shape[1]} conditions")
    particles = sample(model, like, labels, conditions, steps, seed)
    jets = Jets(in_order(particles), labels, None, kinds)
    assert like.jet is not None
    return replace(jets, jet=axis(jets, like.jet[:, 1]))


def sample(
    model: JetModel,
    like: Jets,
    labels: NDArray[np.int64],
    conditions: NDArray[np.float32] | None,
    steps: int,
    seed: int,
) -> NDArray[np.float32]:
    """Generate particles (n, m, 4), as many per jet as in `like`, by the midpoint rule.

    Raises ToolError for a model without a generator, or of more than the kinematic features.
    """
    import torch

    if model.net.generator is None:
        raise ToolError("checkpoint", model.architecture.mode, "a model with a generator; this one only classifies")
    if model.architecture.features > KINEMATICS:
        raise ToolError("checkpoint", model.architecture.features, "a model of the four kinematic features")
    device = ranks.device()
    model.net.to(device).eval()
    source = Source(model, like, labels, conditions, device=device)
    done = np.zeros((*like.particles.shape[:2], KINEMATICS), dtype=np.float32)
    times = np.linspace(1.0, 0.0, steps + 1)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in source.parts(torch.arange(len(source))):
            mask = mask_of(part.x)
            z = noise(part.x, model.scales)
            for start, stop in pairwise(times):
                t = torch.full((len(part),), float(start), device=device)
                half = 0.5 * float(stop - start)
                middle = z + half * model.velocity(z, t, part.y, part.c) * mask
                z = z + 2 * half * model.velocity(middle, t + half, part.y, part.c) * mask
            z[:, :, LOG_PT].clamp_(max=HARDEST)
            z[:, :, LOG_E] = torch.maximum(z[:, :, LOG_E].clamp(max=HARDEST), z[:, :, LOG_PT])
            found = (z * mask).cpu().numpy()
            wide = min(found.shape[1], done.shape[1])
            done[part.rows.numpy(), :wide] = found[:, :wide]
    return done


def axis(jets: Jets, eta: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return pt, eta, phi, mass (n, 4) of the sum of each jet's particles, for axes at `eta` and phi = 0."""
    x = jets.particles.astype(np.float64)
    pt = np.where(jets.mask, np.exp(x[:, :, LOG_PT]), 0.0)
    there = eta[:, None] + x[:, :, 0]
    return sum_momenta(pt, there, x[:, :, 1], pt * np.cosh(there)).astype(np.float32)
