"""Regions where a generator cannot be trusted: where the classifier tells its showers apart, or their number is wrong.

Regions are slices in the incident energy and in observables of single showers, with the tails separate. Each has the
classifier's AUC between its reference and generated showers (scores of held-out showers, one training for all regions),
and the fraction of generated showers over that of reference showers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.calorimeter.classifier import TwoSample
from tools.calorimeter.observables import observables
from tools.calorimeter.response import energy_bins
from tools.calorimeter.showers import Showers
from tools.metrics import auc, auc_error
from tools.types import Floats

SLICES = (0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 1.0)  # quantiles of the reference
MIN_SHOWERS = 20  # per region and sample
AUC_LIMIT = 0.60
SHARE_LIMIT = 1.25  # limit of the ratio and of its inverse
SIGMAS = 3.0


@dataclass(frozen=True)
class Region:
    """A slice low <= `of` < high. `auc` is None with too few showers; `ratio` is the generated over the reference
    fraction of showers, `ratio_error` its fluctuation around 1.
    """

    of: str
    low: float
    high: float
    reference: int
    generated: int
    auc: float | None
    auc_error: float | None
    ratio: float
    ratio_error: float

    @property
    def caught(self) -> bool:
        """True if the classifier tells them apart: AUC above AUC_LIMIT, and above one half by SIGMAS errors."""
        return self.auc is not None and self.auc > max(AUC_LIMIT, 0.5 + SIGMAS * (self.auc_error or 0.0))

    @property
    def misfilled(self) -> bool:
        """True for too many or too few showers: the ratio is beyond SHARE_LIMIT, and SIGMAS errors away from 1."""
        far = max(self.ratio, 1 / max(self.ratio, 1e-9)) > SHARE_LIMIT
        return far and abs(self.ratio - 1) > SIGMAS * self.ratio_error

    @property
    def trusted(self) -> bool:
        return not (self.caught or self.misfilled)

    @property
    def untested(self) -> bool:
        """True if there is no evidence against the region only because too few of its showers were scored."""
        return self.auc is None and not self.misfilled

    def words(self) -> str:
        """Describe the region and what is wrong in it, in one line."""
        said = []
        if self.caught:
            said.append(f"AUC {self.auc:.2f}")
        if self.misfilled:
            said.append(f"{self.ratio:.2g} times as many showers as the reference")
        return f"{self.low:.4g} <= {self.of} < {self.high:.4g}: {', '.join(said) or 'trusted'}"


def trust_map(reference: Showers, generated: Showers, verdict: TwoSample) -> list[Region]:
    """Return all regions, worst first, for samples with equally distributed incident energies and their `verdict`.

    The ratio is that of all showers, the AUC that of the scored ones.
    """
    regions: list[Region] = []
    for name, ours, theirs, edges in _slices(reference, generated):
        judged = ours[verdict.reference_rows], theirs[verdict.generated_rows]
        for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            counts = [int(_inside(x, low, high).sum()) for x in (ours, theirs)]
            if counts[0] + counts[1] < MIN_SHOWERS:
                continue
            scores = [
                s[_inside(x, low, high)]
                for s, x in zip((verdict.generated_scores, verdict.reference_scores), judged[::-1], strict=True)
            ]
            enough = min(len(s) for s in scores) >= MIN_SHOWERS
            value = auc(*scores) if enough else None
            error = auc_error(value, len(scores[0]), len(scores[1])) if value is not None else None
            shares = counts[0] / len(ours), counts[1] / len(theirs)
            ratio = shares[1] / shares[0] if shares[0] else float(len(ours))
            # Fluctuation of the ratio, if both samples fill the region alike.
            pooled = sum(counts) / (len(ours) + len(theirs))
            spread = np.sqrt(pooled * (1 - pooled) * (1 / len(ours) + 1 / len(theirs)))
            error_of_ratio = float(spread / max(shares[0], 1 / len(ours)))
            regions.append(Region(name, low, high, counts[0], counts[1], value, error, ratio, error_of_ratio))
    return sorted(regions, key=lambda r: (r.trusted, -_badness(r)))


def _badness(region: Region) -> float:
    from_auc = 2 * abs((region.auc if region.auc is not None else 0.5) - 0.5)
    return max(from_auc, abs(float(np.tanh(np.log(max(region.ratio, 1e-9))))) if region.misfilled else 0.0)


def _inside(x: Floats, low: float, high: float) -> NDArray[np.bool_]:
    return (x >= low) & (x < high)


def _slices(reference: Showers, generated: Showers) -> list[tuple[str, Floats, Floats, Floats]]:
    """Return (name, values of the reference, of the generated showers, edges) of incident energy and observables."""
    ours, theirs = observables(reference), observables(generated)
    widest = reference.geometry.layers[int(np.argmax(reference.layer_energies.mean(axis=0)))].id
    names = ["E_dep/E_inc", "depth", "width_depth", f"width_r_{widest}", f"occupancy_{widest}"]
    edges = energy_bins(np.concatenate([reference.incident, generated.incident]))
    found = [("E_inc [MeV]", reference.incident, generated.incident, edges)]
    for name in names:
        cuts = np.unique(np.quantile(ours[name], SLICES))
        # Open at both ends: values beyond the reference belong to its tails.
        cuts = np.concatenate([[-np.inf], cuts[1:-1], [np.inf]])
        found.append((name, ours[name], theirs[name], cuts))
    return found
