"""All tools by name. Importing this loads no torch: tools import heavy packages only when they run.

Other distributions add their tools as entry points in the group `beamcrew.tools`, each a `Tool`.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from tools.analysis import repeat
from tools.anomaly import classify, jet_classify, jet_template, latent, template
from tools.bumphunt import cut_and_count, measure_region, scan, sculpting_test
from tools.calorimeter.generate import generate
from tools.calorimeter.judge import judge
from tools.calorimeter.train import train
from tools.contract import Tool, ToolError
from tools.events.describe import describe
from tools.jet_model.embed import embed
from tools.jet_model.finetune import finetune
from tools.jet_model.generate import generate as generate_jets
from tools.jet_model.pretrain import pretrain
from tools.jet_model.score import score
from tools.omnifold import unfold
from tools.spectrum import count_window, hunt

_TOOLS: tuple[Tool[Any, Any], ...] = (
    describe,
    template,
    latent,
    classify,
    jet_template,
    jet_classify,
    scan,
    cut_and_count,
    measure_region,
    sculpting_test,
    hunt,
    count_window,
    repeat,
    unfold,
    train,
    generate,
    judge,
    pretrain,
    finetune,
    score,
    embed,
    generate_jets,
)
GROUP = "beamcrew.tools"


def _catalogue() -> dict[str, Tool[Any, Any]]:
    """Return our tools, then those of other distributions; ToolError for one that cannot be loaded or reuses a name."""
    found = {tool.name: tool for tool in _TOOLS}
    for entry in entry_points(group=GROUP):
        try:
            tool = entry.load()
        except Exception as error:
            allowed = f"{entry.value} from another distribution cannot be loaded: {error!r}"
            raise ToolError("tool", entry.name, allowed) from error
        if not isinstance(tool, Tool) or found.get(tool.name, tool) is not tool:
            raise ToolError("tool", entry.name, f"{entry.value}: must be a Tool with a name that is not taken")
        found[tool.name] = tool
    return found


CATALOGUE: dict[str, Tool[Any, Any]] = _catalogue()


def find(name: str) -> Tool[Any, Any]:
    """Return the tool with this name; the ToolError for an unknown name lists the names."""
    if name not in CATALOGUE:
        raise ToolError("tool", name, f"not a tool; select from {', '.join(CATALOGUE)}")
    return CATALOGUE[name]
