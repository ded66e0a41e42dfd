"""Classifiers that are trained not to depend on the mass: DisCo, MoDe and planing as options of one small network.

Binary cross-entropy of simulated signal and background with equal sums of weights, plus strength times the penalty of
`penalties.py` on the background's scores, as probabilities. They need labels and features, where `cnots` and `flow`
need scores only.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.anomaly.mlp import Mlp
from tools.contract import ToolError
from tools.decorrelation.penalties import distance_correlation, moments, planing
from tools.parallel import one_thread
from tools.training import Progress, Training, split, to_tensor, train
from tools.types import Floats

HELD_OUT = 0.2
MOST_PAIRED = 1024  # background events of a batch whose pairs enter a penalty


class Trained(Training):
    """Settings common to the three."""

    features: list[str] = Field(min_length=1, description="columns of `events` to train on")
    hidden: SkipJsonSchema[int] = Field(64, ge=2, le=1024)
    layers: SkipJsonSchema[int] = Field(3, ge=1, le=10)
    epochs: int = Field(30, ge=1, le=1000)
    batch: SkipJsonSchema[int] = Field(1024, ge=16)
    patience: SkipJsonSchema[int] = Field(
        100, ge=1, description="epochs without improvement in validation before training stops"
    )

    @abstractmethod
    def penalty(self, score: Any, mass: Any, place: Any) -> Any:
        """Return the penalty on background scores (n,) at masses (n, p), in bins `place` (n,)."""

    def weights(self, mass: Floats, is_signal: NDArray[np.bool_]) -> Floats:
        """Return the weights (n,), each class with mean 1."""
        return np.ones(len(is_signal))

    def bins(self) -> int:
        return 1

    def fit(
        self,
        features: Floats,
        protected: Floats,
        is_signal: NDArray[np.bool_],
        seed: int,
        progress: Progress | None = None,
    ) -> Callable[[Floats], Floats]:
        """Train on features (n, k), protected (n, p); return a function of features: log odds (m,). ToolError."""
        import torch

        if self.bins() > 1 and protected.shape[1] != 1:
            raise ToolError("protected", protected.shape[1], "one column for mode and planing; disco takes several")
        torch.manual_seed(seed)
        model = Mlp(hidden=self.hidden, layers=self.layers).build(features.shape[1])
        mean, std = features.mean(axis=0), features.std(axis=0) + 1e-12
        weight = self.weights(protected[:, 0], is_signal) / np.where(is_signal, is_signal.mean(), (~is_signal).mean())
        at, spread = protected.mean(axis=0), protected.std(axis=0) + 1e-12
        table = ((features - mean) / std, is_signal.astype(float), weight, (protected - at) / spread)
        x, y, w, m = (to_tensor(values, "cpu") for values in table)
        edges = np.quantile(protected[~is_signal, 0], np.arange(1, self.bins()) / self.bins())
        place = torch.as_tensor(np.searchsorted(edges, protected[:, 0], "right"))

        def loss(x: Any, y: Any, w: Any, m: Any, place: Any) -> Any:
            logit = model(x)[:, 0]
            rows = torch.nonzero(y == 0)[:MOST_PAIRED, 0]
            added = self.penalty(torch.sigmoid(logit[rows]), m[rows], place[rows])
            return torch.nn.functional.binary_cross_entropy_with_logits(logit, y, w) + added

        used, held = split(len(x), HELD_OUT, seed, self.max_events)
        training, validation = (tuple(t[rows] for t in (x, y, w, m, place)) for rows in (used, held))
        with one_thread():
            train(model, loss, training, validation, self, seed, progress)

        def log_odds(features: Floats) -> Floats:
            with torch.no_grad(), one_thread():
                return np.asarray(model(to_tensor((features - mean) / std, "cpu"))[:, 0].numpy(), dtype=np.float64)

        return log_odds


class Disco(Trained):
    """Training with the distance correlation of score and mass as a penalty."""

    kind: Literal["disco"] = "disco"
    strength: float = Field(20.0, ge=0, description="of the penalty; 0: none")

    def penalty(self, score: Any, mass: Any, place: Any) -> Any:
        return self.strength * distance_correlation(score[:, None], mass)


class Mode(Trained):
    """Training with moment decomposition: the background's efficiency may change with mass as a polynomial."""

    kind: Literal["mode"] = "mode"
    strength: float = Field(300.0, ge=0, description="of the penalty; 0: none")
    degree: int = Field(0, ge=0, le=4, description="of the polynomial; 0: constant efficiency")

    def bins(self) -> int:
        return 12

    def penalty(self, score: Any, mass: Any, place: Any) -> Any:
        return self.strength * moments(score, place, self.bins(), self.degree)


class Planing(Trained):
    """Training with weights that give signal and background the same mass spectrum."""

    kind: Literal["planing"] = "planing"

    def bins(self) -> int:
        return 50

    def weights(self, mass: Floats, is_signal: NDArray[np.bool_]) -> Floats:
        try:
            return planing(mass, is_signal, self.bins())
        except ValueError as error:
            raise ToolError("labels", int(is_signal.sum()), str(error)) from None

    def penalty(self, score: Any, mass: Any, place: Any) -> Any:
        return 0.0
