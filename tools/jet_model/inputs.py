"""Input of the jet tools, and figures of merit for the separation of kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from tools.contract import Frozen, Request, Seed, ToolError
from tools.events.jets_read import read_any_jets
from tools.jet_model.jets import MAX_PARTICLES, Jets
from tools.metrics import auc
from tools.types import Floats

EFFICIENCIES = (0.3, 0.5)  # signal efficiencies at which rejections are given


class JetsRequest(Request):
    """Jets to read."""

    jets: str = Field(description="file of jets: OmniLearned HDF5, top tagging, JetClass or LHC Olympics particles")
    max_jets: int | None = Field(None, ge=1, description="read a random choice of at most this many")
    max_particles: SkipJsonSchema[int] = Field(
        128, ge=2, le=MAX_PARTICLES, description="hardest particles kept per jet"
    )
    seed: Seed = Field(1, ge=0)

    def read(self, path: str | None = None, field: str = "jets", max_jets: int | None = None) -> Jets:
        """Return the jets in `jets`, or in the file `path` that was given in the request's `field`."""
        name = path or self.jets
        jets = read_file(name, field, self.max_particles)
        limit = max_jets or self.max_jets
        if limit and limit < len(jets):
            jets = jets.take(np.sort(np.random.default_rng(self.seed).permutation(len(jets))[:limit]))
        return jets


def read_file(path: str, field: str, max_particles: int) -> Jets:
    """Read jets in any format; if it cannot be read, the ToolError names the request's `field`."""
    try:
        return read_any_jets(Path(path), max_particles)
    except FileNotFoundError:
        raise ToolError(field, path, "a file of jets; there is no such file") from None
    except OSError as error:
        raise ToolError(field, path, f"a readable file of jets ({error.strerror or error})") from None


class Separation(Frozen):
    """Separation of the kinds by their predicted probabilities."""

    auc: dict[str, float] = Field(description="AUC of each kind against all others")
    rejection: dict[str, float] = Field(
        default_factory=dict,
        description="for two kinds: 1/efficiency of the first, by efficiency of the second",
    )
    accuracy: float


def separation(probabilities: Floats, labels: NDArray[np.int64], kinds: tuple[str, ...]) -> Separation:
    """Return the separation for `probabilities` (n, kinds) of jets with these labels (n,).

    Kinds with no jets, or with all jets, are left out. Of two kinds the second is the signal, scored by its odds.
    """
    with np.errstate(divide="ignore"):
        odds = np.log(probabilities) - np.log1p(-np.minimum(probabilities, 1 - 1e-16))
    areas = {}
    for number, kind in enumerate(kinds):
        signal = labels == number
        if 0 < signal.sum() < len(labels):
            score = np.nan_to_num(odds[:, number], neginf=-1e3, posinf=1e3)
            areas[kind] = auc(score[signal], score[~signal])
    rejections = {}
    if len(kinds) == 2 and len(areas) == 2:
        score = np.nan_to_num(odds[:, 1], neginf=-1e3, posinf=1e3)
        rejections = {f"{e:g}": rejection(score[labels == 1], score[labels == 0], e) for e in EFFICIENCIES}
    return Separation(auc=areas, rejection=rejections, accuracy=float((probabilities.argmax(axis=1) == labels).mean()))


def rejection(signal: Floats, background: Floats, efficiency: float) -> float:
    """Return 1/eff_B at the cut that keeps a fraction `efficiency` of the signal, at most len(background).

    >>> rejection(np.arange(10.0), np.arange(10.0), 0.5)
    2.0
    """
    cut = np.sort(signal)[-max(round(efficiency * len(signal)), 1)]
    return float(len(background) / max((background >= cut).sum(), 1))
