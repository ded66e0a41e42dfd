"""Classifiers of data against background jets: the jet model on both jets of an event, frozen or trained further.

`tuned`: as in OmniLearn (arXiv:2404.16091, section on anomaly detection) the network itself is trained, starting from
pretrained weights. Its classifier, without the last layer, embeds each jet, and a small head turns both embeddings into
the log-odds of data. `frozen`: the same embeddings from the unchanged weights, and CATHODE's small network on top. A
window holds some thousand events, few of them signal: too few to train a body of 10^5 parameters or more, which then
memorises the training events.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.anomaly.classify import copies_of
from tools.anomaly.dijets import Dijets
from tools.anomaly.mlp import Mlp
from tools.contract import Frozen, ToolError
from tools.jet_model import ranks
from tools.jet_model.batches import Batch, Source, reach
from tools.jet_model.begin import as_classifier
from tools.jet_model.embed import last_hidden
from tools.jet_model.jets import Jets, concatenated
from tools.jet_model.model import KINEMATICS, Architecture, JetModel, Scales, Size, build
from tools.jet_model.train import JetTraining, fit
from tools.jet_model.weights import Checkpoint, Matched, read, take_over
from tools.training import Rows, split
from tools.types import Floats

KINDS = ("template", "data")
HIDDEN = 64  # of the head
VALIDATION = 0.2


class Tuned(Frozen):
    """The jet model, trained on both jets of an event. Slow, and needs many signal events."""

    kind: Literal["tuned"] = "tuned"
    start: str | None = Field("tiny", description="pretrained weights: 'tiny' (shipped) or a file; null: from scratch")
    size: Size = Field("tiny", description="size of the network, if trained from scratch")
    training: JetTraining = Field(
        JetTraining(epochs=10, batch=64, patience=3), description="epochs, batch and learning rate"
    )
    new_layers: SkipJsonSchema[float] = Field(
        3.0, gt=0, le=100, description="learning rate of the head over that of the rest"
    )

    def on(self, sets: list[Dijets]) -> TunedStore:
        """Return a classifier for these sets of events; ToolError for weights that cannot be read."""
        return TunedStore(sets, self, read(Path(self.start)) if self.start else None)


class FrozenWeights(Frozen):
    """Unchanged weights: a small network on the input of their classifier's last layer, for both jets."""

    kind: Literal["frozen"] = "frozen"
    start: str = Field("tiny", description="pretrained weights: 'tiny' (shipped) or a file")
    network: SkipJsonSchema[Mlp] = Mlp()

    def on(self, sets: list[Dijets]) -> FrozenStore:
        """Return a classifier for these sets of events; ToolError for weights that are unreadable or no classifier."""
        checkpoint = read(Path(self.start))
        model, matched = pretrained(checkpoint, 0)
        if any(name.startswith("classifier.") and not name.startswith("classifier.out.") for name in matched.fresh):
            allowed = "weights with a classifier (`classify` in their mix); these have none"
            raise ToolError("classifier.start", self.start, allowed)
        return FrozenStore(sets, model, self.network)


def pretrained(start: Checkpoint, seed: int) -> tuple[JetModel, Matched]:
    """Return a classifier with the pretrained body, and which weights were taken over."""
    model = build(as_classifier(start.architecture, KINDS, KINEMATICS), start.scales, seed)
    return model, take_over(model, start)


class Store:
    """Store of events, which `out_of_fold` refers to by row in place of features: `rows` has an array (n, 1) per set,
    in which copies of the first set's events have the row of the original.
    """

    def __init__(self, sets: list[Dijets]) -> None:
        events, *others = sets
        self.light, self.heavy, self.rows = events.light, events.heavy, [np.arange(len(events))[:, None]]
        for each in others:
            original = copies_of(each.axes.reshape(-1, 8), events.axes.reshape(-1, 8))
            fresh = original < 0
            self.rows.append(np.where(fresh, len(self.light) + np.cumsum(fresh) - 1, original)[:, None])
            if fresh.any():
                self.light = concatenated(self.light, each.light.take(fresh))
                self.heavy = concatenated(self.heavy, each.heavy.take(fresh))


class FrozenStore(Store):
    """A store that keeps the output of the classifier's last hidden layer for both jets (n, 2 width)."""

    def __init__(self, sets: list[Dijets], model: JetModel, network: Mlp) -> None:
        super().__init__(sets)
        self.network = network
        self.table = np.hstack([last_hidden(model, jets) for jets in (self.light, self.heavy)])

    def log_odds(
        self, x: Rows, y: NDArray[np.bool_], to_score: Rows, seed: int, weight: Floats | None = None
    ) -> Floats:
        """Train on the rows x (n, 1), y (data or template); return the log-odds of the rows `to_score` (m, 1)."""
        rows, asked = x[:, 0], to_score[:, 0]
        hidden = [self.table[of].astype(np.float64) for of in (rows, asked)]
        return self.network.log_odds(hidden[0], y, hidden[1], seed, weight)


class TunedStore(Store):
    """A store whose classifier trains the network on the jets themselves."""

    def __init__(self, sets: list[Dijets], settings: Tuned, start: Checkpoint | None) -> None:
        super().__init__(sets)
        self.settings, self.start = settings, start

    def log_odds(
        self, x: Rows, y: NDArray[np.bool_], to_score: Rows, seed: int, weight: Floats | None = None
    ) -> Floats:
        """Train on the rows x (n, 1), y (data or template); return the log-odds of the rows `to_score` (m, 1)."""
        import torch

        assert weight is None  # files of jets have none
        rows, asked = x[:, 0], to_score[:, 0]
        device = ranks.device()
        model, net = self._network(seed)
        net.to(device)
        weights = np.where(y, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
        source = Pairs(model, self.light.take(rows), self.heavy.take(rows), y, weights, device)

        def losses(part: Batch) -> dict[str, Any]:
            found = net(part.x)
            return {"classify": torch.nn.functional.binary_cross_entropy_with_logits(found, part.y, reduction="none")}

        rate = self.settings.training.learning_rate
        body = [p for p in model.net.parameters() if p.requires_grad]
        groups = [
            {"params": body, "lr": rate},
            {"params": list(net.head.parameters()), "lr": rate * self.settings.new_layers},
        ]
        used, held = split(len(rows), VALIDATION, seed)
        fit(net, groups, losses, source, used, held, self.settings.training, seed, reach=reach(model.scales))
        scored = Pairs(model, self.light.take(asked), self.heavy.take(asked), device=device)
        done = np.empty(len(asked))
        with torch.no_grad():
            for part in scored.parts(torch.arange(len(scored))):
                done[part.rows.numpy()] = net(part.x).double().cpu().numpy()
        return done

    def _network(self, seed: int) -> tuple[JetModel, Any]:
        """Return the jet model, and the module around it that takes both jets: (n, 2, m, F) -> (n,)."""
        import torch

        if self.start is None:
            both = concatenated(self.light, self.heavy)
            model = build(Architecture.of(self.settings.size, KINDS, mode="classifier"), Scales.of(both, None), seed)
        else:
            model, _ = pretrained(self.start, seed)
        return model, _both_jets(model, seed, torch)


def _both_jets(model: JetModel, seed: int, torch: Any) -> Any:
    width = model.net.classifier.out.in_features
    model.net.classifier.out = torch.nn.Identity()

    class BothJets(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.jets = model.net
            self.head = torch.nn.Sequential(
                torch.nn.LayerNorm(2 * width), torch.nn.Linear(2 * width, HIDDEN), torch.nn.GELU(),
                torch.nn.Linear(HIDDEN, 1),
            )  # fmt: skip

        def forward(self, x: Any) -> Any:
            return self.head(model.logits(x.flatten(0, 1)).reshape(len(x), -1))[:, 0]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BothJets()


class Pairs(Source):
    """Both jets of each event in memory: batches x (n, 2, m, F), as long as the longer jet."""

    def __init__(
        self,
        model: JetModel,
        light: Jets,
        heavy: Jets,
        is_data: NDArray[np.bool_] | None = None,
        weights: Floats | None = None,
        device: str = "cpu",
    ) -> None:
        import torch

        super().__init__(model, concatenated(light, heavy), device=device)
        n = len(light)
        self.x = torch.stack([self.x[:n], self.x[n:]], dim=1)
        self.lengths = torch.maximum(self.lengths[:n], self.lengths[n:])
        self.y = torch.as_tensor(np.zeros(n) if is_data is None else is_data, dtype=torch.float32, device=device)
        self.w = torch.as_tensor(np.ones(n) if weights is None else weights, dtype=torch.float32, device=device)
        self.particles //= 2

    def batch(self, rows: Any, width: int | None = None) -> Batch:
        import torch

        there = rows.to(self.device)
        x = self.x[there] if width is None else self.x[there, :, :width]
        if x.shape[2] < self.width:
            x = torch.nn.functional.pad(x, (0, 0, 0, self.width - x.shape[2]))
        return Batch(x, self.y[there], self.w[there], None, rows)
