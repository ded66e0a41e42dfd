"""Next-token transformer over hits that can be extended by materials and particles (OmniJet-alpha_C, arXiv:2501.05534).

p(shower | E_inc) = prod_i p(voxel_i | hits before) p(level_i | hits before, voxel_i), with the tokens of `tokenizer.py`
ordered by layer, ring and sector: the next voxel always comes after the last, so none is hit twice, and the end may
follow any of them. A new material gets its own experts and tokenizer, a new particle low-rank adapters (as in
arXiv:2603.28804). Only these are trained, so everything known before stays the same, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.calorimeter.generators import base
from tools.calorimeter.generators.base import Domain, Losses, Progress, Stored
from tools.calorimeter.generators.tokenizer import Tokenizer
from tools.calorimeter.generators.tree import Tree
from tools.calorimeter.geometry import Geometry
from tools.calorimeter.showers import Showers
from tools.contract import ToolError
from tools.training import Training, device, split, train
from tools.types import Floats

HELD_OUT = 300  # maximum number of showers to choose the epoch with
CHUNK = 500  # showers at a time
NAME = r"^[a-z][a-z0-9_]*$"


class TokenTraining(Training):
    """Epochs, learning rate and showers per batch."""

    epochs: int = Field(10, ge=1, le=1000)
    batch: SkipJsonSchema[int] = Field(64, ge=4)
    learning_rate: SkipJsonSchema[float] = Field(2e-3, gt=0, lt=1)


class Tokens(TokenTraining):
    """Next-token transformer over hits. Slow; can be extended to other materials and particles."""

    kind: Literal["tokens"] = "tokens"
    material: str = Field("base", pattern=NAME, description="name of the material of these showers")
    particle: str = Field("base", pattern=NAME, description="name of the particle that started them")
    levels: int = Field(32, ge=2, le=1024, description="number of energy levels")
    dim: int = Field(64, ge=8, le=2048)
    heads: int = Field(4, ge=1, le=64)
    blocks: int = Field(3, ge=1, le=64)

    def fit(self, showers: Showers, seed: int, progress: Progress | None = None) -> TokenGenerator:
        """Train by maximum likelihood; same seed, same network on a CPU. ToolError when training diverges."""
        import torch

        if self.dim % self.heads:
            raise ToolError("heads", self.heads, f"a divisor of dim={self.dim}")
        seen = base.check_training(showers)
        domain = Domain(self.material, self.particle)
        tokenizer = Tokenizer.fit(showers, self.levels, base.threshold_of(showers))
        torch.manual_seed(seed)
        fresh = TokenGenerator(self, showers.geometry, {self.material: tokenizer}, {domain: seen}, domain)
        return fresh.learn(showers, self, seed, progress)


class Expert(TokenTraining):
    """Extend a `tokens` generator to a new material with its own experts; what it knew does not change."""

    kind: Literal["expert"] = "expert"
    grow: str = Field(description="file of a `tokens` generator")
    material: str = Field(pattern=NAME, description="name of the new material")
    like: str | None = Field(None, description="known material whose experts to start from; default: the first")

    def fit(self, showers: Showers, seed: int, progress: Progress | None = None) -> TokenGenerator:
        """Train only the new experts."""
        import torch

        from tools.calorimeter.generators.experts import add_material

        old = _load(self.grow, showers)
        like = self.like or old.settings.material
        if self.material in old.tokenizers or like not in old.tokenizers:
            known = ", ".join(old.tokenizers)
            raise ToolError("material", self.material, f"a new one, like a known one: {known}")
        torch.manual_seed(seed)
        add_material(old.model, self.material, like)
        old.tokenizers[self.material] = Tokenizer.fit(showers, old.settings.levels, base.threshold_of(showers))
        old.domain = Domain(self.material, old.settings.particle)
        old.known[old.domain] = base.check_training(showers)
        return old.learn(showers, self, seed, progress)


class Adapter(TokenTraining):
    """Extend a `tokens` generator to a new particle with low-rank adapters; what it knew does not change."""

    kind: Literal["lora"] = "lora"
    grow: str = Field(description="file of a `tokens` generator")
    particle: str = Field(pattern=NAME, description="name of the new particle")
    material: str | None = Field(None, description="known material that it showers in; default: the first")
    rank: int = Field(8, ge=1, le=256)

    def fit(self, showers: Showers, seed: int, progress: Progress | None = None) -> TokenGenerator:
        """Train only the new adapters."""
        import torch

        from tools.calorimeter.generators.lora import adapt

        old = _load(self.grow, showers)
        material = self.material or old.settings.material
        if material not in old.tokenizers:
            raise ToolError("material", material, f"one of {', '.join(old.tokenizers)}")
        if self.particle in {known.particle for known in old.known}:
            raise ToolError("particle", self.particle, "a new particle: this one is known")
        torch.manual_seed(seed)
        adapt(old.model, self.particle, self.rank)
        old.ranks[self.particle] = self.rank
        old.domain = Domain(material, self.particle)
        old.known[old.domain] = base.check_training(showers)
        return old.learn(showers, self, seed, progress)


def _load(path: str, showers: Showers) -> TokenGenerator:
    """Return the generator to extend; ToolError if it has another kind or geometry."""
    stored = base.read(Path(path))
    if stored.kind != "tokens" or stored.geometry != showers.geometry:
        what = f"{stored.kind}, {stored.geometry.name}"
        raise ToolError("grow", what, f"a tokens generator of {showers.geometry.name}")
    return restore(stored)


@dataclass
class TokenGenerator:
    """The network, a tokenizer per material and the energies seen per domain; it makes showers of `domain`."""

    settings: Tokens
    geometry: Geometry
    tokenizers: dict[str, Tokenizer]
    known: dict[Domain, tuple[float, float]]
    domain: Domain
    ranks: dict[str, int] = field(default_factory=dict)
    losses: Losses = field(default_factory=list)
    model: Any = None

    def __post_init__(self) -> None:
        self.tree = Tree.of(self.geometry)
        if self.model is None:
            from tools.calorimeter.generators.token_network import TokenNetwork

            s, v = self.settings, self.geometry.n_voxels
            self.model = TokenNetwork(v, s.levels, s.dim, s.heads, s.blocks, s.material).to(device())

    @property
    def seen(self) -> tuple[float, float]:
        """Range of incident energies in the training of this domain, MeV."""
        return self.known[self.domain]

    def select(self, material: str | None = None, particle: str | None = None) -> TokenGenerator:
        """Return the same generator for another domain that it knows."""
        domain = Domain(material or self.domain.material, particle or self.domain.particle)
        if domain not in self.known:
            raise ToolError("domain", tuple(domain), f"one of {[tuple(known) for known in self.known]}")
        return replace(self, domain=domain)

    def learn(
        self, showers: Showers, settings: TokenTraining, seed: int, progress: Progress | None = None
    ) -> TokenGenerator:
        """Train the parts of the network that are not frozen on showers of this domain."""
        import torch

        where = device()
        levels, log_incident = (torch.from_numpy(array) for array in self.tokenize(showers))
        used, held = split(len(showers), min(0.1, HELD_OUT / len(showers)), seed, settings.max_events)
        training, validation = ((levels[rows].to(where), log_incident[rows].to(where)) for rows in (used, held))

        def loss(levels: Any, log_incident: Any) -> Any:
            parts = list(zip(levels.split(settings.batch), log_incident.split(settings.batch), strict=True))
            return -sum(self.model.log_prob(*part, self.domain) for part in parts) / len(parts)

        torch.manual_seed(seed)
        self.losses += train(self.model, loss, training, validation, settings, seed, progress)[0]
        return self

    def tokenize(self, showers: Showers) -> tuple[Any, Any]:
        """Return levels (N, V) in the tree's order, -1 for empty voxels, and log E_inc [MeV] (N,) as float32."""
        logs = np.log(showers.incident)
        shower, place = np.nonzero(showers.voxels[:, self.tree.order])
        voxel = self.tree.order[place]
        energy = showers.voxels[shower, voxel].astype(np.float64)
        levels = np.full(showers.voxels.shape, -1, np.int16)
        levels[shower, place] = self.tokenizers[self.domain.material].level(voxel, energy, logs[shower])
        return levels, logs.astype(np.float32)

    def generate(self, incident: Floats, seed: int) -> Showers:
        """See Generator."""
        import torch

        incident = base.check_energies(incident, self.seen)
        where = next(self.model.parameters()).device
        generator = torch.Generator(where).manual_seed(seed)
        rng = np.random.default_rng(seed)
        tokenizer = self.tokenizers[self.domain.material]
        voxels = np.zeros((len(incident), self.geometry.n_voxels), np.float32)
        logs = np.log(incident)
        self.model.eval()
        for first in range(0, len(incident), CHUNK):
            part = logs[first : first + CHUNK]
            drawn = self.model.draw(torch.from_numpy(part).float().to(where), self.domain, generator).cpu().numpy()
            shower, place = np.nonzero(drawn >= 0)
            voxel = self.tree.order[place]
            level = drawn[shower, place].astype(np.int64)
            energy = tokenizer.energy(voxel, level, part[shower], rng.random(len(shower)))
            voxels[first + shower, voxel] = np.maximum(energy.astype(np.float32), np.float32(tokenizer.threshold))
        return Showers(incident, voxels, self.geometry)

    def save(self, path: Path) -> None:
        """See Generator."""
        arrays = {name: tensor.cpu().numpy() for name, tensor in self.model.state_dict().items()}
        for material, tokenizer in self.tokenizers.items():
            arrays |= tokenizer.arrays(f"tokenizer.{material}.")
        settings = {
            "tokens": self.settings.model_dump(),
            "domain": self.domain,
            "known": [(*domain, *seen) for domain, seen in self.known.items()],
            "materials": list(self.tokenizers),
            "ranks": self.ranks,
        }
        base.save(path, Stored("tokens", settings, self.geometry, self.seen, self.losses, arrays))


def restore(stored: Stored) -> TokenGenerator:
    """Return the generator stored in a file; KeyError, ValueError, TypeError or RuntimeError if it does not fit."""
    import torch

    from tools.calorimeter.generators.experts import add_material
    from tools.calorimeter.generators.lora import adapt

    s = stored.settings
    settings = Tokens.model_validate(s["tokens"])
    tokenizers = {name: Tokenizer.of(stored.arrays, f"tokenizer.{name}.") for name in s["materials"]}
    known = {Domain(material, particle): (low, high) for material, particle, low, high in s["known"]}
    made = TokenGenerator(settings, stored.geometry, tokenizers, known, Domain(*s["domain"]), dict(s["ranks"]))
    made.losses = stored.losses
    for material in s["materials"][1:]:
        add_material(made.model, material, settings.material)
    for particle, rank in s["ranks"].items():
        adapt(made.model, particle, int(rank))
    state = {name: torch.from_numpy(a) for name, a in stored.arrays.items() if not name.startswith("tokenizer.")}
    made.model.load_state_dict(state)
    made.model.eval()
    return made
