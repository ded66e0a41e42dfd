"""Data against background jets, by their particles alone: the classifier of CATHODE on constituents.

As in OmniLearn (arXiv:2404.16091, section on anomaly detection) the jet model looks at both jets of an event, starting
from pretrained weights. Here its classifier, without its last layer, makes numbers of each jet, and a small head turns
those of both into the log-odds of data. Dealing into folds, ranks and closure are those of `anomaly.classify`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from tools.anomaly.classify import ClassifyResult, copies_of, judged, out_of_fold
from tools.anomaly.data import Floats, within
from tools.anomaly.dijets import Dijets, DijetsRequest, load_dijets, read_dijet_file
from tools.anomaly.selection import ARGOS_MIN_TEMPLATE
from tools.contract import ToolError, tool
from tools.jet_model import ranks
from tools.jet_model.batches import Batch, Source
from tools.jet_model.begin import as_classifier
from tools.jet_model.inputs import split
from tools.jet_model.jets import Jets, concatenated
from tools.jet_model.model import KINEMATICS, Architecture, JetModel, Scales, Size, build
from tools.jet_model.train import Training, fit
from tools.jet_model.weights import Checkpoint, read, take_over

KINDS = ("template", "data")
HIDDEN = 64  # of the head
VALIDATION = 0.2


class EventClassifier(BaseModel):
    """A jet model on both jets of an event."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    start: str | None = Field(None, description="file of pretrained weights; default: from scratch")
    size: Size = Field("tiny", description="from scratch: the network's size")
    training: Training = Field(Training(epochs=10, batch=64, patience=3), description="epochs, batch and learning rate")
    new_layers: SkipJsonSchema[float] = Field(3.0, gt=0, le=100, description="learning rate of the head over the rest")


class JetClassifyRequest(DijetsRequest):
    """Train data in the window against background jets; score every event."""

    template: str = Field(description="file of anomaly.jet_template for the same events and window")
    folds: int = Field(5, ge=2, le=20)
    ensemble: int = Field(1, ge=1, le=100, description="models per fold, averaged")
    classifier: EventClassifier = Field(
        EventClassifier(), description="the network and its training", json_schema_extra={"default": {}}
    )
    control: str | None = Field(None, description="the template's control file: tests closure of the score itself")
    closure_window: tuple[float, float] | None = Field(None, description="of the template's result, with `control`")
    out: str = Field("scores.parquet", description="file to write, relative to the working directory")
    out_template: str = Field("template_scores.parquet", description="file for the held-out scores of the template")

    @model_validator(mode="after")
    def _together(self) -> JetClassifyRequest:
        if (self.control is None) != (self.closure_window is None):
            raise ValueError("control and closure_window go together")
        if self.out == self.out_template:
            raise ValueError("out_template must be another file than out")
        return self


@tool("anomaly.jet_classify")
def jet_classify(request: JetClassifyRequest) -> ClassifyResult:
    """Score every dijet event by how much more often its like occurs in the window's data than among background jets,
    by the particles of both jets (a jet model, out of fold). The scores file is one of anomaly.classify's kind.
    """
    dijets, data = load_dijets(request, need_sidebands=False)
    template = read_dijet_file(request.template, "template", request.max_particles)
    if len(template) < (needed := max(2 * request.folds, ARGOS_MIN_TEMPLATE)):
        raise ToolError("template", request.template, f"has {len(template)} events; at least {needed} are needed")
    control, rows = _control(request, dijets)
    start = read(Path(request.classifier.start)) if request.classifier.start else None
    sets = [dijets, template, *([control] if control else [])]
    store = Store(sets, request.classifier, start)
    numbers = [each[:, None].astype(np.float64) for each in store.numbers]
    n = len(dijets)
    events = np.concatenate([numbers[0], *numbers[2:]])
    own = np.arange(len(events)) < n
    inside = np.zeros(len(events), dtype=bool)
    inside[:n] = data.inside
    scored, raw_template = out_of_fold(
        store,
        events,
        numbers[1],
        inside,
        own & ~inside,
        folds=request.folds,
        ensemble=request.ensemble,
        seed=request.seed,
    )
    held = None if rows is None else (rows, scored[n:])
    return judged(scored[:n], raw_template, data, held, request.out, request.out_template, request.seed)


def _control(request: JetClassifyRequest, dijets: Dijets) -> tuple[Dijets | None, NDArray[np.int64] | None]:
    """Template events for the closure window, each once, and the rows of the data there."""
    if request.control is None or request.closure_window is None:
        return None, None
    low, high = request.closure_window
    if not low < high or (low < request.window[1] and high > request.window[0]):
        raise ToolError("closure_window", (low, high), f"two increasing edges in TeV beside {request.window}")
    control = read_dijet_file(request.control, "control", request.max_particles)
    control = control.take(np.unique(control.axes.reshape(len(control), -1), axis=0, return_index=True)[1])
    rows = np.flatnonzero(within(dijets.mjj, (low, high)))
    if min(len(rows), len(control)) < ARGOS_MIN_TEMPLATE:
        allowed = f"holds {len(rows)} events, `control` {len(control)}: at least {ARGOS_MIN_TEMPLATE} each"
        raise ToolError("closure_window", (low, high), allowed)
    return control, rows


class Store:
    """Events by number, which is what `out_of_fold` hands around in place of features (n, 1): `numbers` (n,) of each
    set of events, where copies of the first set's events have the number of the original.
    """

    def __init__(self, sets: list[Dijets], settings: EventClassifier, start: Checkpoint | None) -> None:
        self.settings, self.start = settings, start
        events, *others = sets
        self.light, self.heavy, self.numbers = events.light, events.heavy, [np.arange(len(events))]
        for each in others:
            original = copies_of(each.axes.reshape(-1, 8), events.axes.reshape(-1, 8))
            self.numbers.append(np.where(original >= 0, original, len(self.light) + np.arange(len(each))))
            self.light, self.heavy = concatenated(self.light, each.light), concatenated(self.heavy, each.heavy)

    def log_odds(self, x: Floats, y: NDArray[np.bool_], to_score: Floats, seed: int) -> Floats:
        """Train on the events numbered x (n, 1), y (data or template); the log-odds of `to_score` (m, 1)."""
        import torch

        rows, asked = x[:, 0].astype(np.int64), to_score[:, 0].astype(np.int64)
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
        fit(net, groups, losses, source, used, held, self.settings.training, seed)
        scored = Pairs(model, self.light.take(asked), self.heavy.take(asked), device=device)
        done = np.empty(len(asked))
        with torch.no_grad():
            for part in scored.parts(torch.arange(len(scored))):
                done[part.rows.numpy()] = net(part.x).double().cpu().numpy()
        return done

    def _network(self, seed: int) -> tuple[JetModel, Any]:
        """The jet model, and the module of both jets around it: (n, 2, m, F) -> (n,)."""
        import torch

        if self.start is None:
            both = concatenated(self.light, self.heavy)
            model = build(Architecture.of(self.settings.size, KINDS, mode="classifier"), Scales.of(both, None), seed)
        else:
            model = build(as_classifier(self.start.architecture, KINDS, KINEMATICS), self.start.scales, seed)
            take_over(model, self.start)
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
    """Both jets of events in memory: batches x (n, 2, m, F), cut by the longer jet."""

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
