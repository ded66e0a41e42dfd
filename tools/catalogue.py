"""All tools by name. A tool is imported when it is first asked for: every call in the sandbox starts a new Python.

Other distributions add theirs as entry points in the group `beamcrew.tools`: the name of a `Tool`, and where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from pkgutil import resolve_name
from typing import Any

from tools.contract import Tool, ToolError

GROUP = "beamcrew.tools"
OURS = {
    "events.describe": "tools.events.describe:describe",
    "anomaly.survey": "tools.anomaly.survey:survey",
    "anomaly.template": "tools.anomaly.template:template",
    "anomaly.latent": "tools.anomaly.latent:latent",
    "anomaly.classify": "tools.anomaly.classify:classify",
    "anomaly.jet_template": "tools.anomaly.jets_template:jet_template",
    "anomaly.jet_classify": "tools.anomaly.jets_classify:jet_classify",
    "decorrelation.decorrelate": "tools.decorrelation.decorrelate:decorrelate",
    "bumphunt.scan": "tools.bumphunt.scan:scan",
    "bumphunt.count": "tools.bumphunt.hunt:cut_and_count",
    "bumphunt.measure": "tools.bumphunt.region:measure_region",
    "bumphunt.sculpting": "tools.bumphunt.sculpting:sculpting_test",
    "spectrum.hunt": "tools.spectrum.hunt:hunt",
    "spectrum.count": "tools.spectrum.window:count_window",
    "spectrum.limit": "tools.spectrum.limit:limit",
    "spectrum.inject": "tools.spectrum.inject:inject",
    "analysis.repeat": "tools.analysis.repeat:repeat",
    "unfolding.unfold": "tools.unfolding.unfold:unfold",
    "calorimeter.train": "tools.calorimeter.train:train",
    "calorimeter.generate": "tools.calorimeter.generate:generate",
    "calorimeter.judge": "tools.calorimeter.judge:judge",
    "jet_model.pretrain": "tools.jet_model.pretrain:pretrain",
    "jet_model.finetune": "tools.jet_model.finetune:finetune",
    "jet_model.score": "tools.jet_model.score:score",
    "jet_model.embed": "tools.jet_model.embed:embed",
    "jet_model.generate": "tools.jet_model.generate:generate",
}


class Catalogue(Mapping[str, Tool[Any, Any]]):
    """Tools by name, from the places (`module:attribute`) of ours and the entry points of other distributions.

    Raises ToolError for a name that is taken, and on access for a place that holds no tool of that name.
    """

    def __init__(self, ours: Mapping[str, str], others: Iterable[EntryPoint] = ()) -> None:
        self._places = dict(ours)
        self._tools: dict[str, Tool[Any, Any]] = {}
        for entry in others:
            if self._places.setdefault(entry.name, entry.value) != entry.value:
                raise ToolError("tool", entry.name, f"{entry.value}: must have a name that is not taken")

    def place(self, name: str) -> str:
        """Return where a tool is, `module:attribute`, without importing it."""
        return self._places[name]

    def __getitem__(self, name: str) -> Tool[Any, Any]:
        if name not in self._tools:
            self._tools[name] = _load(name, self._places[name])
        return self._tools[name]

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _load(name: str, place: str) -> Tool[Any, Any]:
    try:
        tool = resolve_name(place)
    except Exception as error:
        raise ToolError("tool", name, f"{place} cannot be loaded: {error!r}") from error
    if not isinstance(tool, Tool) or tool.name != name:
        raise ToolError("tool", name, f"{place}: must be a Tool of this name")
    return tool


CATALOGUE = Catalogue(OURS, entry_points(group=GROUP))


def find(name: str) -> Tool[Any, Any]:
    """Return the tool with this name; the ToolError for an unknown name lists the names."""
    if name not in CATALOGUE:
        raise ToolError("tool", name, f"not a tool; select from {', '.join(CATALOGUE)}")
    return CATALOGUE[name]
