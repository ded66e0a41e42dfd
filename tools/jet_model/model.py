"""OmniLearned's network PET (arXiv:2510.24066), built from the package by size, and its outputs.

The network itself is the package's, with two changes: its parts are called one by one (its own `forward` draws noise
with the fixed scales of one data set), and the distances that choose a particle's neighbours are computed in float32
from differences (in bfloat16, the package's r_i^2 - 2 r_i r_j + r_j^2 loses neighbours to rounding).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tools.contract import Frozen, ToolError
from tools.jet_model.jets import DELTA_ETA, FEATURES, LOG_PT, Jets

Size = Literal["tiny", "small", "medium", "large"]
Mode = Literal["classifier", "generator", "pretrain"]
KINEMATICS = len(FEATURES)
# Ours; the other sizes are the package's. `neighbours`, on which no tensor's shape depends, is 10 in all official
# checkpoints. Interactions of all pairs would take a third of the time of so small a network: neighbours only.
TINY = {"dim": 32, "blocks": 3, "head_blocks": 1, "heads": 4, "tokens": 4, "neighbours": 8, "interaction": False}
PACKAGE_NAMES = {
    "dim": "base_dim",
    "blocks": "num_transformers",
    "head_blocks": "num_transformers_head",
    "heads": "num_heads",
    "tokens": "num_tokens",
}
PACKAGE_SIZES: tuple[Size, ...] = ("small", "medium", "large")


class Architecture(Frozen):
    """Everything on which the shape or the meaning of a network's tensors depends."""

    kinds: tuple[str, ...] = Field(description="kinds of jets that the classifier separates and the generator makes")
    mode: Mode = Field("pretrain", description="heads: a classifier, a generator, or (pretrain) both")
    dim: int = Field(ge=4, description="dimensions of a particle's embedding")
    blocks: int = Field(ge=1, description="attention blocks of the body")
    head_blocks: int = Field(ge=1, description="transformer blocks in each head and in the neighbourhoods")
    heads: int = Field(ge=1, description="attention heads")
    tokens: int = Field(4, ge=1)
    neighbours: int = Field(10, ge=1)
    interaction: bool = Field(True, description="whether pairwise mass, distance and kt bias the attention")
    local_interaction: bool = Field(True, description="whether they enter the neighbourhoods")
    particle_kinds: int = Field(0, ge=0, description="kinds of particles, the fifth feature; 0: not used")
    vertex: int = Field(0, ge=0, description="features after the particle's kind; 0: not used")
    conditions: int = Field(0, ge=0, description="number of conditions of the generation, besides the kind")

    @classmethod
    def of(cls, size: Size, kinds: tuple[str, ...], **others: Any) -> Architecture:
        """Return the architecture of a named size."""
        return cls(kinds=kinds, **{**_numbers(size), **others})

    @property
    def features(self) -> int:
        """Number of features of a particle that are read."""
        return KINEMATICS + (1 if self.particle_kinds else 0) + self.vertex

    def name(self) -> str:
        """Return tiny, small, medium or large, or else the numbers."""
        for size in ("tiny", *PACKAGE_SIZES):
            if all(getattr(self, key) == value for key, value in _numbers(size).items()):
                return size
        return f"dim {self.dim}, {self.blocks} blocks"


def _numbers(size: str) -> dict[str, int]:
    if size == "tiny":
        return TINY
    from omnilearned.utils import get_model_parameters

    theirs = get_model_parameters(size)
    return {ours: theirs[name] for ours, name in PACKAGE_NAMES.items()}


class Scales(Frozen):
    """Scales of the training jets: the Gaussian that generation starts from, and the scaling of the conditions."""

    mean: tuple[float, ...] = Field((0.0, 0.0, 1.11, 1.43), description="means of the particles' kinematic features")
    std: tuple[float, ...] = (0.27, 0.27, 1.30, 1.34)
    condition_mean: tuple[float, ...] = ()
    condition_std: tuple[float, ...] = ()

    @classmethod
    def of(cls, jets: Jets, conditions: NDArray[np.float32] | None) -> Scales:
        """Return means and standard deviations; angles have mean 0, because jets have no preferred direction."""
        x = jets.particles[jets.mask][:, :KINEMATICS].astype(np.float64)
        mean = [0.0 if feature < LOG_PT else float(x[:, feature].mean()) for feature in range(DELTA_ETA, KINEMATICS)]
        c = np.zeros((1, 0)) if conditions is None else conditions.astype(np.float64)
        spread = np.where(c.std(axis=0) > 0, c.std(axis=0), 1.0)
        return cls(mean=mean, std=x.std(axis=0), condition_mean=c.mean(axis=0), condition_std=spread)


@dataclass
class JetModel:
    """A network and how to call it. Tensors: particles x (n, m, F), times t (n,), conditions c (n, C)."""

    architecture: Architecture
    scales: Scales
    net: Any  # omnilearned.network.PET2

    def body(self, x: Any, t: Any = None, c: Any = None) -> Any:
        """Return the body's output (n, tokens + extra + m, dim).

        Time 0, the default, means unperturbed jets; the time's token is then masked out. Without conditions c their
        token is constant, so that classifiers see the particles only.
        """
        import torch

        a = self.architecture
        pid = x[:, :, KINEMATICS].long() if a.particle_kinds else None
        vertex = x[:, :, a.features - a.vertex : a.features].contiguous() if a.vertex else None
        if t is None:
            t = torch.zeros(len(x), device=x.device)
        if a.conditions and c is None:
            c = torch.zeros(len(x), a.conditions, device=x.device)
        return self.net.body(x[:, :, :KINEMATICS].contiguous(), c, pid, vertex, t)

    def logits(self, x: Any) -> Any:
        """Return the classifier's logits (n, kinds)."""
        return self.net.classifier(self.body(x))

    def velocity(self, z: Any, t: Any, kind: Any, c: Any = None) -> Any:
        """Return dz/dt (n, m, 4) of the flow from jets (t = 0) to noise (t = 1)."""
        return self.net.generator(self.body(z, t, c), kind)

    def particles(self, body: Any) -> Any:
        """Return the body's output without its tokens (n, m, dim)."""
        return body[:, self.net.num_tokens + self.net.num_add :]

    def parameters(self) -> int:
        """Return the number of parameters."""
        return sum(p.numel() for p in self.net.parameters())


def build(architecture: Architecture, scales: Scales | None = None, seed: int = 0) -> JetModel:
    """Return an untrained network; same seed, same network. ToolError for inconsistent numbers or a missing package."""
    import torch

    try:
        from omnilearned import layers
        from omnilearned.network import PET2
    except ModuleNotFoundError as error:
        raise ToolError("jet_model", error.name, "is not installed here; the extra `jets` of beamcrew has it") from None
    a = architecture
    if a.dim % a.heads:
        raise ToolError("heads", a.heads, f"a divisor of dim = {a.dim}")
    if a.mode != "generator" and len(a.kinds) < 2:
        raise ToolError("kinds", a.kinds, "at least two, to tell apart")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = PET2(
            KINEMATICS,
            mode=a.mode,
            num_classes=max(len(a.kinds), 2),  # the package would ignore a single kind
            use_int=a.interaction,
            local_int=a.local_interaction,
            conditional=a.conditions > 0,
            cond_dim=a.conditions,
            pid=a.particle_kinds > 0,
            pid_dim=max(a.particle_kinds, 1),
            add_info=a.vertex > 0,
            add_dim=a.vertex,
            K=a.neighbours,
            num_coord=2,
            **{theirs: getattr(a, ours) for ours, theirs in PACKAGE_NAMES.items()},
        )
    net.body.local_physics.pairwise_distance = _squared_distances
    layers.get_dr = _distances
    net.eval()
    return JetModel(a, scales or Scales(), net)


def _squared_distances(points: Any) -> Any:
    """Return the squared distances (n, m, m) between points (n, m, d), in float32."""
    import torch

    with torch.autocast(points.device.type, enabled=False):
        points = points.float()
        return (points.unsqueeze(2) - points.unsqueeze(1)).square().sum(-1)


def _distances(xi: Any, xj: Any, mask: Any, is_log: bool = True) -> Any:
    """Return the distances in (eta, phi), as the package does, but with gradient 0 in place of NaN where they are 0.

    Every particle is at distance 0 from itself, and robust training needs the gradient in the particles.
    """
    import torch

    squared = (xi[..., 0] - xj[..., 0]).square() + (xi[..., 1] - xj[..., 1]).square()
    apart = torch.where(squared > 0, squared, 1.0)
    found = 0.5 * torch.log(apart) if is_log else torch.where(squared > 0, torch.sqrt(apart), 0.0)
    return found.unsqueeze(-1) * mask


def conditions_of(jets: Jets) -> NDArray[np.float32]:
    """Return the conditions of the generation (n, 3): log pt [GeV], eta, particles/100. ToolError without jet axes.

    The package, too, expects the number of particles last.
    """
    if jets.jet is None:
        raise ToolError("jets", "no `global`", "a file with the jets' pt and eta, which generation needs")
    return np.column_stack([np.log(jets.jet[:, 0]), jets.jet[:, 1], jets.multiplicity / 100]).astype(np.float32)
