"""A resonance that is tested: its expected counts, moved by nuisances.

A yield S at eta (`tools/nuisances.py`) gives (S eff(eta) + B sum_k b_k eta_k) s(m(eta), w(eta)) counts, where the b_k
are relative errors of the background B under the peak: the signal that a background wrong by so much mimics.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tools.nuisances import Effects
from tools.spectrum.shapes import Bins, Name, resonance
from tools.types import Floats

NUDGE = 1e-4  # relative, for numerical derivatives of the shape


class Peak(NamedTuple):
    """A resonance that is tested; `width` is relative."""

    mass: float
    width: float
    shape: Name = "gaussian"


class Moved(NamedTuple):
    """The peak in t spectra, with yields (t,) and K nuisances; `under`: background under the peak."""

    bins: Bins
    peak: Peak
    amounts: Floats
    effects: Effects
    under: float = 0.0

    def rows(self, chosen: NDArray[np.int64]) -> Moved:
        """Return the peak in some of the spectra."""
        return self._replace(amounts=self.amounts[chosen])

    def counts(self, eta: Floats) -> Floats:
        """Return the expected counts (t, n) at eta (t, K)."""
        logs = self.effects.logs(eta)
        return np.asarray(self._heights(eta, logs)[:, None] * self._shapes(logs))

    def slopes(self, eta: Floats) -> Floats:
        """Return the derivatives (t, n, K) of the counts."""
        logs, by_log = self.effects.logs(eta), self.effects.slopes(eta)
        heights, signal, shapes = self._heights(eta, logs), self.amounts * np.exp(logs[:, 0]), self._shapes(logs)
        taller = signal[:, None] * by_log[:, 0] + self.under * self.effects.background
        found = shapes[:, :, None] * taller[:, None]
        if self.effects.move:
            for k in (1, 2):
                nudge = NUDGE * np.eye(3)[k]
                bent = (self._shapes(logs + nudge) - self._shapes(logs - nudge)) / (2 * NUDGE)
                found = found + (heights[:, None] * bent)[:, :, None] * by_log[:, None, k]
        return np.asarray(found)

    def _heights(self, eta: Floats, logs: Floats) -> Floats:
        return np.asarray(self.amounts * np.exp(logs[:, 0]) + self.under * (eta @ self.effects.background))

    def _shapes(self, logs: Floats) -> Floats:
        moved = logs[:, 1:] if self.effects.move else np.zeros((1, 2))  # (1, n) if nothing moves: once for all
        mass, width = self.peak.mass * np.exp(moved[:, 0]), self.peak.width * np.exp(moved[:, 1])
        return resonance(self.bins, mass, width, self.peak.shape)
