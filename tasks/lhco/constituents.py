"""`lhco-jets`: a search of the R&D data set with the particles of both jets, without any hand-made feature.

The folder holds, in addition to the feature file, `jets.h5`: the jets of the same events in the same order, as
`beamcrew data convert` makes them from the file of all particles.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tasks.intake import Intake
from tasks.lhco import truth
from tasks.lhco.files import JETS
from tasks.lhco.presets import LhcoRnd
from tasks.lhco.task import require
from tasks.task import TaskError
from tools.contract import ToolError
from tools.events.jets_lhco import pair_mass
from tools.jet_model.jets import Jets
from tools.jet_model.jets_file import read_jets, write_jets

# The features were computed by others, from their own jets: masses agree, but not to the last digit.
SAME_MASS, SHARE_ALIKE = 0.01, 0.99


class LhcoJets(LhcoRnd):
    """The R&D data set with the particles of its jets."""

    name: ClassVar[str] = "lhco-jets"
    intake: ClassVar[Intake | None] = None  # its folder is that of lhco-rnd: it is chosen by name
    title: ClassVar[str] = "LHC Olympics R&D data set, searched on constituents"
    guide: ClassVar[str] = "brief_jets.md"
    tools: ClassVar[tuple[str, ...]] = (
        "events.describe",
        "anomaly.jet_template",
        "anomaly.jet_classify",
        "bumphunt.scan",
        "bumphunt.sculpting",
    )

    def prepare(self, inputs: Path, held_out: Path, sealed_folder: Path) -> dict[str, Any]:
        path = require(self.data, JETS, "made by beamcrew data convert from the file of all particles")
        columns, is_signal = self.read()
        pairs, chosen = read_pairs(path, columns["mjj"]), self.chosen(is_signal)
        facts = super().prepare(inputs, held_out, sealed_folder)
        unseen = truth.held_out(sealed_folder)
        _write(held_out / JETS, pairs, chosen)
        _write(inputs / JETS, pairs, chosen[~unseen])
        return facts | {"jets": f"/inputs/{JETS}"}


def read_pairs(path: Path, mjj: NDArray[np.float64]) -> Jets:
    """Return the jets of all events with these mjj [TeV], light and heavy in turn, without labels; held in memory.

    Raises TaskError if the file is not of these events: the number of jets or the masses of the pairs differ.
    """
    try:
        jets = read_jets(path)
    except ToolError as error:
        raise TaskError("data", str(path), str(error)) from None
    if jets.jet is None or len(jets) != 2 * len(mjj):
        allowed = f"two jets, with pt, eta, phi and mass, for each of the {len(mjj)} events of the feature file"
        raise TaskError("data", f"{path}: {len(jets)} jets", allowed)
    mass = pair_mass(jets.jet.reshape(-1, 2, jets.jet.shape[1]).astype(np.float64))
    alike = float(np.mean(np.abs(mass / mjj - 1) < SAME_MASS))
    if alike < SHARE_ALIKE:
        allowed = (
            f"events in the order of the feature file; only {100 * alike:.0f}% of the pairs have the mjj of their event"
        )
        raise TaskError("data", str(path), allowed)
    return replace(jets, pid=None, kinds=())


def _write(target: Path, pairs: Jets, events: NDArray[np.int64]) -> None:
    write_jets(target, pairs.take(np.stack([2 * events, 2 * events + 1], axis=1).ravel()))
